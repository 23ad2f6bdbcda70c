"""`makegood project test-repair`: a signed test call to the repair URL of a project."""

from typing import TYPE_CHECKING

import typer

from cli.local_operations import cli_actor, find_project, operate
from cli.options import JsonFlag, ProjectArgument
from cli.output import ExitCode, print_record

if TYPE_CHECKING:
    from operations.composition import Operations
    from operations.repair_url.trial import TriedRepairUrl


def register(projects: typer.Typer) -> None:
    """Put the command into the group of projects."""
    projects.command("test-repair")(call_once)


def call_once(project: ProjectArgument, as_json: JsonFlag = False) -> None:
    """Call the repair URL once with a signed test, and print what the endpoint answered.

    The body has `"test": true`. Exits 1 unless the answer is 2xx.
    """
    from operations.responses.callbacks import RepairUrlTest

    async def act(operations: "Operations") -> "TriedRepairUrl":
        found = await find_project(operations, project)
        return await operations.repair_trials.test_repair_url(found.id, actor=cli_actor())

    tried = operate(act)
    print_record(RepairUrlTest.of(tried).to_json(), as_json=as_json)
    if not tried.ok:
        raise typer.Exit(ExitCode.FAILED)
