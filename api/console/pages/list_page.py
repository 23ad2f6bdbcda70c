"""What the lists of receipts and incidents share: the values of tabs, filters and paging."""

from collections.abc import Iterable, Sequence

from starlette.requests import Request
from starlette.responses import Response

from api.console.base import Console, error_message
from api.console.sign_in.sessions import Viewer
from api.console.ui import labels
from api.console.ui.filters import ListAddress, has_empty_fields
from domain.errors import RateLimited, Unavailable, ValidationFailed
from domain.ids import ProjectId
from domain.projects import Project
from domain.search.query import POINTER
from operations.names import known_effect_types, known_event_types, known_providers
from operations.overview.overview import MOST_PROJECTS
from operations.validation import known_id
from store.db.paging import Page
from store.receipts.queries import EventRow


def redirect_to_short_address(
    console: Console, request: Request, address: ListAddress
) -> Response | None:
    """Redirect to the same list without empty parameters.

    None if the address has none, or has parameters that the page reports as ignored.
    """
    if address.ignored or not has_empty_fields(request.query_params):
        return None
    return console.sessions.redirect(str(address))


async def list_values(
    console: Console,
    viewer: Viewer,
    address: ListAddress,
    page: Page[EventRow],
    *,
    tabs: Sequence[str],
    projects: Sequence[Project],
) -> dict[str, object]:
    """The values that the templates of a list of these projects need."""
    shown: set[str] = {row.receipt.project_id for row in page.rows}
    chosen = address.chosen.get("project")
    named = shown if chosen is None else {*shown, chosen}
    return {
        "rows": page.rows,
        "next_cursor": page.next_cursor,
        "address_of": address,
        "tabs": tabs,
        "projects": projects,
        "project_names": await project_names(console, viewer, projects, named),
        **list_options(address, projects),
        "counts": await console.counts(viewer, project_id=address.chosen.get("project")),
    }


def list_options(address: ListAddress, projects: Sequence[Project]) -> dict[str, object]:
    """The values of the filters: those of the viewer's projects, and the chosen one."""
    options = {
        "provider": known_providers(projects),
        "event_type": known_event_types(projects),
        "effect_type": known_effect_types(projects),
    }
    for name, known in options.items():
        chosen = address.chosen.get(name)
        options[name] = known if chosen is None or chosen in known else (*known, chosen)
    return {
        "providers": [(name, labels.humanize(name)) for name in options["provider"]],
        "event_types": options["event_type"],
        "effect_types": options["effect_type"],
    }


def search_problem(refused: ValidationFailed) -> str:
    """What is wrong with the search. Raises: ValidationFailed: something else was refused."""
    if any(error.pointer != POINTER for error in refused.errors):
        raise refused
    return error_message(refused)


async def own_projects(
    console: Console, viewer: Viewer, *, with_destinations: bool = False
) -> list[Project]:
    """The newest 1,000 projects of the viewer, sorted by name."""
    listed = await console.operations.projects.list_projects(
        viewer.access.projects, with_destinations=with_destinations
    )
    return sorted(listed, key=lambda project: project.name.lower())


async def lack_receipts(console: Console, viewer: Viewer, projects: Sequence[Project]) -> bool:
    """Whether no receipt has come yet to the newest of these projects. False if that is not known
    in time.
    """
    newest = sorted(projects, key=lambda project: project.created_at, reverse=True)
    try:
        found = await console.operations.overview.read_activity(
            [project.id for project in newest[:MOST_PROJECTS]], asked_by=viewer.user_id
        )
    except (Unavailable, RateLimited):
        return False
    return all(one.last_receipt_at is None for one in found.values())


async def project_names(
    console: Console, viewer: Viewer, projects: Sequence[Project], named: Iterable[str]
) -> dict[str, str]:
    """Names by project id: of `projects`, and of the viewer's projects in `named`."""
    names: dict[str, str] = {project.id: project.name for project in projects}
    others = {ProjectId(known_id(one)) for one in named if one not in names}
    others = {one for one in others if viewer.access.role_in(one) is not None}
    if others:
        listed = await console.operations.projects.list_projects(others)
        names |= {project.id: project.name for project in listed}
    return names
