"""`makegood logs`: prints the logs of the children of `makegood up`, and follows them.

It reads files only, so it works while Makegood runs and after it has stopped.
"""

import json
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack, closing, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from cli.logs.reading import LogLine, LogReader, log_names, merged
from cli.logs.writing import DIRECTORY_NAME
from cli.output import CommandFailed, ExitCode
from cli.settings import read_settings
from domain.values.text import printable, printable_json

POLL_SECONDS = 0.2


def register(app: typer.Typer) -> None:
    """Put the command under the application."""
    app.command("logs")(logs)


def logs(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="NAME", help="One log: api, mailbox, temporal or worker. Default: all of them."
        ),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow", "-f", help="Print new lines too, until Ctrl-C.")
    ] = False,
    lines: Annotated[
        int, typer.Option("--lines", "-n", metavar="N", min=0, max=1_000_000, help="How many.")
    ] = 100,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print JSON Lines with name, at and text.")
    ] = False,
) -> None:
    """Print the last lines that the processes of `makegood up` wrote, in the order of time."""
    directory = read_settings().data_dir / DIRECTORY_NAME
    names = _chosen(name, directory)
    with ExitStack() as stack, suppress(KeyboardInterrupt):
        readers = [stack.enter_context(closing(LogReader(directory, one))) for one in names]
        last = merged([reader.next_lines(last=lines) for reader in readers])
        _print(last[len(last) - lines :] if len(last) > lines else last, names, as_json=as_json)
        while follow:
            time.sleep(POLL_SECONDS)
            _print(merged([reader.next_lines() for reader in readers]), names, as_json=as_json)


def _chosen(name: str | None, directory: Path) -> list[str]:
    """The logs to print.

    Raises: CommandFailed when there is none, or none of this name.
    """
    if not directory.parent.is_dir():
        raise CommandFailed(
            f"there is no data directory {directory.parent}: run `makegood up` once, or set"
            " MAKEGOOD_DATA_DIR to the directory that you use"
        )
    names = log_names(directory)
    if not names:
        raise CommandFailed(
            f"{directory} has no logs yet: `makegood up` writes them. `makegood api` and"
            " `makegood worker`, started alone, log to their own output"
        )
    if name is None:
        return names
    if name not in names:
        raise CommandFailed(
            f"there is no log named {printable(name)!r}: choose one of {', '.join(names)}",
            ExitCode.NOT_FOUND,
        )
    return [name]


def _print(lines: Sequence[LogLine], names: Sequence[str], *, as_json: bool) -> None:
    width = max(map(len, names))
    for line in lines:
        if as_json:
            typer.echo(printable_json(json.dumps(asdict(line), ensure_ascii=False)))
        elif len(names) == 1:
            typer.echo(printable(f"{line.at} {line.text}"))
        else:
            typer.echo(printable(f"{line.name:<{width}} | {line.at} {line.text}"))
    sys.stdout.flush()
