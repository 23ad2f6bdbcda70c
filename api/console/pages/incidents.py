"""The list of incidents, and the actions of operators on one. Its details are on the event page."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from api.console.access import INCIDENT_OPERATOR, INCIDENT_VIEWER, SIGNED_IN, RouteSpec
from api.console.base import Console
from api.console.dependencies import CurrentActor, CurrentViewer, FormFields
from api.console.pages.list_page import (
    list_values,
    own_projects,
    redirect_to_short_address,
)
from api.console.sign_in.cookies import Notice
from api.console.sign_in.sessions import Viewer
from api.console.ui.filters import INCIDENT_TABS, read_address
from api.console.ui.list_queries import incident_matches_elsewhere, incident_rows
from domain.errors import RateLimited, Unavailable
from domain.projects import Project
from operations.overview.overview import MOST_PROJECTS

LONGEST_REASON = 2_048


class IncidentPages:
    """Incidents: the list, Reprocess and Resolve. For other actions see `triage`."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (
            ("GET", "/incidents", self.listing, SIGNED_IN),
            ("GET", "/incidents/{incident_id}", self.one, INCIDENT_VIEWER),
            ("POST", "/incidents/{incident_id}/reprocess", self.reprocess, INCIDENT_OPERATOR),
            ("POST", "/incidents/{incident_id}/resolve", self.resolve, INCIDENT_OPERATOR),
        )

    async def listing(self, request: Request, viewer: CurrentViewer) -> Response:
        projects = await own_projects(self._console, viewer)
        address = read_address(
            "/incidents", request.query_params, tabs=INCIDENT_TABS, projects=projects
        )
        if redirect := redirect_to_short_address(self._console, request, address):
            return redirect
        page = await incident_rows(self._console.parts.database, address, viewer)
        values = await list_values(
            self._console, viewer, address, page, tabs=INCIDENT_TABS, projects=projects
        )
        values["elsewhere"] = await incident_matches_elsewhere(
            self._console.parts.database, address, viewer, tabs=INCIDENT_TABS
        )
        values["no_receipts"] = not page.rows and not await self._has_receipts(viewer, projects)
        return await self._console.render_page(
            request,
            viewer,
            page="incidents.html",
            section="incidents",
            values=values,
            region="_incidents.html",
        )

    async def _has_receipts(self, viewer: Viewer, projects: Sequence[Project]) -> bool:
        """Whether any receipt has come yet to the newest of these projects."""
        try:
            found = await self._operations.overview.read_activity(
                [project.id for project in projects[:MOST_PROJECTS]], asked_by=viewer.user_id
            )
        except (Unavailable, RateLimited):
            return True
        return any(one.last_receipt_at is not None for one in found.values())

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
