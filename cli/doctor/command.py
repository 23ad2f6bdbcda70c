"""The command `makegood doctor`. `cli.doctor.run` runs the checks and prints their findings.

The checks are imported when the command runs: they use most of the program.
"""

import typer

from cli.options import JsonFlag
from cli.settings import read_settings


def register(app: typer.Typer) -> None:
    """Put the command under the application."""
    app.command("doctor")(doctor)


def doctor(as_json: JsonFlag = False) -> None:
    """Check this installation: machine, store, API, worker, Temporal, mail, repair URLs; one fix
    for each problem.
    """
    from cli.doctor.run import run_doctor

    raise typer.Exit(run_doctor(read_settings(), as_json=as_json))
