"""Prints the output of commands: records, tables and JSON. Defines exit codes and command failures.

Control characters are removed from external text before it is printed. Performs no other I/O.
"""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from enum import IntEnum

import typer

from domain.errors import Code, Refusal
from domain.values.text import printable, printable_json


class ExitCode(IntEnum):
    """The exit code of a command."""

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
    """The command failed; the message is one line with the problem and its fix."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.code = code


def command_failure(refusal: Refusal) -> CommandFailed:
    """The `CommandFailed` for a refusal: its field errors if there are any, else its detail."""
    field_errors = "; ".join(
        f"{error.pointer.lstrip('/') or 'body'}: {error.message}" for error in refusal.errors
    )
    return CommandFailed(
        field_errors or " ".join(refusal.detail.split()), exit_code_of(refusal.code)
    )


def exit_code_of(code: str) -> ExitCode:
    """The exit code for a problem code; FAILED for an unknown one."""
    return _CODES.get(Code(code), ExitCode.FAILED) if code in set(Code) else ExitCode.FAILED


def first_line_of(error: Exception, *, characters: int = 300) -> str:
    """The first line of a database error. Later lines can quote a statement and its values."""
    return str(error).partition("\n")[0][:characters]


def print_json(value: object) -> None:
    """Print the value as JSON."""
    typer.echo(printable_json(json.dumps(value, indent=2, ensure_ascii=False)))


def print_record(record: Mapping[str, object], *, as_json: bool) -> None:
    """Print one object, a line for each field; or as JSON."""
    if as_json:
        return print_json(record)
    width = max((len(name) for name in record), default=0)
    for name, value in record.items():
        typer.echo(f"{printable(name):<{width}}  {format_value(value)}")


def print_rows(
    answer: Mapping[str, object],
    rows: Sequence[Mapping[str, object]],
    columns: Iterable[str],
    *,
    as_json: bool,
    styles: Mapping[str, Mapping[str, str]] | None = None,
) -> None:
    """Print a table of the columns, never truncated; or the whole `answer` as JSON.

    On a terminal the table fits its width, and `styles` colour the values of a column. Elsewhere
    each row is one line, for programs.
    """
    if as_json:
        return print_json(answer)
    names = tuple(columns)
    headings = [name.upper().replace("_", " ") for name in names]
    lines = [tuple(format_value(row.get(name)) for name in names) for row in rows]
    if sys.stdout.isatty():
        of_columns = [(styles or {}).get(name, {}) for name in names]
        _print_table(headings, lines, of_columns)
    else:
        _print_lines(headings, lines)


def print_end_of_list(rows: Sequence[object], what: str) -> None:
    """Note on stderr that a list was cut at its limit, if it was."""
    from store.db.paging import LISTED_AT_MOST  # slow to import

    if len(rows) >= LISTED_AT_MOST:
        print_notice(
            f"This list shows the newest {LISTED_AT_MOST:,} {what}. Find older ones by name or id."
        )


def format_value(value: object) -> str:
    """The value as text on one line."""
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case str():
            return printable(value)
        case list() | tuple():
            return ", ".join(format_value(item) for item in value) or "-"
        case Mapping():
            return " ".join(
                f"{printable(str(name))}={format_value(item)}" for name, item in value.items()
            )
        case _:
            return printable(str(value))


def print_notice(message: str) -> None:
    """Print one or more lines to stderr."""
    print("\n".join(printable(line) for line in message.split("\n")), file=sys.stderr, flush=True)


def _print_table(
    headings: Sequence[str],
    lines: Sequence[Sequence[str]],
    styles: Sequence[Mapping[str, str]],
) -> None:
    """Print a table as wide as the terminal. Longer cells continue on the next line."""
    # Imported here: most commands print no table, and the library is slow to import.
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for heading in headings:
        table.add_column(Text(heading), overflow="fold")
    for line in lines:
        # A `Text` is printed as it is. The library interprets markup and emoji in a `str`.
        cells = zip(line, styles, strict=True)
        table.add_row(*(Text(cell, style=known.get(cell, "")) for cell, known in cells))
    Console(highlight=False, emoji=False, markup=False).print(table)


def _print_lines(headings: Sequence[str], lines: Sequence[Sequence[str]]) -> None:
    """Print a line for each row, with the columns aligned."""
    widths = [max(map(len, column)) for column in zip(headings, *lines, strict=True)]
    for line in (headings, *lines):
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        typer.echo("  ".join(cells).rstrip())
