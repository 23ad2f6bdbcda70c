"""The command `makegood demo`. `cli.demo.run` runs its stories.

The stories are imported when the command runs: they use most of the program.
"""

from typing import Annotated

import typer

from cli.options import JsonFlag
from cli.settings import read_settings


def register(app: typer.Typer) -> None:
    """Put the command under the application."""
    app.command("demo")(demo)


def demo(
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Start a temporary instance, even if one is running here."),
    ] = False,
    as_json: JsonFlag = False,
) -> None:
    """Demonstrate payment, incident, e-mail, repair and recovery with a demo merchant, in under a
    minute.
    """
    from cli.demo.run import run_demo

    run_demo(read_settings(), is_fresh=fresh, as_json=as_json)
