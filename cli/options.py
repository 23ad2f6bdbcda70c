"""Options and arguments that several commands share."""

import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from cli.output import CommandFailed, ExitCode
from domain.receipts import EffectType, EventType, Provider
from domain.search.sorting import EventSort


def one_of(values: Iterable[str]) -> str:
    """The values of an option, for its help text.

    A help text wraps at spaces. The list of values that Typer makes breaks within a value.
    """
    return f"One of: {', '.join(values)}."


# Names of a project's own are allowed too. The API and the operations refuse unknown ones.
SentType = Annotated[
    str,
    typer.Option(
        metavar="TYPE",
        help=f"What happened at the provider. {one_of(EventType)} Or one of the project's own.",
    ),
]
SentEffect = Annotated[
    str,
    typer.Option(
        metavar="EFFECT",
        help=f"The effect that the app must apply. {one_of(EffectType)} Or one of the project's"
        " own.",
    ),
]
SentProvider = Annotated[
    str,
    typer.Option(
        metavar="PROVIDER",
        help=f"Who sent the event. {one_of(Provider)} Or one of the project's own.",
    ),
]
SentAmount = Annotated[
    int | None, typer.Option(help="What is at risk, in the currency's minor unit.")
]
SentCurrency = Annotated[
    str | None, typer.Option(help="With --amount: the ISO 4217 code, such as EUR.")
]
SentCustomer = Annotated[
    str | None, typer.Option("--customer", help="The app's own id of the customer who paid.")
]
SentPayload = Annotated[
    Path | None, typer.Option(help="A file with a JSON object to store with the receipt.")
]
ProviderFilter = Annotated[
    str | None,
    typer.Option(metavar="PROVIDER", help=f"Only from this provider. {one_of(Provider)}"),
]
TypeFilter = Annotated[
    str | None, typer.Option(metavar="TYPE", help=f"Only of this type. {one_of(EventType)}")
]
EffectFilter = Annotated[
    str | None, typer.Option(metavar="EFFECT", help=f"Only with this effect. {one_of(EffectType)}")
]
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
SearchOption = Annotated[
    str | None,
    typer.Option(
        "--search",
        metavar="TEXT",
        help="Tokens and words, such as 'is:open error:card_declined age:>1h order-17'.",
    ),
]
EventSortOption = Annotated[
    EventSort | None,
    typer.Option(metavar="ORDER", help=f"The order; - is descending. {one_of(EventSort)}"),
]
LimitOption = Annotated[
    int, typer.Option(metavar="INT", min=1, max=100, help="Maximum number of rows.")
]
CursorOption = Annotated[str | None, typer.Option(help="The next_cursor of the previous page.")]
KeyOption = Annotated[
    str,
    typer.Option(
        "--key",
        envvar=["MAKEGOOD_API_KEY", "MAKEGOOD_KEY"],
        show_envvar=True,
        help="An API key. Prefer the variable: options stay in the shell's history.",
    ),
]
UrlOption = Annotated[
    str | None, typer.Option("--url", help="The API's address. Default: MAKEGOOD_PUBLIC_URL.")
]


def read_replacement(what: str, variable: str) -> str:
    """What replaces a stored secret, by `--replace-{what}`: from the variable, or from standard
    input. A terminal does not show it.

    Raises: CommandFailed: none is given.
    """
    given = os.environ.get(variable, "")
    if not given and sys.stdin.isatty():
        given = str(typer.prompt(f"The new {what}", hide_input=True, default="", err=True))
    elif not given:
        given = sys.stdin.readline()
    if not given.strip():
        message = f"--replace-{what} needs the new {what} in {variable} or on standard input."
        raise CommandFailed(message, ExitCode.USAGE)
    return given.strip()
