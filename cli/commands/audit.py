"""`makegood audit`: lists, verifies and exports the audit log."""

import sys
from dataclasses import asdict
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.local_operations import Json, cli_actor, find_project_id, operate
from cli.options import CursorOption, JsonFlag, LimitOption, ProjectOption
from cli.output import CommandFailed, ExitCode, print_record, print_rows
from domain.audit import AuditAction
from domain.values.timestamps import parse_instant

if TYPE_CHECKING:
    from operations.audit import AuditFilters
    from operations.composition import Operations

app = typer.Typer(help="The audit log: who did what, from where, to what.", no_args_is_help=True)
COLUMNS = ("at", "actor", "action", "subject_id", "project_id", "address", "details")
ActorOption = Annotated[
    str | None, typer.Option(help="Only by this user, key, `cli` or `temporal`.")
]
ActionOption = Annotated[AuditAction | None, typer.Option(help="Only this action.")]
AfterOption = Annotated[
    str | None, typer.Option("--after", help="Only after this instant, ISO 8601 with zone.")
]
BeforeOption = Annotated[
    str | None, typer.Option("--before", help="Only before this instant, ISO 8601 with zone.")
]


@app.command("list")
def list_some(
    project: ProjectOption = None,
    actor: ActorOption = None,
    action: ActionOption = None,
    after: AfterOption = None,
    before: BeforeOption = None,
    limit: LimitOption = 20,
    cursor: CursorOption = None,
    as_json: JsonFlag = False,
) -> None:
    """List entries, newest first."""
    filters = _filters(actor, action, after, before)

    async def act(operations: "Operations") -> Json:
        return await operations.audit.list_audit(
            await find_project_id(operations, project), filters, limit=limit, cursor=cursor
        )

    answer = operate(act)
    print_rows(answer, answer["data"], COLUMNS, as_json=as_json)


@app.command("verify")
def verify(
    expect: Annotated[
        str | None,
        typer.Option(
            metavar="HASH", help="The `head` that an earlier run printed; the log must contain it."
        ),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Verify every entry and the end of the log. Exits 1 and names the first broken entry.

    Store the printed `head` where the database's owner cannot write, and pass it to a later run
    with --expect.
    """
    verdict = operate(lambda operations: operations.audit.verify_audit(expect=expect))
    print_record(asdict(verdict), as_json=as_json)
    if verdict.problem is not None:
        where = (
            "the audit log"
            if verdict.sequence is None
            else f"entry {verdict.sequence} of the audit log"
        )
        raise CommandFailed(f"{where} is broken: {verdict.problem}")


@app.command("export")
def export(
    project: ProjectOption = None,
    actor: ActorOption = None,
    action: ActionOption = None,
    after: AfterOption = None,
    before: BeforeOption = None,
) -> None:
    """Print the entries as JSON Lines, oldest first; the export is itself an entry."""
    filters = _filters(actor, action, after, before)

    async def act(operations: "Operations") -> None:
        project_id = await find_project_id(operations, project)
        async for lines in await operations.audit.export_audit(
            project_id, filters, actor=cli_actor()
        ):
            sys.stdout.write(lines.decode())
        sys.stdout.flush()

    operate(act)


def _filters(
    actor: str | None, action: AuditAction | None, after: str | None, before: str | None
) -> "AuditFilters":
    from operations.audit import AuditFilters

    return AuditFilters(actor, action, _instant("--after", after), _instant("--before", before))


def _instant(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    if (at := parse_instant(text)) is None:
        raise CommandFailed(
            f"{option}: expected an ISO 8601 instant with a zone, such as 2026-11-23T11:13:55Z",
            ExitCode.USAGE,
        )
    return at
