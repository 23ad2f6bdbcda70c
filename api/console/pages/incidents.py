"""The list of incidents, and the actions of operators on one. Its details are on the event page."""

from starlette.requests import Request
from starlette.responses import Response

from api.console.access import INCIDENT_OPERATOR, INCIDENT_VIEWER, SIGNED_IN, RouteSpec
from api.console.base import Console
from api.console.dependencies import CurrentActor, CurrentViewer, FormFields
from api.console.pages.groups import GroupPages
from api.console.pages.incident_list.page import incident_list_page
from api.console.sign_in.cookies import Notice
from api.console.ui.group_address import shows_groups

LONGEST_REASON = 2_048


class IncidentPages:
    """Incidents: the list, Reprocess and Resolve. For other actions see `triage`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations
        self._groups = GroupPages(console)

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (
            ("GET", "/incidents", self.listing, SIGNED_IN),
            ("GET", "/incidents/{incident_id}", self.one, INCIDENT_VIEWER),
            ("POST", "/incidents/{incident_id}/reprocess", self.reprocess, INCIDENT_OPERATOR),
            ("POST", "/incidents/{incident_id}/resolve", self.resolve, INCIDENT_OPERATOR),
            ("POST", "/incidents/{incident_id}/stop-repair", self.stop_repair, INCIDENT_OPERATOR),
        )

    async def listing(self, request: Request, viewer: CurrentViewer) -> Response:
        if shows_groups(request.query_params):
            return await self._groups.listing(request, viewer)
        return await incident_list_page(self._console, request, viewer)

    async def one(self, incident_id: str) -> Response:
        """Redirect to the event page. Alerts may link to this address."""
        incident = await self._operations.incidents.read_incident(None, incident_id)
        return self._console.sessions.redirect(f"/events/{incident.event_id}")

    async def reprocess(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, incident_id: str
    ) -> Response:
        action = self._operations.incidents.reprocess(
            None, incident_id, actor=actor, confirm=fields.get("confirm") == "on"
        )
        success = "Repair requested. The incident is resolved when the app reports success."
        return await self._console.perform(
            viewer, action, success=success, back=self._console.return_path(fields)
        )

    async def stop_repair(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, incident_id: str
    ) -> Response:
        action = self._operations.incidents.stop_repair(None, incident_id, actor=actor)
        success = "Repair stopped. No further call begins."
        return await self._console.perform(
            viewer, action, success=success, back=self._console.return_path(fields)
        )

    async def resolve(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, incident_id: str
    ) -> Response:
        back = self._console.return_path(fields)
        reason = fields.get("reason", "").strip()[:LONGEST_REASON]
        if not reason:
            notice = Notice("bad", "Enter a reason. It is kept on the timeline.")
            return self._console.sessions.redirect(back, viewer=viewer, notice=notice)
        action = self._operations.incidents.resolve(None, incident_id, reason=reason, actor=actor)
        return await self._console.perform(
            viewer, action, success="Incident resolved manually.", back=back
        )
