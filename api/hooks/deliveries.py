"""Reads one delivery of a provider: whose signature it has, and what its source expects of it.

Nothing of the body is looked at before its signature was checked. Pure.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from domain.receipts import Provider
from domain.sources.events import ProviderEvent, Sighting, sightings_of
from domain.sources.fields import identifier
from domain.sources.json_body import read_json
from domain.sources.shopify import (
    TOPIC_HEADER,
    is_of_shop,
    is_test_delivery,
    parse_shopify_order,
)
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
class ReadDelivery:
    """What a genuine delivery tells a source.

    `is_received`: its source received an event of its shop and mode, expected or not.
    """

    sightings: tuple[Sighting, ...]
    is_received: bool


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


def read_delivery(source: Source, delivery: Delivery) -> ReadDelivery:
    """What a genuine delivery tells its source.

    Of a type that no `Expects` names, nothing more is read: it may be an object of any form.

    Raises: NotAnEvent.
    """
    if source.kind.provider is Provider.SHOPIFY:
        return _read_shopify(source, delivery)
    json = read_json(delivery.body)
    if isinstance(json, dict) and _is_unexpected(source, json.get("type")):
        livemode = json.get("livemode")
        is_received = livemode in _modes(source) if isinstance(livemode, bool) else True
        return ReadDelivery((), is_received)
    return _received(source, parse_stripe_event(json, source))


def _read_shopify(source: Source, delivery: Delivery) -> ReadDelivery:
    if not is_of_shop(delivery.headers, source):
        return ReadDelivery((), is_received=False)
    topic = delivery.headers.get(TOPIC_HEADER, "")
    if _is_unexpected(source, topic):
        is_received = not is_test_delivery(delivery.headers) or False in _modes(source)
        return ReadDelivery((), is_received)
    json = read_json(delivery.body)
    return _received(source, parse_shopify_order(json, topic, delivery.headers, source))


def _received(source: Source, event: ProviderEvent) -> ReadDelivery:
    is_received = event.livemode in _modes(source)
    return ReadDelivery(tuple(sightings_of(source, [event])), is_received)


def _is_unexpected(source: Source, event_type: object) -> bool:
    """Whether it is a type, and one that nobody expects."""
    named = identifier(event_type)
    return named is not None and all(named != expects.event_type for expects in source.expects)


def _modes(source: Source) -> set[bool]:
    return {expects.livemode for expects in source.expects}
