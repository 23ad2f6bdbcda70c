"""`makegood hold`: adds, lists and removes holds, directly on the store."""

from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.local_operations import cli_actor, find_project, operate
from cli.options import JsonFlag, ProjectArgument
from cli.output import print_record, print_rows

if TYPE_CHECKING:
    from operations.composition import Operations

app = typer.Typer(help="Holds: let no repair begin for a while.", no_args_is_help=True)
COLUMNS = ("id", "effect_type", "internal_reference", "all", "reason", "until", "held")


@app.command("add")
def add(
    project: ProjectArgument,
    reason: Annotated[str, typer.Option(help="Why; shown with the hold.")],
    effect_type: Annotated[
        str | None, typer.Option("--effect", help="Hold repairs of this effect.")
    ] = None,
    internal_reference: Annotated[
        str | None, typer.Option("--reference", help="Hold repairs of this reference.")
    ] = None,
    every: Annotated[bool, typer.Option("--all", help="Hold every repair.")] = False,
    until: Annotated[
        str | None, typer.Option(help="It ends by itself then, such as 2026-11-23T11:00:00Z.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Hold repairs of an effect, of a reference, or all. What has begun runs on."""
    from operations.responses.repairing import Hold

    content: dict[str, Any] = {
        "effect_type": effect_type,
        "internal_reference": internal_reference,
        "all": every,
        "reason": reason,
        "until": until,
    }
    given = {name: value for name, value in content.items() if value is not None}

    async def act(operations: "Operations") -> Any:
        found = await find_project(operations, project)
        return await operations.holds.add_hold(found.id, given, actor=cli_actor())

    print_record(Hold.of(operate(act)).to_json(), as_json=as_json)


@app.command("list")
def list_all(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """List the active holds of a project, oldest first."""
    from operations.responses.repairing import HoldList

    async def act(operations: "Operations") -> Any:
        found = await find_project(operations, project)
        return await operations.holds.list_holds(found.id)

    answer = HoldList.of(operate(act)).to_json()
    print_rows(answer, answer["data"], COLUMNS, as_json=as_json)


@app.command("remove")
def remove(
    project: ProjectArgument,
    hold_id: Annotated[str, typer.Argument(metavar="HOLD_ID", help="The hold's id, hld_…")],
    as_json: JsonFlag = False,
) -> None:
    """End a hold. The repairs that it holds begin, in order."""
    from operations.responses.repairing import Hold

    async def act(operations: "Operations") -> Any:
        found = await find_project(operations, project)
        return await operations.holds.remove_hold(found.id, hold_id, actor=cli_actor())

    print_record(Hold.of(operate(act)).to_json(), as_json=as_json)
