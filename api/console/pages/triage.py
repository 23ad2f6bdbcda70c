"""The forms of people who look after an incident, and of the deadline of a waiting receipt."""

from datetime import timedelta
from urllib.parse import quote

from starlette.responses import Response

from api.console.access import EVENT_OPERATOR, INCIDENT_OPERATOR, RouteSpec
from api.console.base import Console
from api.console.dependencies import CurrentActor, CurrentViewer, Fields, FormFields
from api.console.sign_in.sessions import Viewer
from api.console.ui.typed_times import instant_of_local
from domain.values.timestamps import to_iso

# In digits: months of minutes. What is longer is refused anyway.
LONGEST_NUMBER = 6


class TriagePages:
    """Acknowledge, Assign, Comment, Snooze and Reopen; and Move deadline."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._triage = console.operations.triage

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        forms = {
            "acknowledge": self.acknowledge,
            "unacknowledge": self.unacknowledge,
            "assign": self.assign,
            "comments": self.comment,
            "snooze": self.snooze,
            "reopen": self.reopen,
        }
        return (
            *(
                ("POST", f"/incidents/{{incident_id}}/{name}", form, INCIDENT_OPERATOR)
                for name, form in forms.items()
            ),
            ("POST", "/events/{event_id}/deadline", self.move_deadline, EVENT_OPERATOR),
        )

    async def acknowledge(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, incident_id: str
    ) -> Response:
        until = _instant(fields, viewer)
        body = {} if until is None else {"until": until}
        action = self._triage.acknowledge(None, incident_id, body, actor=actor)
        success = "Acknowledged. Other members can see that someone is investigating."
        back = self._console.return_path(fields)
        return await self._console.perform(viewer, action, success=success, back=back)

    async def unacknowledge(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, incident_id: str
    ) -> Response:
        action = self._triage.unacknowledge(None, incident_id, actor=actor)
        success, back = "Acknowledgement taken back.", self._console.return_path(fields)
        return await self._console.perform(viewer, action, success=success, back=back)

    async def assign(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, incident_id: str
    ) -> Response:
        assignee = fields.get("assignee", "").strip() or None
        body = {"assignee": assignee}
        action = self._triage.assign(None, incident_id, body, actor=actor)
        success = f"Assigned to {assignee}." if assignee else "No one is assigned any more."
        back = self._console.return_path(fields)
        return await self._console.perform(viewer, action, success=success, back=back)

    async def comment(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, incident_id: str
    ) -> Response:
        # A browser sends CR LF, and counts it as one character.
        text = fields.get("text", "").replace("\r\n", "\n")
        action = self._triage.comment(None, incident_id, {"text": text}, actor=actor)
        success, back = "Comment added.", self._console.return_path(fields)
        return await self._console.perform(viewer, action, success=success, back=back)

    async def snooze(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, incident_id: str
    ) -> Response:
        body = {"until": _instant(fields, viewer)}
        action = self._triage.snooze(None, incident_id, body, actor=actor)
        success = "Snoozed. No alerts are sent until then, or until a repair fails."
        back = self._console.return_path(fields)
        return await self._console.perform(viewer, action, success=success, back=back)

    async def reopen(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, incident_id: str
    ) -> Response:
        body = {"reason": fields.get("reason", "")}
        action = self._triage.reopen(None, incident_id, body, actor=actor)
        success, back = "Incident reopened. Its alerts are sent.", self._console.return_path(fields)
        return await self._console.perform(viewer, action, success=success, back=back)

    async def move_deadline(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, event_id: str
    ) -> Response:
        body = {"deadline_at": _instant(fields, viewer)}
        action = self._triage.move_deadline(None, event_id, body, actor=actor)
        back = f"/events/{quote(event_id)}"
        return await self._console.perform(viewer, action, success="Deadline moved.", back=back)


def _instant(fields: Fields, viewer: Viewer) -> str | None:
    """The instant typed in the viewer's time zone, or the chosen minutes from now. None if neither
    is given.

    Text of another form stays, for the operation to refuse.
    """
    if typed := fields.get("at", "").strip():
        return instant_of_local(typed, viewer.dates.zone)
    minutes = fields.get("minutes", "")
    if not minutes:
        return None
    if not (minutes.isascii() and minutes.isdecimal() and len(minutes) <= LONGEST_NUMBER):
        return minutes
    return to_iso(viewer.read_at + timedelta(minutes=int(minutes)))
