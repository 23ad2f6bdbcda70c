"""The forms of alert destinations on the page of a project. Only for owners.

Each calls one function of `DestinationOperations`, as REST does. A URL or a key that was typed is
never shown again.
"""

from collections.abc import Awaitable, Mapping
from typing import Any

from starlette.responses import Response

from api.console.access import PROJECT_OWNER, RouteSpec
from api.console.base import Console, error_message, project_path
from api.console.dependencies import CurrentActor, CurrentViewer, FormFields
from api.console.sign_in.cookies import Notice, Secret
from api.console.sign_in.sessions import Viewer
from domain.alerts import AlertAnswer, AlertEvent
from domain.audit import Actor
from domain.errors import Refusal
from operations.alerts.inputs import TARGET_FIELDS

ADDED = "Destination added. Send a test alert to see whether it arrives."
SHOWN_ONCE = "Destination added. Copy its signing secret now: it is not shown again."


class DestinationForms:
    """The forms that add, change, test and remove alert destinations."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations.destinations

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        all_of_project = "/projects/{project_id}/destinations"
        one = f"{all_of_project}/{{destination_id}}"
        return (
            ("POST", all_of_project, self.add, PROJECT_OWNER),
            ("POST", one, self.save, PROJECT_OWNER),
            ("POST", f"{one}/test", self.send_test, PROJECT_OWNER),
            ("POST", f"{one}/disable", self.disable, PROJECT_OWNER),
            ("POST", f"{one}/enable", self.enable, PROJECT_OWNER),
            ("POST", f"{one}/remove", self.remove, PROJECT_OWNER),
        )

    async def add(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, project_id: str
    ) -> Response:
        kind = fields.get("kind", "")
        content = {"kind": kind, **_body(fields, kind)}
        try:
            added = await self._operations.add_destination(project_id, content, actor=actor)
        except Refusal as refusal:
            return self._back(viewer, project_id, Notice("bad", error_message(refusal)))
        notice = Notice("good", ADDED)
        if added.secret is not None:
            notice = Notice("good", SHOWN_ONCE, (Secret("Signing secret", added.secret),))
        return self._back(viewer, project_id, notice)

    async def save(
        self,
        viewer: CurrentViewer,
        fields: FormFields,
        actor: CurrentActor,
        project_id: str,
        destination_id: str,
    ) -> Response:
        # The form names its kind, which decides the field of the target, and is checked.
        kind = fields.get("kind", "")
        changes = _body(fields, kind)
        action = self._operations.change_destination(
            project_id, destination_id, changes, actor=actor
        )
        return await self._perform(viewer, project_id, action, "Destination saved.")

    async def send_test(
        self, viewer: CurrentViewer, actor: CurrentActor, project_id: str, destination_id: str
    ) -> Response:
        try:
            tried = await self._operations.test_destination(project_id, destination_id, actor=actor)
        except Refusal as refusal:
            notice = Notice("bad", error_message(refusal))
        else:
            notice = _answered(tried.answer)
        return self._back(viewer, project_id, notice)

    async def disable(
        self, viewer: CurrentViewer, actor: CurrentActor, project_id: str, destination_id: str
    ) -> Response:
        action = self._set_disabled(project_id, destination_id, True, actor)
        success = "Destination disabled. Nothing is sent there until somebody enables it."
        return await self._perform(viewer, project_id, action, success)

    async def enable(
        self, viewer: CurrentViewer, actor: CurrentActor, project_id: str, destination_id: str
    ) -> Response:
        action = self._set_disabled(project_id, destination_id, False, actor)
        return await self._perform(viewer, project_id, action, "Destination enabled.")

    async def remove(
        self, viewer: CurrentViewer, actor: CurrentActor, project_id: str, destination_id: str
    ) -> Response:
        action = self._operations.remove_destination(project_id, destination_id, actor=actor)
        return await self._perform(viewer, project_id, action, "Destination removed.")

    async def _set_disabled(
        self, project_id: str, destination_id: str, is_disabled: bool, actor: Actor
    ) -> object:
        changes = {"disabled": is_disabled}
        return await self._operations.change_destination(
            project_id, destination_id, changes, actor=actor
        )

    async def _perform(
        self, viewer: Viewer, project_id: str, action: Awaitable[object], success: str
    ) -> Response:
        back = _section(project_id)
        return await self._console.perform(viewer, action, success=success, back=back)

    def _back(self, viewer: Viewer, project_id: str, notice: Notice) -> Response:
        return self._console.sessions.redirect(_section(project_id), viewer=viewer, notice=notice)


def _section(project_id: str) -> str:
    return f"{project_path(project_id)}#destinations"


def _answered(answer: AlertAnswer) -> Notice:
    """What the other side said, in one line."""
    said = "" if answer.status is None else f" It answered {answer.status}"
    took = f"{said} after {answer.duration_ms:,} ms." if said else ""
    excerpt = f" “{answer.excerpt}”" if answer.excerpt else ""
    return Notice("good" if answer.ok else "bad", f"{answer.detail}{took}{excerpt}")


# The body of a POST or PATCH. Any: values are of any JSON type.
def _body(fields: Mapping[str, str], kind: str) -> dict[str, Any]:
    """The form as the body of the REST API. An empty target is left out: it stays."""
    chosen = [event.value for event in AlertEvent if fields.get(f"event:{event}") == "on"]
    body: dict[str, Any] = {
        "label": fields.get("label", "").strip() or None,
        "events": None if fields.get("all_events") == "on" else chosen,
    }
    target, name = fields.get("target", "").strip(), TARGET_FIELDS.get(kind)
    return body | ({name: target} if name and target else {})
