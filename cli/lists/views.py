"""`makegood incident view`: the saved views that are shared with projects."""

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated
from urllib.parse import parse_qsl

import typer

from cli.lists.options import OldestFlag, SortOption, chosen_order
from cli.local_operations import find_project, find_project_id, operate
from cli.options import JsonFlag, ProjectArgument, ProjectOption, SearchOption
from cli.output import CommandFailed, ExitCode, print_record, print_rows
from domain.audit import CLI
from domain.ids import ProjectId
from domain.incidents import IncidentState
from domain.users import Access

if TYPE_CHECKING:
    from domain.search.saved_views import SavedView
    from operations.composition import Operations
    from store.receipts.queries import ListFilters

COLUMNS = ("id", "name", "project_id", "q", "state", "sort", "created_at")
# A person who may open the store is an administrator of it.
EVERYTHING = Access(is_administrator=True, roles={})
views = typer.Typer(help="Saved searches that members of a project share.", no_args_is_help=True)


def register(incidents: typer.Typer) -> None:
    """Put the commands into the group of incidents."""
    incidents.add_typer(views, name="view")


@views.command("list")
def list_some(project: ProjectOption = None, as_json: JsonFlag = False) -> None:
    """List the saved views that are shared with a project."""

    async def act(operations: "Operations") -> "list[SavedView]":
        project_id = await find_project_id(operations, project)
        of = None if project_id is None else [project_id]
        return await operations.saved_views.list_views(None, of)

    rows = [_fields(view) for view in operate(act)]
    print_rows({"data": rows}, rows, COLUMNS, as_json=as_json)


@views.command("save")
def save(
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the view.")],
    project: ProjectArgument,
    search: SearchOption = None,
    sort: SortOption = None,
    oldest: OldestFlag = False,
    state: Annotated[
        IncidentState | None, typer.Option(metavar="STATE", help="The tab: open by default.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Save a search for the members of a project. One of the same name is replaced."""
    given = {"name": name, "q": search, "state": state, "sort": chosen_order(sort, oldest=oldest)}

    async def act(operations: "Operations") -> "SavedView":
        project_id = (await find_project(operations, project)).id
        return await operations.saved_views.save_shared_view(CLI, EVERYTHING, project_id, given)

    print_record(_fields(operate(act)), as_json=as_json)


@views.command("remove")
def remove(
    view_id: Annotated[str, typer.Argument(metavar="VIEW_ID", help="The view's id, view_…")],
    as_json: JsonFlag = False,
) -> None:
    """Remove a saved view that is shared with a project."""
    removed = operate(
        lambda operations: operations.saved_views.remove_view(CLI, EVERYTHING, view_id)
    )
    print_record(_fields(removed), as_json=as_json)


async def with_view(
    operations: "Operations", filters: "ListFilters", name_or_id: str
) -> "tuple[ListFilters, str | None]":
    """The filters narrowed to a shared view, and the order of the view.

    Options that name another project or state, and the search, hold beside those of the view.
    """
    from api.console.ui.filters import read_address
    from api.console.ui.incident_tabs import TABS

    shared = await operations.saved_views.list_views(None, None)
    view = find_view(shared, name_or_id)
    projects = await operations.projects.list_projects()
    query = dict(parse_qsl(view.query))
    address = read_address("/incidents", query, tabs=tuple(TABS), projects=projects)
    chosen = address.chosen
    project_id = chosen.get("project") or view.project_id
    searches = (chosen.get("q"), filters.q)
    narrowed = replace(
        filters,
        project_id=filters.project_id or (None if project_id is None else ProjectId(project_id)),
        q=" ".join(one for one in searches if one) or None,
        also=TABS[address.tab].search if not filters.states else None,
        provider=chosen.get("provider"),
        event_type=chosen.get("event_type"),
        effect_type=chosen.get("effect_type"),
        internal_reference=chosen.get("internal_reference"),
        created_after=address.created_after,
        created_before=address.created_before,
        livemode=None if "mode" not in chosen else chosen["mode"] == "live",
    )
    return narrowed, address.sort


def find_view(found: "list[SavedView]", name_or_id: str) -> "SavedView":
    """The shared view of this id or name. Raises: CommandFailed for none, or several."""
    named = [view for view in found if name_or_id in (view.id, view.name)]
    if len(named) == 1:
        return named[0]
    what = "several shared views have" if named else "no shared view has"
    message = f"{what} the id or name {name_or_id!r}: `makegood incident view list` prints them"
    raise CommandFailed(message, ExitCode.NOT_FOUND)


def _fields(view: "SavedView") -> dict[str, object]:
    from operations.responses import saved_views as responses  # slow to import

    return responses.SavedView.of(view).to_json()
