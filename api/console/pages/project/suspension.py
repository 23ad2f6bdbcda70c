"""The forms that suspend a project and take it back. Only for administrators: an owner must not end
what the installation decided.
"""

from starlette.responses import Response

from api.console.access import ADMINISTRATOR, RouteSpec
from api.console.base import Console, project_path
from api.console.dependencies import CurrentActor, CurrentViewer, FormFields
from api.console.sign_in.sessions import Viewer
from domain.audit import Actor

SUSPENDED = "Suspended. Receipts and results of this project are refused with 402 within 5 seconds."
RESUMED = "Resumed. Receipts and results of this project are accepted again."


class SuspensionForms:
    """Suspend and resume."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations.projects

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        project = "/projects/{project_id}"
        return (
            ("POST", f"{project}/suspend", self.suspend, ADMINISTRATOR),
            ("POST", f"{project}/resume", self.resume, ADMINISTRATOR),
        )

    async def suspend(
        self, viewer: CurrentViewer, _: FormFields, actor: CurrentActor, project_id: str
    ) -> Response:
        return await self._set(viewer, actor, project_id, is_suspended=True)

    async def resume(
        self, viewer: CurrentViewer, _: FormFields, actor: CurrentActor, project_id: str
    ) -> Response:
        return await self._set(viewer, actor, project_id, is_suspended=False)

    async def _set(
        self, viewer: Viewer, actor: Actor, project_id: str, *, is_suspended: bool
    ) -> Response:
        action = self._operations.set_suspended(project_id, suspended=is_suspended, actor=actor)
        success = SUSPENDED if is_suspended else RESUMED
        back = f"{project_path(project_id)}#suspension"
        return await self._console.perform(viewer, action, success=success, back=back)
