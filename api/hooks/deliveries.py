"""Reads one delivery of a provider: whose signature it has, and what its source expects of it.

Nothing of the body is looked at before its signature was checked. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from domain.receipts import Provider
from domain.sources.events import ProviderEvent, Sighting, sightings_of
from domain.sources.json_body import read_json
from domain.sources.shopify import TOPIC_HEADER, is_of_shop, parse_shopify_order
from domain.sources.signatures import (
    SHOPIFY_SIGNATURE_HEADER,
    STRIPE_SIGNATURE_HEADER,
    SignatureCheck,
    verify_shopify,
    verify_stripe,
)
from domain.sources.source import Source
from domain.sources.stripe import parse_stripe_event

_HEADER_OF = {
    Provider.STRIPE: "Stripe-Signature header",
    Provider.SHOPIFY: "X-Shopify-Hmac-Sha256 header",
}


@dataclass(frozen=True, slots=True)
class Delivery:
    """A POST of a provider, as it was received. `headers` are by lower-case name."""

    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True, slots=True)
class Told:
    """What a genuine delivery tells a source.

    `is_heard`: its source heard of an event of its shop and mode, expected or not.
    """

    sightings: tuple[Sighting, ...]
    is_heard: bool


def headers_by_name(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The headers as ASGI passes them. Repeated ones are joined with a comma (RFC 9110, 5.3)."""
    headers: dict[str, str] = {}
    for name_bytes, value_bytes in raw:
        name, value = name_bytes.decode("latin-1"), value_bytes.decode("latin-1")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return headers


def check_signature(
    source: Source, secret: str, delivery: Delivery, now: datetime
) -> SignatureCheck:
    """Whether the provider signed the body with the source's secret."""
    headers, body = delivery.headers, delivery.body
    if source.kind.provider is Provider.STRIPE:
        return verify_stripe(headers.get(STRIPE_SIGNATURE_HEADER), body, [secret], now)
    return verify_shopify(headers.get(SHOPIFY_SIGNATURE_HEADER), body, secret)


def advice_on(check: SignatureCheck, source: Source) -> str:
    """What is wrong with a signature, and what to look at. Quotes nothing that was sent."""
    match check:
        case SignatureCheck.MISSING:
            header = _HEADER_OF[source.kind.provider]
            return f"The delivery has no {header} in the provider's form."
        case SignatureCheck.STALE:
            return (
                "The signature fits, but it is older than five minutes by the clock of this "
                "server. Check the clock."
            )
        case _:
            return (
                "No signature fits the signing secret of the source. Check that it is the secret "
                "of this endpoint, and that no proxy changes the body."
            )


def read_delivery(source: Source, delivery: Delivery) -> Told:
    """What a genuine delivery tells its source.

    Raises: NotAnEvent.
    """
    if source.kind.provider is Provider.SHOPIFY and not is_of_shop(delivery.headers, source):
        return Told((), is_heard=False)
    event = _event(source, delivery)
    is_heard = event.livemode in {expects.livemode for expects in source.expects}
    return Told(tuple(sightings_of(source, [event])), is_heard)


def _event(source: Source, delivery: Delivery) -> ProviderEvent:
    json = read_json(delivery.body)
    if source.kind.provider is Provider.STRIPE:
        return parse_stripe_event(json, source)
    topic = delivery.headers.get(TOPIC_HEADER, "")
    return parse_shopify_order(json, topic, delivery.headers, source)
