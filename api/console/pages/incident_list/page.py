"""The page of the list of incidents, in its flat view: search, tabs, rows, saved views."""

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response

from api.console.base import Console
from api.console.pages.list_page import (
    lack_receipts,
    list_options,
    own_projects,
    project_names,
    redirect_to_short_address,
    search_problem,
)
from api.console.pages.project.checklists import project_to_start
from api.console.sign_in.sessions import Viewer
from api.console.ui.filters import FLAT, INCIDENTS, ListAddress, read_address
from api.console.ui.incident_tabs import ALL, TABS
from api.console.ui.list_queries import (
    INCIDENT_TABS,
    ROWS,
    IncidentRows,
    incident_rows,
)
from api.console.ui.rendering import Values, is_htmx_request
from domain.errors import ValidationFailed
from domain.ids import ProjectId
from domain.incidents import IncidentState
from domain.projects import Project
from domain.search.tokens import CHOICES, KEYS
from domain.users import Role
from store.db.paging import LISTED_AT_MOST, Page
from store.receipts.lists.tokens import is_available


def incident_address(
    query: Mapping[str, str], projects: Sequence[Project], viewer: Viewer
) -> ListAddress:
    """The address of the list by its query. Days are those of the viewer."""
    zone = viewer.dates.zone
    return read_address(
        INCIDENTS, query, tabs=INCIDENT_TABS, projects=projects, view=FLAT, zone=zone
    )


async def incident_list_page(console: Console, request: Request, viewer: Viewer) -> Response:
    """The page, or for htmx its region. A refused search is named beside its field."""
    projects = await own_projects(console, viewer)
    address = incident_address(dict(request.query_params), projects, viewer)
    if redirect := redirect_to_short_address(console, request, address):
        return redirect
    found, problem = IncidentRows(Page((), None)), ""
    try:
        found = await incident_rows(
            console.parts.database, address, viewer, scope=_scope_of(address, projects)
        )
    except ValidationFailed as refused:
        problem = search_problem(refused)
    values = await _values(console, viewer, address, found, projects)
    values |= {"problem": problem, "to_start": None}
    if not (values["rows"] or problem or set(address.chosen) - {"project"}):
        values["to_start"] = await project_to_start(console, viewer, projects, address)
    counts: Values | None = None
    if not is_htmx_request(request):
        counts = await console.counts(viewer, scope=known_scope(projects))
        values |= await _frame_values(console, viewer, address) | {"counts": counts}
    return await console.render_page(
        request,
        viewer,
        page="incidents.html",
        section="incidents",
        values=values,
        region="_incidents.html",
        status=422 if problem else 200,
        counts=counts,
    )


def completions() -> list[str]:
    """What the search field offers: each token of the language that can be looked for here."""
    offered = [
        f"{key}:{value}"
        for key, values in CHOICES.items()
        for value in values
        if key != "is" or value in TABS or is_available(f"is:{value}")
    ]
    examples = {"age": "age:>1h", "amount": "amount:>10000", "assignee": "assignee:me"}
    free = [key for key in KEYS if key not in CHOICES and is_available(key)]
    return [*offered, *(examples.get(key, f"{key}:") for key in free)]


async def _values(
    console: Console,
    viewer: Viewer,
    address: ListAddress,
    found: IncidentRows,
    projects: Sequence[Project],
) -> dict[str, object]:
    rows = found.page.rows
    shown = {row.receipt.project_id for row in rows}
    chosen = address.chosen.get("project")
    named = shown if chosen is None else {*shown, chosen}
    by_id = {project.id: project for project in projects}
    operable = {
        project_id
        for project_id in shown
        if viewer.access.allows(Role.OPERATOR, project_id=project_id)
    }
    callable_projects = {
        project.id for project in projects if project.repair_url and not project.repair_url_gone
    }
    only = projects[0].id if len(projects) == 1 else chosen
    matches = found.counts.get(address.tab)
    is_all_clear = not rows and not address.chosen and address.tab == IncidentState.OPEN
    return {
        "rows": rows,
        "no_receipts": is_all_clear and await lack_receipts(console, viewer, projects),
        "progress": found.progress,
        "next_cursor": found.page.next_cursor,
        "address_of": address,
        "tabs": [(name, TABS[name].label) for name in INCIDENT_TABS],
        "tab_counts": found.counts,
        "elsewhere": _elsewhere(address, found),
        "in_events": found.in_events,
        "projects": projects,
        "project_names": await project_names(console, viewer, projects, named),
        "only_project": by_id.get(ProjectId(only)) if only else None,
        "operable": operable,
        "callable_projects": callable_projects,
        "repair_query": urlencode({**address.chosen, "state": address.tab}),
        "matches": matches,
        "rows_shown": ROWS,
        "form_token": viewer.form_token,
        **list_options(address, projects),
    }


def known_scope(projects: Sequence[Project]) -> tuple[ProjectId, ...] | None:
    """The ids of all projects of the viewer. None if only the newest of them are known."""
    if len(projects) >= LISTED_AT_MOST:
        return None
    return tuple(sorted(project.id for project in projects))


def _scope_of(address: ListAddress, projects: Sequence[Project]) -> tuple[ProjectId, ...] | None:
    """The projects that the filters of the address leave. None if they must be read."""
    scope, mode = known_scope(projects), address.chosen.get("mode")
    chosen = address.chosen.get("project")
    if scope is None:
        return None
    return tuple(
        project.id
        for project in sorted(projects, key=lambda project: project.id)
        if chosen in (None, project.id) and mode in (None, "live" if project.livemode else "test")
    )


def _elsewhere(address: ListAddress, found: IncidentRows) -> list[tuple[str, str, str]]:
    """The other tabs with matches of a search: name, label and number. Empty without a search."""
    if "q" not in address.chosen or address.tab == ALL:
        return []
    return [
        (name, TABS[name].label, f"{count.number:,}{'+' if count.is_more else ''}")
        for name, count in found.counts.items()
        if name != address.tab and count.number
    ]


async def _frame_values(
    console: Console, viewer: Viewer, address: ListAddress
) -> dict[str, object]:
    """What the page shows around its region."""
    views = console.operations.saved_views.list_views(viewer.user_id, viewer.access.projects)
    return {
        "views": await views,
        "completions": completions(),
        "export_query": address.query,
    }
