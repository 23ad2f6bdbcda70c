"""`makegood audit`: lists, verifies and exports the audit log."""

import sys
from dataclasses import asdict, replace
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from cli.local_operations import cli_actor, find_project_id, operate
from cli.options import CursorOption, JsonFlag, LimitOption, ProjectOption
from cli.output import CommandFailed, ExitCode, print_record, print_rows
from domain.audit import AuditAction
from domain.values.timestamps import parse_instant

if TYPE_CHECKING:
    from domain.audit import AuditEntry
    from operations.composition import Operations
    from store.audit.log import AuditFilters
    from store.db.paging import Page

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
    from operations.responses.audit import AuditList

    filters = _filters(actor, action, after, before)

    async def act(operations: "Operations") -> "Page[AuditEntry]":
        project_id = await find_project_id(operations, project)
        in_project = replace(filters, project_id=project_id)
        return await operations.audit.list_audit(in_project, limit=limit, cursor=cursor)

    answer = AuditList.of(operate(act)).to_json()
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
    from operations.responses.audit import json_lines

    filters = _filters(actor, action, after, before)

    async def act(operations: "Operations") -> None:
        project_id = await find_project_id(operations, project)
        in_project = replace(filters, project_id=project_id)
        async for entries in await operations.audit.export_audit(in_project, actor=cli_actor()):
            sys.stdout.write(json_lines(entries, with_chain=True).decode())
        sys.stdout.flush()

    operate(act)


def _filters(
    actor: str | None, action: AuditAction | None, after: str | None, before: str | None
) -> "AuditFilters":
    """The filters, for every project. Raises: CommandFailed."""
    from store.audit.log import AuditFilters

    return AuditFilters(
        project_id=None,
        actor=actor,
        action=action,
        created_after=_instant("--after", after),
        created_before=_instant("--before", before),
    )


def _instant(option: str, text: str | None) -> datetime | None:
    if text is None:
        return None
    if (at := parse_instant(text)) is None:
        raise CommandFailed(
            f"{option}: expected an ISO 8601 instant with a zone, such as 2026-11-23T11:13:55Z",
            ExitCode.USAGE,
        )
    return at
