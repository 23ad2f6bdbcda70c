"""The options of `makegood source`, and the fields of the REST API that they mean."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from cli.options import one_of
from domain.sources.source import ShopifyIdentity, SourceKind

_WEBHOOKS = frozenset(kind.value for kind in SourceKind if kind.is_webhook)
_EXPECTED_FIELDS = ("event_type", "effect_type", "within_minutes", "reference")

SourceArgument = Annotated[
    str, typer.Argument(metavar="SOURCE_ID", help="The source's id, from `makegood source list`.")
]
Expect = Annotated[
    list[str] | None,
    typer.Option(
        "--expect",
        metavar="TEXT",
        help="'EVENT_TYPE EFFECT_TYPE [MINUTES [JSON_POINTER]]'; can be repeated. Minutes for the"
        " app's receipt: 15 by default.",
    ),
]
Secret = Annotated[
    str | None,
    typer.Option(
        "--secret",
        envvar="MAKEGOOD_SOURCE_SECRET",
        show_envvar=True,
        help="The signing secret of a webhook, or the key of a listing. Prefer the variable:"
        " options stay in the shell's history.",
    ),
]
EveryMinutes = Annotated[
    int | None, typer.Option(metavar="INT", help="Of a listing: minutes between two. Default: 5.")
]
SilentAfterMinutes = Annotated[
    int | None,
    typer.Option(metavar="INT", help="Minutes without any event until an alert goes out."),
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
        "signing_secret" if kind in _WEBHOOKS else "api_key": secret,
        "every_minutes": every_minutes,
        "silent_after_minutes": silent_after_minutes,
        "identity": identity and identity.value,
    }
    return {name: value for name, value in fields.items() if value is not None}


def read_expectations(texts: Sequence[str]) -> list[dict[str, Any]]:
    """The expectations as REST has them. Validation names what is wrong with one."""
    return [
        {
            name: _number(value) if name == "within_minutes" else value
            for name, value in zip(_EXPECTED_FIELDS, text.split(maxsplit=3), strict=False)
        }
        for text in texts
    ]


def _number(text: str) -> float | str:
    """The number; other text stays as it is, for the validation to refuse."""
    try:
        return float(text)
    except ValueError:
        return text
