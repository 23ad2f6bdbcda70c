"""The forms of holds, on the page of their project."""

from collections.abc import Mapping
from datetime import tzinfo
from typing import Any

from starlette.responses import Response

from api.console.access import PROJECT_OPERATOR, RouteSpec
from api.console.base import Console, project_path
from api.console.dependencies import CurrentActor, CurrentViewer, FormFields
from api.console.ui.typed_times import instant_of_local


class HoldForms:
    """Add and remove a hold."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations.holds

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        holds = "/projects/{project_id}/holds"
        return (
            ("POST", holds, self.add, PROJECT_OPERATOR),
            ("POST", f"{holds}/{{hold_id}}/remove", self.remove, PROJECT_OPERATOR),
        )

    async def add(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, project_id: str
    ) -> Response:
        action = self._operations.add_hold(
            project_id, _body(fields, viewer.dates.zone), actor=actor
        )
        success = "Held. No repair that it matches begins until it ends."
        return await self._console.perform(
            viewer, action, success=success, back=f"{project_path(project_id)}#holds"
        )

    async def remove(
        self, viewer: CurrentViewer, actor: CurrentActor, project_id: str, hold_id: str
    ) -> Response:
        action = self._operations.remove_hold(project_id, hold_id, actor=actor)
        success = "The hold has ended. The repairs that it held begin, in order."
        return await self._console.perform(
            viewer, action, success=success, back=f"{project_path(project_id)}#holds"
        )


# Any: JSON values.
def _body(fields: Mapping[str, str], zone: tzinfo) -> dict[str, Any]:
    """The form as the body of REST's POST. The typed time is that of the reader's zone."""
    effect_type = fields.get("effect_type", "").strip()
    reference = fields.get("internal_reference", "").strip()
    until = instant_of_local(fields.get("until", "").strip(), zone)
    return {
        **({"effect_type": effect_type} if effect_type else {}),
        **({"internal_reference": reference} if reference else {}),
        **({"all": True} if not effect_type and not reference else {}),
        "reason": fields.get("reason", "").strip(),
        **({"until": until} if until else {}),
    }
