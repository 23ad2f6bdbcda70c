"""`makegood trigger`: posts a signed sample Stripe event to an app's webhook endpoint.

It connects to the app only, not to Stripe or Makegood.
"""

import time
from typing import Annotated

import typer

from cli.commands.stripe_events import (
    body_of,
    event_types,
    stripe_event,
    stripe_id,
    stripe_signature,
)
from cli.options import JsonFlag
from cli.output import CommandFailed, ExitCode, print_record
from domain.values.text import is_storable

TIMEOUT_SECONDS = 15
HEADERS = {
    "Accept": "*/*; q=0.5, application/xml",
    "Content-Type": "application/json; charset=utf-8",
    "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
}


def register(app: typer.Typer) -> None:
    """Put the command under the application."""
    app.command("trigger")(trigger)


def trigger(
    event_type: Annotated[
        str, typer.Argument(metavar="EVENT_TYPE", help=f"One of: {', '.join(event_types())}.")
    ],
    to: Annotated[str, typer.Option("--to", help="The app's webhook endpoint.")],
    secret: Annotated[
        str,
        typer.Option(
            "--secret",
            envvar="STRIPE_WEBHOOK_SECRET",
            show_envvar=True,
            help="The endpoint's signing secret, whsec_…",
        ),
    ],
    reference: Annotated[
        str | None,
        typer.Option(help="The app's own id, such as an order. Default: a new order number."),
    ] = None,
    event_id: Annotated[
        str | None, typer.Option(help="The event's id, to resend an event. Default: a new one.")
    ] = None,
    as_json: JsonFlag = False,
) -> None:
    """Post a signed sample Stripe event. Exits 0 when the endpoint answered 2xx."""
    if event_type not in event_types():
        raise CommandFailed(
            f"there is no sample of {event_type!r}: choose one of {', '.join(event_types())}",
            ExitCode.USAGE,
        )
    if not all(is_storable(text) for text in (secret, reference or "", event_id or "")):
        raise CommandFailed("--secret, --reference and --event-id must be UTF-8", ExitCode.USAGE)
    at = int(time.time())
    reference = reference or f"order-{at % 1_000_000}"
    event = stripe_event(
        event_type, reference=reference, at=at, event_id=event_id or stripe_id("evt")
    )
    status = post_event(to, secret=secret, body=body_of(event), at=at)
    print_record(
        {
            "event_id": event["id"],
            "event_type": event_type,
            "reference": reference,
            "to": to,
            "status": status,
        },
        as_json=as_json,
    )
    if not 200 <= status < 300:
        raise CommandFailed(
            f"the endpoint answered {status}: check its log; 400 usually means that --secret does"
            " not match"
        )


def post_event(url: str, *, secret: str, body: bytes, at: int) -> int:
    """Post the signed event; returns the HTTP status.

    Raises: CommandFailed when no response came.
    """
    import httpx

    headers = {**HEADERS, "Stripe-Signature": stripe_signature(secret, body=body, at=at)}
    try:
        # The app usually runs on this machine, which a proxy cannot reach.
        with httpx.Client(trust_env=False, timeout=TIMEOUT_SECONDS) as client:
            return client.post(url, content=body, headers=headers).status_code
    except (httpx.HTTPError, httpx.InvalidURL, UnicodeError) as error:
        raise CommandFailed(
            f"no answer from {url} ({type(error).__name__}): is the app running there?"
        ) from None
