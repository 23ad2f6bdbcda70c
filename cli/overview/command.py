"""`makegood overview`: prints what happened to a project's receipts, directly from the store."""

from collections.abc import Mapping
from typing import Any

import typer

from cli.local_operations import find_project, operate
from cli.options import JsonFlag, ProjectArgument
from cli.output import print_record, print_rows

COUNTED = ("accepted", "applied", "late", "repaired", "closed", "opened")


def register(app: typer.Typer) -> None:
    """Put the command under the application."""
    app.command("overview")(overview)


def overview(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """Print a project's numbers of today and 30 days, what is open, and the deadline that fits."""
    from operations.composition import Operations
    from operations.responses.overview import Overview

    async def read(operations: Operations) -> Overview:
        found = await find_project(operations, project)
        return Overview.of(await operations.overview.read_project_overview(found.id))

    # Any: JSON values.
    answer: dict[str, Any] = operate(read).to_json()
    if as_json:
        return print_record(answer, as_json=True)
    lists = ("days", "kinds", "amounts", "effects", "silences")
    print_record(
        {name: value for name, value in answer.items() if name not in lists}, as_json=False
    )
    _print_table("Days (UTC)", answer["days"][::-1], ("day", *COUNTED))
    _print_table("Effects and providers", answer["kinds"], ("effect_type", "provider", *COUNTED))
    _print_table("Amounts, in the minor unit", answer["amounts"], ("currency", "open", *COUNTED))
    times = ("samples", "p50_seconds", "p99_seconds", "proposed_minutes")
    _print_table("Receipt to success", answer["effects"], ("effect_type", *times))
    of_silence = ("event_type", "minutes", "is_learned", "silent_since")
    _print_table("Silence", answer["silences"], of_silence)


def _print_table(title: str, rows: list[Mapping[str, object]], columns: tuple[str, ...]) -> None:
    if rows:
        typer.echo(f"\n{title}")
        print_rows({}, rows, columns, as_json=False)
