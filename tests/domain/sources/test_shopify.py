from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sources.events import NotAnEvent, ProviderEvent, sightings_of
from domain.sources.shopify import is_of_shop, order_topics, parse_shopify_order
from domain.sources.source import ShopifyIdentity, SourceKind
from tests.domain.sources.examples import expects, make_source
from tests.domain.sources.test_fields import HUGE, json_values

SHOP = "example.myshopify.com"
HEADERS = {
    "x-shopify-topic": "orders/paid",
    "x-shopify-shop-domain": SHOP,
    "x-shopify-event-id": "98880550-7158-44d4-b7cd-2c97c8a091b5",
    "x-shopify-webhook-id": "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043",
    "x-shopify-triggered-at": "2026-05-28T20:26:40.123456789Z",
}
ORDER: dict[str, Any] = {
    "id": 820982911946154508,
    "created_at": "2026-05-01T10:00:00-05:00",
    "processed_at": "2026-05-02T10:00:00-05:00",
    "updated_at": "2026-06-30T10:00:00-05:00",
    "currency": "USD",
    "financial_status": "paid",
    "fulfillment_status": None,
    "test": False,
    "total_price": "409.94",
    "name": "#9999",
}


def shopify_source(*expected: Any, **changes: Any) -> Any:
    facts = {"kind": SourceKind.SHOPIFY_WEBHOOK, "shop_domain": SHOP}
    return make_source(*expected, **(facts | changes))


def test_an_order_is_an_event() -> None:
    event = parse_shopify_order(ORDER, "orders/paid", HEADERS, shopify_source())

    assert event == ProviderEvent(
        id="820982911946154508",
        type="orders/paid",
        livemode=True,
        occurred_at=datetime(2026, 5, 28, 20, 26, 40, 123_456, tzinfo=UTC),
        references={None: "820982911946154508"},
        amount=40994,
        currency="USD",
    )


@pytest.mark.parametrize(
    ("identity", "expected"),
    [
        (ShopifyIdentity.OBJECT_ID, "820982911946154508"),
        (ShopifyIdentity.EVENT_ID, "98880550-7158-44d4-b7cd-2c97c8a091b5"),
        (ShopifyIdentity.WEBHOOK_ID, "b54557e4-bdd9-4b37-8a5f-bf7d70bcd043"),
    ],
)
def test_the_identity_is_that_of_the_source(identity: ShopifyIdentity, expected: str) -> None:
    source = shopify_source(identity=identity)

    assert parse_shopify_order(ORDER, "orders/paid", HEADERS, source).id == expected
    if identity is not ShopifyIdentity.OBJECT_ID:
        with pytest.raises(NotAnEvent):
            parse_shopify_order(ORDER, "orders/paid", {}, source)


@pytest.mark.parametrize(
    ("topic", "changes", "expected"),
    [
        ("orders/paid", {}, (2026, 5, 2)),
        ("orders/paid", {"processed_at": None}, (2026, 5, 1)),
        ("orders/create", {}, (2026, 5, 1)),
        ("orders/fulfilled", {}, (2026, 5, 1)),
        (
            "orders/fulfilled",
            {
                "fulfillments": [
                    {"created_at": "2026-05-04T10:00:00-05:00"},
                    {"created_at": "2026-05-05T10:00:00-05:00"},
                    {"created_at": "never"},
                    "no fulfillment",
                ]
            },
            (2026, 5, 5),
        ),
        ("customers/create", {"created_at": None}, (2026, 6, 30)),
    ],
)
def test_a_listed_order_has_the_instant_of_its_topic(
    topic: str, changes: dict[str, Any], expected: tuple[int, int, int]
) -> None:
    event = parse_shopify_order(ORDER | changes, topic, {}, shopify_source())

    assert event.occurred_at == datetime(*expected, 15, tzinfo=UTC)


@pytest.mark.parametrize(
    ("order", "headers", "is_live"),
    [
        ({"test": False}, {}, True),
        ({"test": True}, {}, False),
        ({"test": None}, {}, True),
        ({"test": False}, {"x-shopify-test": "true"}, False),
        ({"test": False}, {"x-shopify-test": "false"}, True),
    ],
)
def test_test_orders_and_sample_notifications_are_not_live(
    order: dict[str, Any], headers: dict[str, str], is_live: bool
) -> None:
    source = shopify_source(expects("orders/paid"))

    event = parse_shopify_order(ORDER | order, "orders/paid", HEADERS | headers, source)

    assert event.livemode is is_live
    assert len(sightings_of(source, [event])) == int(is_live)


def test_a_customer_is_of_the_mode_of_its_source() -> None:
    customer = {"id": 7, "created_at": "2026-05-01T10:00:00Z"}
    source = shopify_source(expects("customers/create", livemode=False))

    event = parse_shopify_order(customer, "customers/create", {}, source)

    assert event.livemode is False
    assert (event.id, event.amount, event.currency) == ("7", None, None)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ("orders/create", "orders/paid")),
        ({"financial_status": "pending"}, ("orders/create",)),
        ({"financial_status": "partially_paid"}, ("orders/create",)),
        ({"financial_status": "refunded"}, ("orders/create", "orders/paid")),
        (
            {"fulfillment_status": "fulfilled"},
            ("orders/create", "orders/paid", "orders/fulfilled"),
        ),
        ({"fulfillment_status": "partial"}, ("orders/create", "orders/paid")),
        ({"financial_status": ["paid"], "fulfillment_status": {}}, ("orders/create",)),
    ],
)
def test_an_order_tells_which_topics_have_happened(
    changes: dict[str, Any], expected: tuple[str, ...]
) -> None:
    assert order_topics(ORDER | changes) == expected


@pytest.mark.parametrize(
    ("domain", "expected"),
    [(SHOP, True), (SHOP.upper(), True), ("other.myshopify.com", False), ("", False)],
)
def test_a_delivery_is_of_the_shop_that_its_header_names(domain: str, expected: bool) -> None:
    assert is_of_shop({"x-shopify-shop-domain": domain}, shopify_source()) is expected
    assert is_of_shop({}, shopify_source()) is False


@pytest.mark.parametrize(
    ("changes", "topic"),
    [
        ({"id": None}, "orders/paid"),
        ({"id": HUGE}, "orders/paid"),
        ({"id": "x" * 256}, "orders/paid"),
        ({}, ""),
        ({}, "x" * 256),
        ({"created_at": 7, "processed_at": "", "updated_at": None}, "orders/paid"),
    ],
    ids=["no id", "huge id", "long id", "no topic", "long topic", "no instant"],
)
def test_what_lacks_a_fact_is_no_event(changes: dict[str, Any], topic: str) -> None:
    with pytest.raises(NotAnEvent):
        parse_shopify_order(ORDER | changes, topic, {}, shopify_source())


@given(json_values, st.text(), st.dictionaries(st.sampled_from([*HEADERS]), st.text()))
def test_any_json_is_an_event_or_is_refused(
    json: object, topic: str, headers: dict[str, str]
) -> None:
    order_topics(json)
    with pytest.raises(NotAnEvent):
        parse_shopify_order(json, topic, headers, shopify_source())


@given(st.dictionaries(st.sampled_from([*ORDER, "fulfillments"]), json_values))
def test_any_fields_of_an_order_are_read(changes: dict[str, Any]) -> None:
    order = ORDER | changes | {"id": 1, "created_at": "2026-05-01T10:00:00Z"}
    source = shopify_source(expects("orders/fulfilled", reference="/name"))

    order_topics(order)
    event = parse_shopify_order(order, "orders/fulfilled", {}, source)

    assert event.id == "1"
