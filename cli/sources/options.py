"""The options of `makegood source`, and the fields of the REST API that they mean."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli.options import one_of
from domain.sources.source import WEBHOOK_KINDS, ShopifyIdentity

SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE_ID", help="The source's id, from `makegood source list`.")
]
Expect = Annotated[
    list[str] | None,
    typer.Option(
        "--expect",
        metavar="TEXT",
        help="'EVENT_TYPE EFFECT_TYPE [MINUTES [JSON_POINTER]]'; can be repeated. Types are those"
        " that the project accepts in receipts. Minutes for the app's receipt: 15 by default.",
    ),
]
VARIABLE = "MAKEGOOD_SOURCE_SECRET"
Secret = Annotated[
    str | None,
    typer.Option(
        "--secret",
        envvar=VARIABLE,
        show_envvar=True,
        help="The signing secret of a webhook, or the key of a listing. Prefer the variable:"
        " options stay in the shell's history.",
    ),
]
# No option and no variable alone replaces a secret: the variable may be of another source.
ReplaceSecret = Annotated[
    bool,
    typer.Option(
        "--replace-secret",
        help=f"Replace the signing secret or the key by {VARIABLE}, or without it by the first"
        " line of standard input.",
    ),
]
EveryMinutes = Annotated[
    int | None, typer.Option(metavar="INT", help="Of a listing: minutes between two. Default: 5.")
]
SilentAfterMinutes = Annotated[
    int | None,
    typer.Option(
        metavar="INT",
        help="Minutes without any event until an alert goes out. Of a listing at least twice the"
        " minutes between two.",
    ),
]
Identity = Annotated[
    ShopifyIdentity | None,
    typer.Option(
        metavar="IDENTITY",
        help=f"Of Shopify: what receipts name as provider_event_id. {one_of(ShopifyIdentity)}",
    ),
]


def given_fields(
    kind: str,
    secret: str | None,
    every_minutes: int | None,
    silent_after_minutes: int | None,
    identity: ShopifyIdentity | None,
) -> dict[str, Any]:
    """The fields of REST that the options name."""
    fields: Mapping[str, Any] = {
        "signing_secret" if kind in WEBHOOK_KINDS else "api_key": secret,
        "every_minutes": every_minutes,
        "silent_after_minutes": silent_after_minutes,
        "identity": identity and identity.value,
    }
    return {name: value for name, value in fields.items() if value is not None}
