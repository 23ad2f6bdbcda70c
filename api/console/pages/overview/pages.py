"""The overview page, and the form that saves the deadline that it proposes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from api.console.access import PROJECT_OWNER, SIGNED_IN, RouteSpec
from api.console.base import Console
from api.console.dependencies import CurrentActor, CurrentViewer, FormFields
from api.console.pages.list_page import own_projects
from api.console.pages.overview.chart import draw_days, highest_of
from api.console.sign_in.sessions import Viewer
from domain.alerts import DestinationState
from domain.errors import RateLimited, Unavailable
from domain.overview.summary import Overview
from domain.projects import Project
from domain.users import Role
from operations.overview.overview import MOST_PROJECTS
from operations.responses.projects import int_if_whole

LIVE, TEST = "live", "test"


@dataclass(frozen=True, slots=True)
class Scope:
    """The projects whose numbers are added. `chosen`: the address names one of them.

    `is_cut`: there are more of this mode than an overview adds.
    """

    projects: Sequence[Project]
    chosen: Project | None
    mode: str
    is_cut: bool


class OverviewPages:
    """The overview of the viewer's projects."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._operations = console.operations

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (
            ("GET", "/overview", self.overview, SIGNED_IN),
            ("POST", "/projects/{project_id}/deadline", self.save_deadline, PROJECT_OWNER),
        )

    async def overview(self, request: Request, viewer: CurrentViewer) -> Response:
        projects = await own_projects(self._console, viewer, with_destinations=True)
        scope = scope_of(projects, request.query_params)
        overview = await self._read(scope, viewer)
        values = {
            "projects": projects,
            "scope": scope,
            "overview": overview,
            "chart": None if overview is None else draw_days(overview.days),
            "highest": None if overview is None else highest_of(overview.days),
            "silences": await self._silences(scope),
            "failing": failing_destinations(scope.projects),
            "proposed": proposed_minutes(scope, overview),
            "is_owner": _is_owner(viewer, scope.chosen),
            "checks": await self._console.parts.readiness(),
        }
        return await self._console.render_page(
            request, viewer, page="overview.html", section="overview", values=values
        )

    async def save_deadline(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, project_id: str
    ) -> Response:
        """Save the deadline that the page proposed."""
        typed = fields.get("timeout_minutes", "")
        minutes = int(typed) if typed.isascii() and typed.isdigit() and len(typed) < 6 else typed
        action = self._operations.projects.change_project(
            project_id, {"timeout_minutes": minutes}, actor=actor
        )
        return await self._console.perform(
            viewer,
            action,
            success="Deadline saved. It applies to new receipts.",
            back=f"/overview?project={project_id}",
        )

    async def _read(self, scope: Scope, viewer: Viewer) -> Overview | None:
        """The numbers; None if reading them takes too long."""
        try:
            return await self._operations.overview.read_overview(
                [project.id for project in scope.projects], asked_by=viewer.user_id
            )
        except (Unavailable, RateLimited):
            return None

    async def _silences(self, scope: Scope) -> list[dict[str, object]]:
        """What is watched for silence: everything of a chosen project, else what is silent.

        `last_at` is the last receipt, also one that is not counted yet.
        """
        names = {project.id: project.name for project in scope.projects}
        if not names:
            return []
        found = await self._operations.overview.read_receiving(list(names))
        rows = []
        for watch in found.watches:
            whole_at = found.activities[watch.project_id].last_receipt_at
            last_at = watch.last_at if watch.event_type else whole_at
            if scope.chosen is not None or watch.silent_since is not None or last_at is None:
                rows.append({"watch": watch, "name": names[watch.project_id], "last_at": last_at})
        return rows


def scope_of(projects: Sequence[Project], query: Mapping[str, str]) -> Scope:
    """The project that the address names, else all of a mode: live ones unless there are none."""
    chosen = next((one for one in projects if one.id == query.get("project")), None)
    if chosen is not None:
        return Scope([chosen], chosen, chosen.mode, is_cut=False)
    has_live = any(project.livemode for project in projects)
    usual = LIVE if has_live or not projects else TEST
    mode = asked if (asked := query.get("mode", "")) in (LIVE, TEST) else usual
    of_mode = [project for project in projects if project.mode == mode]
    newest = sorted(of_mode, key=lambda project: project.created_at, reverse=True)
    return Scope(newest[:MOST_PROJECTS], None, mode, is_cut=len(of_mode) > MOST_PROJECTS)


def failing_destinations(projects: Sequence[Project]) -> list[tuple[Project, str]]:
    """The failing alert destinations of these projects, by their titles."""
    return [
        (project, destination.title)
        for project in projects
        for destination in project.alert_destinations
        if destination.state is DestinationState.FAILING
    ]


def proposed_minutes(scope: Scope, overview: Overview | None) -> int | None:
    """The deadline to propose for the chosen project; None: it has it, or too little is known."""
    if scope.chosen is None or overview is None:
        return None
    proposed = overview.proposed_minutes
    return None if proposed == int_if_whole(scope.chosen.timeout_minutes) else proposed


def _is_owner(viewer: Viewer, project: Project | None) -> bool:
    if project is None:
        return False
    return viewer.access.is_administrator or viewer.access.role_in(project.id) is Role.OWNER
