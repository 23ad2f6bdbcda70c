"""Options and arguments that several commands share."""

from collections.abc import Iterable
from typing import Annotated

import typer


def one_of(values: Iterable[str]) -> str:
    """The values of an option, for its help text.

    A help text wraps at spaces. The list of values that Typer makes breaks within a value.
    """
    return f"One of: {', '.join(values)}."


JsonFlag = Annotated[
    bool, typer.Option("--json", help="Print JSON, in the shapes of the REST API.")
]
ProjectOption = Annotated[
    str | None,
    typer.Option("--project", "-p", help="A project, by id or name. Default: all projects."),
]
ProjectArgument = Annotated[
    str, typer.Argument(metavar="PROJECT", help="A project, by id or name.")
]
LimitOption = Annotated[
    int, typer.Option(metavar="INT", min=1, max=100, help="Maximum number of rows.")
]
CursorOption = Annotated[str | None, typer.Option(help="The next_cursor of the previous page.")]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key",
        envvar="MAKEGOOD_KEY",
        show_envvar=True,
        help="An API key. Prefer the variable: options stay in the shell's history.",
    ),
]
UrlOption = Annotated[
    str | None, typer.Option("--url", help="The API's address. Default: MAKEGOOD_PUBLIC_URL.")
]
