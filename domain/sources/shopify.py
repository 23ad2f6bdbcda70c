"""Reads orders, customers and checkouts of Shopify as events of a topic. Pure.

Hooks and listings use it alike. A listing has the order alone, without the headers of a delivery.
"""

from collections.abc import Mapping
from datetime import datetime

from domain.sources.events import NotAnEvent, ProviderEvent
from domain.sources.fields import decimal_amount, identifier, iso_instant, references_of
from domain.sources.source import ShopifyIdentity, Source

TOPIC_HEADER = "x-shopify-topic"
SHOP_HEADER = "x-shopify-shop-domain"
_TEST_HEADER = "x-shopify-test"
_TRIGGERED_HEADER = "x-shopify-triggered-at"
_IDENTITY_HEADERS = {
    ShopifyIdentity.EVENT_ID: "x-shopify-event-id",
    ShopifyIdentity.WEBHOOK_ID: "x-shopify-webhook-id",
}
_CREATED = "orders/create"
_PAID = "orders/paid"
_FULFILLED = "orders/fulfilled"
# What a listing of orders can tell.
LISTED_TOPICS = frozenset({_CREATED, _PAID, _FULFILLED})
# An order that was paid keeps having been paid when money goes back.
_PAID_STATUSES = ("paid", "partially_refunded", "refunded")


def order_topics(order: object) -> tuple[str, ...]:
    """The topics that have happened to an order of a listing."""
    if not isinstance(order, dict):
        return ()
    happened = {
        _PAID: order.get("financial_status") in _PAID_STATUSES,
        _FULFILLED: order.get("fulfillment_status") == "fulfilled",
    }
    return (_CREATED, *(topic for topic, has_happened in happened.items() if has_happened))


def is_of_shop(headers: Mapping[str, str], source: Source) -> bool:
    """Whether the delivery is about the source's shop: one app secret signs for many shops."""
    return headers.get(SHOP_HEADER, "").lower() == (source.shop_domain or "").lower()


def is_test_delivery(headers: Mapping[str, str]) -> bool:
    """Whether a delivery says that it is one of test mode."""
    return headers.get(_TEST_HEADER, "").lower() == "true"


def parse_shopify_order(
    json: object, topic: str, headers: Mapping[str, str], source: Source
) -> ProviderEvent:
    """The event that is this object and topic.

    `headers` have lower-case names; a listing passes none.

    Raises: NotAnEvent: it lacks its identity, its topic or an instant, or one is ill-formed.
    """
    if not isinstance(json, dict):
        raise NotAnEvent("An order must be a JSON object.")
    event_id, event_type = _event_id(json, headers, source), identifier(topic)
    occurred_at = _occurred_at(json, topic, headers)
    if event_id is None or event_type is None:
        raise NotAnEvent(f"An event must have a topic, and the {source.identity} of its source.")
    if occurred_at is None:
        raise NotAnEvent("An event must have an instant: created_at, or X-Shopify-Triggered-At.")
    amount = decimal_amount(json.get("total_price"), json.get("currency"))
    return ProviderEvent(
        id=event_id,
        type=event_type,
        livemode=_is_live(json, headers, source),
        occurred_at=occurred_at,
        references=references_of(json, source, ("/id",)),
        amount=None if amount is None else amount.minor,
        currency=None if amount is None else amount.currency,
    )


def _event_id(json: object, headers: Mapping[str, str], source: Source) -> str | None:
    header = _IDENTITY_HEADERS.get(source.identity)
    return identifier(
        json.get("id") if header is None and isinstance(json, dict) else headers.get(header or "")
    )


def _occurred_at(
    json: Mapping[str, object], topic: str, headers: Mapping[str, str]
) -> datetime | None:
    """When the topic happened, never later: what is older than its source makes nothing.

    An order does not say when it was paid; `processed_at` is the moment of its checkout.
    """
    names = ("processed_at", "created_at") if topic == _PAID else ("created_at", "updated_at")
    given = [headers.get(_TRIGGERED_HEADER)]
    if topic == _FULFILLED:
        given.append(_last_fulfilled_at(json))
    instants = (iso_instant(value) for value in (*given, *(json.get(name) for name in names)))
    return next((at for at in instants if at is not None), None)


def _last_fulfilled_at(json: Mapping[str, object]) -> str | None:
    fulfillments = json.get("fulfillments")
    if not isinstance(fulfillments, list):
        return None
    texts = (f.get("created_at") for f in fulfillments if isinstance(f, dict))
    instants = {at: text for text in texts if (at := iso_instant(text)) is not None}
    return instants[max(instants)] if instants else None


def _is_live(json: Mapping[str, object], headers: Mapping[str, str], source: Source) -> bool:
    """Whether it is real: no test order, and no notification sent by hand from Shopify's settings.

    Customers and checkouts do not say: they are of the source's mode.
    """
    if is_test_delivery(headers):
        return False
    test = json.get("test")
    if isinstance(test, bool):
        return not test
    return any(expects.livemode for expects in source.expects)
