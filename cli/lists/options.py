"""The options that say which incidents a command is about."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.options import one_of
from cli.output import CommandFailed, ExitCode
from domain.incidents import IncidentState
from domain.search.sorting import OLDEST_FIRST, Sort

if TYPE_CHECKING:
    from domain.ids import ProjectId
    from store.receipts.queries import ListFilters

StateOption = Annotated[
    list[IncidentState] | None,
    typer.Option(
        metavar="STATE", help=f"Only in this state; can be repeated. {one_of(IncidentState)}"
    ),
]
SortOption = Annotated[
    Sort | None,
    typer.Option(metavar="ORDER", help=f"The order; - is descending. {one_of(Sort)}"),
]
ViewOption = Annotated[
    str | None,
    typer.Option("--view", metavar="NAME", help="A saved view shared with a project, or its id."),
]
OldestFlag = Annotated[bool, typer.Option("--oldest", help="Oldest first: --sort opened_at.")]


def chosen_order(sort: Sort | None, *, oldest: bool) -> str | None:
    """The order of the list; None is newest first. Raises: CommandFailed for two orders."""
    if not oldest:
        return sort
    if sort not in (None, Sort.OPENED_AT):
        raise CommandFailed("--oldest and --sort name two orders: use one", ExitCode.USAGE)
    return OLDEST_FIRST


def chosen_filters(
    project_id: "ProjectId | None", state: list[IncidentState] | None, search: str | None
) -> "ListFilters":
    from store.receipts.queries import ListFilters  # slow to import

    return ListFilters(project_id=project_id, states=tuple(state or ()), q=search)
