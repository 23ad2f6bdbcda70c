"""The list of receipts, and the event page with facts, incident, repairs and timeline."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response

from api.console.access import (
    EVENT_OPERATOR,
    EVENT_OWNER,
    EVENT_VIEWER,
    SIGNED_IN,
    RouteSpec,
)
from api.console.base import Console
from api.console.dependencies import CurrentActor, CurrentViewer
from api.console.pages.incident_list.position import LIST, position_in_list
from api.console.pages.list_page import (
    list_values,
    own_projects,
    redirect_to_short_address,
    search_problem,
)
from api.console.pages.project.checklists import projects_to_start
from api.console.sign_in.sessions import Viewer
from api.console.ui import labels
from api.console.ui.event.panel import IncidentPanel, failed_repair, incident_panel
from api.console.ui.event.queries import EventDetails, read_event
from api.console.ui.filters import EVENT_TABS, read_address
from api.console.ui.list_queries import event_matches_elsewhere, event_rows, matches_in_incidents
from api.console.ui.rendering import HEADERS, is_htmx_request
from api.console.ui.timeline import page as timeline
from api.console.ui.timeline.text import TimelineText
from domain.errors import ValidationFailed
from domain.receipts import Receipt, ReceiptState
from domain.search.query import quoted
from domain.sources.provider_pages import provider_page
from domain.temporal.runs import cause_text, restart_command
from domain.users import Role
from domain.wording.dates import ReaderDates
from operations.evidence import attachment
from operations.readiness import CheckStatus
from store.db.paging import Page
from store.receipts.queries import EventFull, EventRow


@dataclass(frozen=True, slots=True)
class StuckNotice:
    """Why a workflow is stuck, since when, and the command that restarts it."""

    cause: str
    found_at: datetime
    command: str


class EventPages:
    """The list of receipts, and the event page."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (
            ("GET", "/events", self.listing, SIGNED_IN),
            ("GET", "/events/{event_id}", self.one, EVENT_VIEWER),
            ("GET", "/events/{event_id}/evidence", self.evidence, EVENT_OWNER),
            ("POST", "/events/{event_id}/expire", self.expire, EVENT_OPERATOR),
            ("POST", "/events/{event_id}/restart", self.restart, EVENT_OPERATOR),
        )

    async def listing(self, request: Request, viewer: CurrentViewer) -> Response:
        projects = await own_projects(self._console, viewer)
        address = read_address(
            "/events",
            request.query_params,
            tabs=EVENT_TABS,
            projects=projects,
            zone=viewer.dates.zone,
        )
        if redirect := redirect_to_short_address(self._console, request, address):
            return redirect
        database, problem = self._console.parts.database, ""
        page: Page[EventRow] = Page((), None)
        try:
            page = await event_rows(database, address, viewer)
        except ValidationFailed as refused:
            problem = search_problem(refused)
        values = await list_values(
            self._console, viewer, address, page, tabs=EVENT_TABS, projects=projects
        )
        values |= {"problem": problem, "elsewhere": {}, "in_incidents": ""}
        if not problem:
            values["elsewhere"] = await event_matches_elsewhere(
                database, address, viewer, tabs=EVENT_TABS
            )
            values["in_incidents"] = await matches_in_incidents(database, address, viewer)
        chosen = address.chosen.get("project")
        is_known = chosen is None or any(project.id == chosen for project in projects)
        is_empty = not page.rows and set(address.chosen) <= {"project"} and address.tab == "all"
        is_empty = is_known and is_empty
        values["to_start"] = ()
        if is_empty:
            values["to_start"] = await projects_to_start(self._console, viewer, projects, chosen)
        values["is_empty"] = is_empty
        return await self._console.render_page(
            request,
            viewer,
            page="events.html",
            section="events",
            values=values,
            region="_events.html",
            status=422 if problem else 200,
        )

    async def one(self, request: Request, viewer: CurrentViewer, event_id: str) -> Response:
        cursor = request.query_params.get("older") or None
        details = await read_event(self._console.parts.database, event_id, cursor=cursor)
        event = details.event
        project_id = event.receipt.project_id
        stopped_part = await self._stopped_part(event)
        may_operate = viewer.access.allows(Role.OPERATOR, project_id=project_id)
        values: dict[str, object] = {
            "receipt": event.receipt,
            "incident": event.incident,
            "repairs": event.repairs,
            "sources": event.sources,
            "linked_sources": await self._linked_sources(event),
            "timeline_cursor": event.timeline_cursor,
            "is_older_part": cursor is not None,
            "timeline_items": timeline.render(
                event.timeline, viewer_id=viewer.user_id, names=details.names
            ),
            "names": details.names,
            "superseding": details.superseding,
            "assignees": await self._assignees(event, viewer) if may_operate else (),
            "schedule_seconds": self._console.parts.callback_schedule_seconds,
            "next_step": self._next_step(details, stopped_part) if cursor is None else None,
            "stopped_part": stopped_part,
            "panel": self._panel(details, stopped_part, viewer.dates),
            "failed_repair": failed_repair,
            "same_cause": details.same_cause,
            "same_cause_path": _same_cause_path(event),
            "provider_page": provider_page(event.receipt),
            "has_payload": details.has_payload,
            "run_url": self._run_url(event_id),
            "stuck": await self._stuck(event_id),
            "share_of_wait": self._share_of_wait(event.receipt),
            "project": await self._operations.projects.read_project(project_id),
            "form_token": viewer.form_token,
            "may_download": viewer.access.allows(Role.OWNER, project_id=project_id),
            "may_operate": may_operate,
        }
        values["back"] = f"/events/{event_id}{_list_of(request)}"
        if not is_htmx_request(request):
            values["position"] = await position_in_list(
                self._console, viewer, request.query_params, event.receipt, event.incident
            )
        section = "incidents" if event.incident else "events"
        return await self._console.render_page(
            request, viewer, page="event.html", section=section, values=values, region="_event.html"
        )

    async def evidence(self, actor: CurrentActor, event_id: str) -> Response:
        """The event's evidence as a file. It holds audit entries, which only owners see."""
        found, file = await self._operations.evidence.make_evidence(None, event_id, actor=actor)
        headers = {**HEADERS, **attachment(found)}
        return Response(file, media_type="application/json", headers=headers)

    async def expire(self, viewer: CurrentViewer, actor: CurrentActor, event_id: str) -> Response:
        action = self._operations.events.expire(None, event_id, actor=actor)
        return await self._console.perform(
            viewer, action, success="The deadline has expired.", back=f"/events/{quote(event_id)}"
        )

    async def restart(self, viewer: CurrentViewer, actor: CurrentActor, event_id: str) -> Response:
        action = self._operations.runs.restart(None, event_id, actor=actor)
        success = "Restart requested. The workflow restarts in a few seconds."
        return await self._console.perform(
            viewer, action, success=success, back=f"/events/{quote(event_id)}"
        )

    async def _linked_sources(self, event: EventFull) -> frozenset[str]:
        """The project's sources if one of them saw the event. A removed one has no page."""
        if not event.sources:
            return frozenset()
        listed = await self._operations.sources.list_sources(event.receipt.project_id)
        return frozenset(source.id for source in listed)

    async def _assignees(self, event: EventFull, viewer: Viewer) -> Sequence[str]:
        """The addresses that the incident can be assigned to. Empty if it cannot be assigned."""
        if event.receipt.state is not ReceiptState.INCIDENT:
            return ()
        found = await self._console.people.members.list_members(event.receipt.project_id)
        emails = [member.email for member in found.members if member.email]
        return emails if viewer.email in ("", *emails) else [viewer.email, *emails]

    async def _stuck(self, event_id: str) -> StuckNotice | None:
        """The notice about the workflow. None if it is not stuck."""
        run = await self._operations.runs.stuck_run(event_id)
        if run is None or run.found_at is None or run.cause is None:
            return None
        return StuckNotice(
            cause=cause_text(run.cause),
            found_at=run.found_at,
            command=restart_command(run.event_id),
        )

    async def _stopped_part(self, event: EventFull) -> str:
        """What prevents a repair from running now. Empty if nothing does, or none is possible."""
        if event.receipt.state is not ReceiptState.INCIDENT:
            return ""
        checks = await self._console.parts.readiness()
        stopped = (
            text
            for name, text in labels.STOPPED_PARTS.items()
            if checks.get(name) is CheckStatus.FAILED
        )
        return next(stopped, "")

    def _panel(
        self, details: EventDetails, stopped_part: str, dates: ReaderDates
    ) -> IncidentPanel | None:
        event = details.event
        if event.incident is None:
            return None
        return incident_panel(
            event.incident,
            event.repairs,
            event.timeline,
            latest=details.latest_failure,
            attempts_of_series=details.attempts_of_series,
            stopped_part=stopped_part,
            now=self._console.parts.now(),
            dates=dates,
        )

    def _next_step(self, details: EventDetails, stopped_part: str) -> TimelineText | None:
        event = details.event
        return timeline.next_step(
            event.receipt.state,
            event.incident,
            event.repairs,
            stopped_part=stopped_part,
            attempts_of_series=details.attempts_of_series,
            now=self._console.parts.now(),
        )

    def _share_of_wait(self, receipt: Receipt) -> int:
        """The share of the time until the deadline that has passed, in percent."""
        start, end = receipt.listed_at, receipt.deadline_at
        passed = (self._console.parts.now() - start) / max(end - start, timedelta(milliseconds=1))
        return round(100 * min(max(passed, 0), 1))

    def _run_url(self, event_id: str) -> str | None:
        """The address of the workflow in the Temporal UI. None if no UI is configured."""
        parts = self._console.parts
        if not parts.temporal_ui_url:
            return None
        address, namespace = parts.temporal_ui_url.rstrip("/"), quote(parts.temporal_namespace)
        return f"{address}/namespaces/{namespace}/workflows/receipt-{event_id}"


def _list_of(request: Request) -> str:
    """The part of the address that names the list which the event was opened from."""
    given = request.query_params.get(LIST)
    return "" if given is None else f"?{urlencode({LIST: given})}"


def _same_cause_path(event: EventFull) -> str:
    """The list of the project's open incidents with the same effect, reason and error code."""
    incident, effect_type = event.incident, event.receipt.effect_type
    if incident is None:
        return ""
    tokens = [f"effect:{effect_type}", f"reason:{incident.reason}"]
    if incident.error_code is not None:
        tokens.append(f"error:{quoted(incident.error_code)}")
    query = {"project": event.receipt.project_id, "q": " ".join(tokens)}
    return f"/incidents?{urlencode(query)}"
