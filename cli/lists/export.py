"""`makegood incident export`: writes every incident that a search finds as CSV or JSON lines."""

import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from cli.lists.options import (
    OldestFlag,
    SortOption,
    StateOption,
    chosen_filters,
    chosen_order,
)
from cli.local_operations import find_project_id, operate
from cli.options import ProjectOption, SearchOption
from cli.output import CommandFailed, ExitCode

if TYPE_CHECKING:
    from operations.composition import Operations

FORMATS = ("csv", "jsonl")


def register(incidents: typer.Typer) -> None:
    """Put the command into the group of incidents."""
    incidents.command("export")(export)


def export(
    export_format: Annotated[
        str, typer.Option("--format", metavar="FORMAT", help="One of: csv, jsonl.")
    ] = "csv",
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Default: print it."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE if it exists.")] = False,
    project: ProjectOption = None,
    state: StateOption = None,
    search: SearchOption = None,
    sort: SortOption = None,
    oldest: OldestFlag = False,
) -> None:
    """Export the whole filtered list of incidents.

    A cell of CSV that a spreadsheet would run as a formula begins with an apostrophe.
    """
    from operations.listing.export import ExportFormat

    if export_format not in FORMATS:
        raise CommandFailed(
            f"--format must be one of {', '.join(FORMATS)}: use one of them", ExitCode.USAGE
        )
    if output is not None and output.exists() and not force:
        raise CommandFailed(
            f"{output} exists: choose another file, or replace it with --force", ExitCode.USAGE
        )
    order = chosen_order(sort, oldest=oldest)

    async def act(operations: "Operations") -> None:
        filters = chosen_filters(await find_project_id(operations, project), state, search)
        parts = await operations.exports.export_incidents(
            filters, ExportFormat(export_format), sort=order
        )
        with ExitStack() as stack:
            # After the filters were accepted, so that a refused search leaves the file as it was.
            file = sys.stdout.buffer if output is None else stack.enter_context(output.open("wb"))
            async for part in parts:
                file.write(part)
            file.flush()

    operate(act)
