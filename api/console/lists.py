"""What the two lists have in common: the values of their tabs, filters and pages."""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response

from api.console import filters
from api.console.console import Console
from api.console.filters import ListAddress, has_empty_fields
from api.console.rows import Json, RowPage
from api.console.sessions import Viewer


def shortened(console: Console, request: Request, address: ListAddress) -> Response | None:
    """To the same list by its short address, when a form was sent with fields left empty."""
    return console.sessions.redirect(str(address)) if has_empty_fields(request.query_params) else None


async def list_values(
    console: Console, viewer: Viewer, address: ListAddress, page: RowPage, *, tabs: Sequence[str]
) -> dict[str, object]:
    """What a list's templates need."""
    projects = await own_projects(console, viewer)
    return {
        "rows": page.rows,
        "next_cursor": page.next_cursor,
        "address_of": address,
        "tabs": tabs,
        "projects": projects,
        "project_names": {project["project_id"]: project["name"] for project in projects},
        "event_types": filters.EVENT_TYPES,
        "effect_types": filters.EFFECT_TYPES,
        "counts": await console.counts(viewer, project_id=address.chosen.get("project")),
    }


async def own_projects(console: Console, viewer: Viewer) -> list[Json]:
    """Every project that the viewer belongs to, by name."""
    answer = await console.operations.list_projects()
    own = (project for project in answer["data"] if viewer.access.role_in(project["project_id"]) is not None)
    return sorted(own, key=lambda project: str(project["name"]).lower())
