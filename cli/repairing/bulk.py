"""`makegood bulk`: starts, watches, pauses, resumes and aborts bulk repairs, on the store."""

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from cli.local_operations import cli_actor, find_project, find_project_id, operate
from cli.options import CursorOption, JsonFlag, LimitOption, ProjectArgument, ProjectOption
from cli.output import print_record, print_rows
from domain.repairing.bulk import Plan

if TYPE_CHECKING:
    from domain.projects import Project
    from domain.repairing.bulk import BulkRepair
    from operations.composition import Operations

app = typer.Typer(help="Bulk repairs: repair many incidents in steps.", no_args_is_help=True)
COLUMNS = ("bulk_id", "state", "counts", "reason", "created_at", "ended_at")
ITEM_COLUMNS = ("position", "incident_id", "state", "skipped_because", "replay_id", "decided_at")
DEFAULTS = Plan()
T = TypeVar("T")

BulkArgument = Annotated[str, typer.Argument(metavar="BULK_ID", help="The bulk repair's id, blk_…")]
Incidents = Annotated[
    list[str] | None,
    typer.Option("--incident", metavar="INCIDENT_ID", help="An incident; can be repeated."),
]
Query = Annotated[
    str | None, typer.Option("--search", help="All incidents that a search finds, oldest first.")
]
Group = Annotated[str | None, typer.Option("--group", help="All unresolved incidents of a group.")]
Reason = Annotated[str, typer.Option(help="Why; shown with the bulk repair.")]
First = Annotated[
    int, typer.Option(help="So many begin; the rest waits until each of them is decided.")
]
Then = Annotated[int, typer.Option(help="So many more begin at once.")]
PerMinute = Annotated[int, typer.Option(help="The pace of the others.")]
StopAt = Annotated[int, typer.Option(help="It stops itself at this percentage of failed repairs.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only print what it would do.")]
IncludeSuperseded = Annotated[
    bool,
    typer.Option("--include-superseded", help="Repair also what a later event makes doubtful."),
]


@app.command("start")
def start(
    project: ProjectArgument,
    reason: Reason,
    incident: Incidents = None,
    q: Query = None,
    group: Group = None,
    first: First = DEFAULTS.first,
    then: Then = DEFAULTS.then,
    per_minute: PerMinute = DEFAULTS.per_minute,
    stop_at_failed_percent: StopAt = DEFAULTS.stop_at_failed_percent,
    dry_run: DryRun = False,
    include_superseded: IncludeSuperseded = False,
    as_json: JsonFlag = False,
) -> None:
    """Start a bulk repair of the named incidents, of a search or of a group."""
    from operations.responses.repairing import BulkRepairEstimate, BulkRepairStarted

    selected = {"q": q, "incident_ids": incident or None, "group_id": group}
    content: dict[str, Any] = {
        **{name: value for name, value in selected.items() if value is not None},
        "reason": reason,
        "include_superseded": include_superseded,
        "plan": {
            "first": first,
            "then": then,
            "per_minute": per_minute,
            "stop_at_failed_percent": stop_at_failed_percent,
        },
    }
    if dry_run:
        found = _on_project(
            project,
            lambda operations, one: operations.bulk_repairs.estimate(one.id, content),
        )
        return print_record(BulkRepairEstimate.of(found).to_json(), as_json=as_json)
    started = _on_project(
        project,
        lambda operations, one: operations.bulk_repairs.start(one.id, content, actor=cli_actor()),
    )
    print_record(BulkRepairStarted(bulk_id=started.id).to_json(), as_json=as_json)


@app.command("list")
def list_some(
    project: ProjectOption = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List bulk repairs with their progress, newest first."""
    from operations.responses.repairing import BulkRepairList

    async def act(operations: "Operations") -> Any:
        project_id = await find_project_id(operations, project)
        return await operations.bulk_repairs.list_bulk_repairs(project_id, limit, cursor)

    answer = BulkRepairList.of(operate(act)).to_json()
    print_rows(answer, answer["data"], COLUMNS, as_json=as_json)


@app.command("show")
def show(
    bulk_id: BulkArgument,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """Print a bulk repair, its progress and a page of its incidents."""
    from operations.responses.repairing import FullBulkRepair

    found = operate(
        lambda operations: operations.bulk_repairs.read_bulk_repair(None, bulk_id, limit, cursor)
    )
    answer = FullBulkRepair.of_items(found).to_json()
    if as_json:
        return print_record(answer, as_json=True)
    items = answer.pop("items")
    print_record(answer, as_json=False)
    print_rows(answer, items, ITEM_COLUMNS, as_json=False)


@app.command("pause")
def pause(bulk_id: BulkArgument, as_json: JsonFlag = False) -> None:
    """Begin no more repairs until it is resumed."""
    _print(
        operate(lambda one: one.bulk_repairs.pause(None, bulk_id, actor=cli_actor())),
        as_json=as_json,
    )


@app.command("resume")
def resume(bulk_id: BulkArgument, as_json: JsonFlag = False) -> None:
    """Go on where it was paused."""
    _print(
        operate(lambda one: one.bulk_repairs.resume(None, bulk_id, actor=cli_actor())),
        as_json=as_json,
    )


@app.command("abort")
def abort(bulk_id: BulkArgument, as_json: JsonFlag = False) -> None:
    """Begin no more repairs. What it has begun runs on."""
    _print(
        operate(lambda one: one.bulk_repairs.abort(None, bulk_id, actor=cli_actor())),
        as_json=as_json,
    )


def _on_project(name_or_id: str, action: "Callable[[Operations, Project], Awaitable[T]]") -> T:
    async def act(operations: "Operations") -> T:
        return await action(operations, await find_project(operations, name_or_id))

    return operate(act)


def _print(bulk: "BulkRepair", *, as_json: bool) -> None:
    from operations.responses import repairing as responses

    print_record(responses.BulkRepair.of(bulk).to_json(), as_json=as_json)
