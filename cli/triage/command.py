"""Commands of `makegood incident` and `makegood receipt` that look after an incident or a deadline.

They run directly on the store, with the operations that REST and the console call.
"""

import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.incidents import IncidentArgument
from cli.commands.receipts import EventArgument
from cli.local_operations import cli_actor, operate
from cli.options import JsonFlag
from cli.output import CommandFailed, ExitCode, print_record
from domain.values.timestamps import to_iso

if TYPE_CHECKING:
    from domain.incidents import Incident
    from operations.composition import Operations

_SPAN = re.compile(r"(\d{1,6})(m|h|d)")
_UNITS = {"m": "minutes", "h": "hours", "d": "days"}
_WHEN = "An instant such as 2026-11-23T18:00:00Z, or a time from now such as 30m, 4h or 2d."
Reason = Annotated[str, typer.Option(help="Why; recorded in the timeline.")]


def register(incidents: typer.Typer, receipts: typer.Typer) -> None:
    """Put the commands into the groups of incidents and receipts."""
    for command in (acknowledge, unacknowledge, assign, comment, snooze, reopen):
        incidents.command(command.__name__)(command)
    receipts.command("deadline")(deadline)


def acknowledge(
    incident_id: IncidentArgument,
    until: Annotated[
        str | None,
        typer.Option(metavar="WHEN", help=f"{_WHEN} Default: the project's acknowledge_minutes."),
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Mark an incident as being looked at. Its alerts go out again when that ends."""
    body = {} if until is None else {"until": _instant(until)}
    _act(
        lambda operations: operations.triage.acknowledge(
            None, incident_id, body, actor=cli_actor()
        ),
        as_json=as_json,
    )


def unacknowledge(incident_id: IncidentArgument, as_json: JsonFlag = False) -> None:
    """Take an acknowledgement back."""
    _act(
        lambda operations: operations.triage.unacknowledge(None, incident_id, actor=cli_actor()),
        as_json=as_json,
    )


def assign(
    incident_id: IncidentArgument,
    to: Annotated[
        str | None, typer.Option(metavar="EMAIL", help="A member of the project, who is mailed.")
    ] = None,
    nobody: Annotated[bool, typer.Option("--nobody", help="Remove the assignee.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Assign an incident to a member of its project."""
    if (to is None) is not nobody:
        raise CommandFailed("give --to EMAIL, or --nobody", ExitCode.USAGE)
    _act(
        lambda operations: operations.triage.assign(
            None, incident_id, {"assignee": to}, actor=cli_actor()
        ),
        as_json=as_json,
    )


def comment(
    incident_id: IncidentArgument,
    text: Annotated[str, typer.Argument(metavar="TEXT", help="At most 4,000 characters.")],
    as_json: JsonFlag = False,
) -> None:
    """Add a comment to the timeline of an incident."""
    _act(
        lambda operations: operations.triage.comment(
            None, incident_id, {"text": text}, actor=cli_actor()
        ),
        as_json=as_json,
    )


def snooze(
    incident_id: IncidentArgument,
    until: Annotated[str, typer.Option(metavar="WHEN", help=f"{_WHEN} At most 30 days ahead.")],
    as_json: JsonFlag = False,
) -> None:
    """Send no alerts about an incident until then, or until a repair fails."""
    body = {"until": _instant(until)}
    _act(
        lambda operations: operations.triage.snooze(None, incident_id, body, actor=cli_actor()),
        as_json=as_json,
    )


def reopen(incident_id: IncidentArgument, reason: Reason, as_json: JsonFlag = False) -> None:
    """Open an incident again that was resolved manually. Alerts are sent."""
    _act(
        lambda operations: operations.triage.reopen(
            None, incident_id, {"reason": reason}, actor=cli_actor()
        ),
        as_json=as_json,
    )


def deadline(
    event_id: EventArgument,
    at: Annotated[str, typer.Option(metavar="WHEN", help=f"{_WHEN} At most 7 days ahead.")],
    as_json: JsonFlag = False,
) -> None:
    """Move the deadline of a waiting receipt."""
    from operations.responses.events import Event

    body = {"deadline_at": _instant(at)}
    moved = operate(
        lambda operations: operations.triage.move_deadline(None, event_id, body, actor=cli_actor())
    )
    print_record(Event.of(moved).to_json(), as_json=as_json)


def _instant(text: str) -> str:
    """The instant as REST takes it. Text of another form stays, for the operation to refuse."""
    span = _SPAN.fullmatch(text)
    if span is None:
        return text
    try:
        return to_iso(datetime.now(UTC) + timedelta(**{_UNITS[span[2]]: int(span[1])}))
    except OverflowError:
        return text


def _act(action: "Callable[[Operations], Awaitable[Incident]]", *, as_json: bool) -> None:
    """Run the action and print the incident that it returns."""
    from operations.responses import incidents as responses

    print_record(responses.Incident.of(operate(action)).to_json(), as_json=as_json)
