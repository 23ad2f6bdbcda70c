"""`makegood receipt evidence`: writes the signed file of one event's whole life."""

import os
from pathlib import Path
from typing import Annotated

import typer

from cli.commands.receipts import EventArgument
from cli.local_operations import cli_actor, operate
from cli.options import JsonFlag
from cli.output import CommandFailed, ExitCode, print_record

OutputOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="The file to write. Default: print it."),
]
ForceFlag = Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")]


def register(receipts: typer.Typer) -> None:
    """Put the command into the group of receipts."""
    receipts.command("evidence")(evidence)


def evidence(
    event_id: EventArgument,
    output: OutputOption = None,
    force: ForceFlag = False,
    as_json: JsonFlag = False,
) -> None:
    """Write everything that is stored about one receipt as one signed JSON file.

    `makegood evidence verify` checks it anywhere.
    """
    if output is not None and output.exists() and not force:
        raise CommandFailed(
            f"{output} exists: choose another file, or replace it with --force", ExitCode.USAGE
        )
    found, file = operate(
        lambda operations: operations.evidence.make_evidence(None, event_id, actor=cli_actor())
    )
    if output is None:
        typer.echo(file, nl=False)
        return
    _write(output, file)
    print_record({"file": str(output), "event_id": found, "bytes": len(file)}, as_json=as_json)


def _write(path: Path, file: bytes) -> None:
    """Write the whole file, which only its owner may read. Raises: CommandFailed."""
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as opened:
            opened.write(file)
        unfinished.replace(path)
    except OSError as error:
        raise CommandFailed(f"{path} cannot be written ({error.strerror})") from None
    finally:
        unfinished.unlink(missing_ok=True)
