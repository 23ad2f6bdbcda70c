"""The options of `makegood project set` about the silence of a project."""

from collections.abc import Mapping, Sequence
from typing import Annotated

import typer

from cli.output import CommandFailed, ExitCode

LEARNED = "learned"

SilentAfterMinutes = Annotated[
    str | None,
    typer.Option(
        metavar="MINUTES|learned", help="Alert after so long without a receipt; 0: never."
    ),
]
SilentEventTypes = Annotated[
    list[str] | None,
    typer.Option(
        "--silent-event-type",
        metavar="TYPE=MINUTES",
        help="Watch an event type apart; can be repeated. Replaces all. '' watches none. The"
        " minutes may be the word learned.",
    ),
]


def silence_changes(minutes: str | None, event_types: Sequence[str] | None) -> Mapping[str, object]:
    """The given settings as JSON values of REST's PATCH."""
    changes: dict[str, object] = {}
    if minutes is not None:
        changes["silent_after_minutes"] = _minutes(minutes)
    if event_types is not None:
        pairs = (given.partition("=") for given in event_types if given)
        changes["silent_event_types"] = {name: _minutes(text) for name, _, text in pairs}
    return changes


def _minutes(text: str) -> int | None:
    """Raises: CommandFailed."""
    if text == LEARNED:
        return None
    try:
        return int(text)
    except ValueError:
        message = f"{text!r} is no number of minutes, and not `{LEARNED}`"
        raise CommandFailed(message, ExitCode.USAGE) from None
