"""The options that several commands share, so that they read and behave the same everywhere."""

from typing import Annotated

import typer

JsonFlag = Annotated[bool, typer.Option("--json", help="Print JSON, in the shapes of the REST API.")]
ProjectOption = Annotated[str | None, typer.Option("--project", "-p", help="A project, by id or name. All projects if absent.")]
ProjectArgument = Annotated[str, typer.Argument(metavar="PROJECT", help="A project, by id or name.")]
LimitOption = Annotated[int, typer.Option(min=1, max=100, help="How many at most.")]
CursorOption = Annotated[str | None, typer.Option(help="Go on after an earlier answer: its next_cursor.")]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key", envvar="MAKEGOOD_KEY", show_envvar=True, help="An API key. Better in the variable than in the shell's history."
    ),
]
UrlOption = Annotated[str | None, typer.Option("--url", help="Where the API is, if not at MAKEGOOD_PUBLIC_URL.")]
