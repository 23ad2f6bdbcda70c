"""`makegood receipt callback` and `receipt payload`: what Makegood sent, and what the app sent."""

from typing import TYPE_CHECKING, Annotated

import typer

from cli.commands.receipts import EventArgument
from cli.local_operations import cli_actor, operate
from cli.options import JsonFlag
from cli.output import format_value, print_json
from domain.values.text import printable
from domain.wording.states import call_error, state_label

if TYPE_CHECKING:
    from operations.responses.callbacks import SentAttempt

ReplayArgument = Annotated[
    str,
    typer.Argument(metavar="REPLAY_ID", help="The repair's id, rpl_…, as `receipt show` has it."),
]


def register(receipts: typer.Typer) -> None:
    """Put the commands into the group of receipts."""
    receipts.command("callback")(callback)
    receipts.command("payload")(payload)


def callback(event_id: EventArgument, replay_id: ReplayArgument, as_json: JsonFlag = False) -> None:
    """Print the signed callback of one repair: body, headers of each attempt, and the answers."""
    from operations.responses.callbacks import RepairCallback

    found = RepairCallback.of(
        operate(lambda operations: operations.events.read_callback(None, event_id, replay_id))
    )
    if as_json:
        return print_json(found.to_json())
    typer.echo(f"repair {found.replay_id}: {state_label(found.repair.state)}")
    body = "not stored" if found.body is None else printable(found.body)
    typer.echo("\n" + typer.style("BODY", bold=True) + f"\n{body}")
    for attempt in found.attempts:
        _print_attempt(attempt)


def payload(event_id: EventArgument) -> None:
    """Print the payload that the app sent with the receipt, as JSON.

    Each reading is in the audit log.
    """
    found = operate(
        lambda operations: operations.events.read_payload(None, event_id, actor=cli_actor())
    )
    print_json(found.value)


def _print_attempt(attempt: "SentAttempt") -> None:
    fields = attempt.to_json()
    typer.echo("\n" + typer.style(f"ATTEMPT {attempt.number}", bold=True) + f"  {fields['at']}")
    for name, value in attempt.headers:
        typer.echo(f"{printable(name)}: {printable(value)}")
    answer = format_value(
        f"HTTP {attempt.status}"
        if attempt.status
        else call_error(attempt.error_class) or "none yet"
    )
    typer.echo(f"answer: {answer}")
    if attempt.answer_excerpt:
        typer.echo(printable(attempt.answer_excerpt))
    if attempt.next_attempt_at is not None:
        typer.echo(f"next attempt: {fields['next_attempt_at']}")
