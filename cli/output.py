"""What a command prints and how it ends: records and tables for people, JSON for programs, one line for a failure.

Text that came from outside loses its control characters before a terminal sees it. Used by every command; it opens nothing.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum

import typer

from domain.errors import Code, Refusal
from domain.values.text import printable, printable_json


class ExitCode(IntEnum):
    """How a command ended."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NOT_FOUND = 3
    NOT_ALLOWED = 4


_CODES = {
    Code.UNAUTHORIZED: ExitCode.NOT_ALLOWED,
    Code.FORBIDDEN: ExitCode.NOT_ALLOWED,
    Code.SUBSCRIPTION_REQUIRED: ExitCode.NOT_ALLOWED,
    Code.NOT_FOUND: ExitCode.NOT_FOUND,
    Code.VALIDATION_ERROR: ExitCode.USAGE,
    Code.MISSING_IDEMPOTENCY_KEY: ExitCode.USAGE,
    Code.PAYLOAD_TOO_LARGE: ExitCode.USAGE,
    Code.TOO_MANY_FIELDS: ExitCode.USAGE,
}


class CommandFailed(Exception):
    """The command could not do what was asked; the message is one line that says what to do."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


def failure_of(refusal: Refusal) -> CommandFailed:
    """The failure of a command that met a refusal, which its fields explain best when it has any."""
    told = "; ".join(f"{error.pointer.lstrip('/') or 'body'}: {error.message}" for error in refusal.errors)
    return CommandFailed(told or " ".join(refusal.detail.split()), exit_code_of(refusal.code))


def exit_code_of(code: str) -> ExitCode:
    """The exit code for a wire code, known to us or not."""
    return _CODES.get(Code(code), ExitCode.FAILED) if code in set(Code) else ExitCode.FAILED


def reason_of(error: Exception, *, characters: int = 300) -> str:
    """Why, as a driver of a store says it: the first line alone, since what follows may quote a statement and its values."""
    return str(error).partition("\n")[0][:characters]


def print_json(value: object) -> None:
    """The value as JSON, for programs."""
    typer.echo(printable_json(json.dumps(value, indent=2, ensure_ascii=False)))


def print_record(record: Mapping[str, object], *, as_json: bool) -> None:
    """One thing: a line for each of its fields, lists and objects below their name."""
    if as_json:
        return print_json(record)
    width = max((len(name) for name in record), default=0)
    for name, value in record.items():
        typer.echo(f"{printable(name):<{width}}  {cell(value)}")


def print_rows(
    answer: Mapping[str, object], rows: Sequence[Mapping[str, object]], columns: Iterable[str], *, as_json: bool
) -> None:
    """A table of the named columns; as JSON the whole answer, as REST would give it. Nothing is ever cut off."""
    if as_json:
        return print_json(answer)
    names = tuple(columns)
    lines = [tuple(cell(row.get(name)) for name in names) for row in rows]
    widths = [max(len(name), *(len(line[i]) for line in lines)) if lines else len(name) for i, name in enumerate(names)]
    heading = "  ".join(name.upper().replace("_", " ").ljust(width) for name, width in zip(names, widths, strict=True))
    typer.echo(typer.style(heading.rstrip(), bold=True))
    for line in lines:
        typer.echo("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip())


def print_end_of_list(rows: Sequence[object], what: str) -> None:
    """Say that a list ends at its bound, where it does: there may be older ones."""
    from store.db.paging import LISTED_AT_MOST  # here, since the store's library is slow to import

    if len(rows) >= LISTED_AT_MOST:
        tell(f"This list ends at the newest {LISTED_AT_MOST:,} {what}. Older ones are found by name or id.")


def cell(value: object) -> str:
    """A value on one line."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case str():
            return printable(value)
        case list() | tuple():
            return ", ".join(cell(item) for item in value) or "-"
        case Mapping():
            return " ".join(f"{printable(str(name))}={cell(item)}" for name, item in value.items())
        case _:
            return printable(str(value))


def joined(states: Sequence[str] | None) -> str | None:
    """The states as one filter of a list; None for all."""
    return ",".join(states) if states else None


def tell(message: str) -> None:
    """A line beside the output proper, or several, to stderr."""
    print("\n".join(printable(line) for line in message.split("\n")), file=sys.stderr, flush=True)
