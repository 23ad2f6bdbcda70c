"""`makegood project rules`: shows, sets and arms rules of automatic repair, on the store."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from cli.local_operations import cli_actor, find_project, operate
from cli.options import JsonFlag, ProjectArgument
from cli.output import CommandFailed, ExitCode, print_record, print_rows

if TYPE_CHECKING:
    from operations.composition import Operations

app = typer.Typer(help="Rules of automatic repair.", no_args_is_help=True)
COLUMNS = (
    *("name", "effect_type", "event_type", "reason", "error_code", "delay_seconds"),
    *("max_repairs_per_incident", "max_per_hour", "disarm_after_failures"),
    *("failures", "disarmed_at"),
)
# More than a list of 50 rules needs.
LARGEST_FILE_BYTES = 256 * 1024


@app.command("show")
def show(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """Print the rules of a project. The JSON can be edited and set again."""
    _print(_read(project), as_json=as_json)


@app.command("set")
def set_rules(
    project: ProjectArgument,
    file: Annotated[
        Path,
        typer.Argument(metavar="FILE", help="JSON, as the REST API takes it: the rules in order."),
    ],
    as_json: JsonFlag = False,
) -> None:
    """Replace the rules of a project by those of a file."""
    content = _read_file(file)

    async def act(operations: "Operations") -> Any:
        found = await find_project(operations, project)
        return await operations.repair_rules.replace_rules(found.id, content, actor=cli_actor())

    _print(operate(act), as_json=as_json)


@app.command("arm")
def arm(
    project: ProjectArgument,
    name: Annotated[str, typer.Argument(metavar="NAME", help="The name of the rule.")],
    as_json: JsonFlag = False,
) -> None:
    """Arm a rule again that disarmed itself after failures."""
    from operations.responses.repairing import RepairRule

    async def act(operations: "Operations") -> Any:
        found = await find_project(operations, project)
        return await operations.repair_rules.arm_rule(found.id, name, actor=cli_actor())

    print_record(RepairRule.of(operate(act)).to_json(), as_json=as_json)


# Any: rules, whose type is slow to import.
def _read(project: str) -> Any:
    async def act(operations: "Operations") -> Any:
        found = await find_project(operations, project)
        return await operations.repair_rules.read_rules(found.id)

    return operate(act)


def _print(rules: Any, *, as_json: bool) -> None:
    from operations.responses.repairing import RepairRules

    answer = RepairRules.of(rules).to_json()
    print_rows(answer, answer["rules"], COLUMNS, as_json=as_json)


def _read_file(file: Path) -> dict[str, Any]:
    """The JSON object in the file, as the REST API takes it.

    Raises: CommandFailed: it cannot be read, or is none.
    """
    try:
        if file.stat().st_size > LARGEST_FILE_BYTES:
            raise CommandFailed(f"{file} is larger than 256 KiB", ExitCode.USAGE)
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        message = f"{file} cannot be read as JSON ({type(error).__name__})"
        raise CommandFailed(message, ExitCode.USAGE) from None
    if not isinstance(content, dict):
        message = f'{file} must have a JSON object: {{"rules": [...]}}'
        raise CommandFailed(message, ExitCode.USAGE)
    return content
