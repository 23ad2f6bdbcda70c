"""`makegood group`: lists groups of incidents and acts on all incidents of one, directly on the
store.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.local_operations import cli_actor, find_project_id, operate
from cli.options import CursorOption, JsonFlag, LimitOption, ProjectOption, one_of
from cli.output import CommandFailed, ExitCode, print_record, print_rows
from domain.groups.group import GroupState

if TYPE_CHECKING:
    from domain.groups.group import Group
    from operations.composition import Operations
    from operations.groups.groups import GroupAct
    from store.db.paging import Page

app = typer.Typer(help="Groups: incidents of one cause.", no_args_is_help=True)
COLUMNS = (
    "id",
    "state",
    "effect_type",
    "reason",
    "error_code",
    "open",
    "repairing",
    "resolved",
    "amounts",
    "first_at",
    "last_at",
    "muted_until",
)
GroupArgument = Annotated[str, typer.Argument(metavar="GROUP_ID", help="The group's id, grp_…")]


@app.command("list")
def list_some(
    project: ProjectOption = None,
    state: Annotated[
        GroupState | None,
        typer.Option(
            metavar="STATE",
            help=f"Only in this state. {one_of(GroupState)} Open and quiet need --project.",
        ),
    ] = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List groups, the one with the newest incident first."""
    from operations.responses.groups import GroupList
    from store.receipts.groups.queries import GroupFilters

    if project is None and state in {GroupState.OPEN, GroupState.QUIET}:
        message = "open and quiet depend on a project's setting: name it with --project"
        raise CommandFailed(message, ExitCode.USAGE)

    async def act(operations: "Operations") -> "Page[Group]":
        filters = GroupFilters(await find_project_id(operations, project), state=state)
        return await operations.groups.list_groups(filters, limit=limit, cursor=cursor)

    answer = GroupList.of(operate(act)).to_json()
    print_rows(answer, [_flat(row) for row in answer["data"]], COLUMNS, as_json=as_json)


@app.command("show")
def show(group_id: GroupArgument, as_json: JsonFlag = False) -> None:
    """Print one group."""
    from operations.responses.groups import Group

    group = operate(lambda operations: operations.groups.read_group(None, group_id))
    fields = Group.of(group).to_json()
    print_record(fields if as_json else _flat(fields), as_json=as_json)


@app.command("mute")
def mute(
    group_id: GroupArgument,
    until: Annotated[
        str, typer.Option(metavar="INSTANT", help="ISO 8601 with a zone; at most 365 days ahead.")
    ],
    as_json: JsonFlag = False,
) -> None:
    """Send no alerts about a group until then."""
    content = {"until": until}
    _act(
        lambda operations: operations.groups.mute(None, group_id, content, actor=cli_actor()),
        as_json=as_json,
    )


@app.command("unmute")
def unmute(group_id: GroupArgument, as_json: JsonFlag = False) -> None:
    """Send alerts about a group again. What opened meanwhile is not alerted."""
    _act(
        lambda operations: operations.groups.unmute(None, group_id, actor=cli_actor()),
        as_json=as_json,
    )


@app.command("acknowledge")
def acknowledge(group_id: GroupArgument, as_json: JsonFlag = False) -> None:
    """Mark all unresolved incidents of a group as being looked at."""
    _act(
        lambda operations: operations.groups.acknowledge(None, group_id, actor=cli_actor()),
        as_json=as_json,
    )


@app.command("resolve")
def resolve(
    group_id: GroupArgument,
    reason: Annotated[str, typer.Option(help="Why; recorded in each timeline.")],
    as_json: JsonFlag = False,
) -> None:
    """Resolve all unresolved incidents of a group manually. `complete` false: run it again."""
    _act(
        lambda operations: operations.groups.resolve(
            None, group_id, reason=reason, actor=cli_actor()
        ),
        as_json=as_json,
    )


# Any: JSON values.
def _flat(fields: Mapping[str, Any]) -> dict[str, Any]:
    """The fields without nested objects, for a table."""
    amounts = ", ".join(f"{currency} {sum_}" for currency, sum_ in fields["amounts"].items())
    flat = {name: value for name, value in fields.items() if name != "counts"}
    return {**flat, **fields["counts"], "amounts": amounts or None}


def _act(action: "Callable[[Operations], Awaitable[GroupAct]]", *, as_json: bool) -> None:
    """Run the action and print the group that it returns."""
    from operations.responses.groups import GroupAct

    fields = GroupAct.of(operate(action)).to_json()
    print_record(fields if as_json else _flat(fields), as_json=as_json)
