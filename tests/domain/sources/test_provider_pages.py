"""Links to a provider are made from ids and domains of the provider's own form."""

from dataclasses import replace

import pytest

from domain.receipts import EventType, Provider, Receipt
from domain.sources.provider_pages import provider_page
from tests.operations.test_responses import RECEIPT


def receipt(provider: str, event_id: str, **changes: object) -> Receipt:
    return replace(
        RECEIPT,
        provider=provider,
        provider_event_id=event_id,
        stripe_event_id=None,
        **changes,  # type: ignore[arg-type]  # the table's own values
    )


@pytest.mark.parametrize(
    ("event_id", "livemode", "url"),
    [
        ("evt_1Abc", True, "https://dashboard.stripe.com/events/evt_1Abc"),
        ("evt_1Abc", False, "https://dashboard.stripe.com/test/events/evt_1Abc"),
        ("evt_1/../../login", True, None),
        ("evt_1?x=1", True, None),
        ("order 7", True, None),
        ("evt_" + "a" * 300, True, None),
    ],
)
def test_stripe_event_opens_in_the_dashboard_of_its_mode(
    event_id: str, livemode: bool, url: str | None
) -> None:
    page = provider_page(receipt(Provider.STRIPE, event_id, livemode=livemode))

    assert (page and page.url) == url


@pytest.mark.parametrize(
    ("shop", "event_type", "event_id", "url"),
    [
        *(
            ("ada.myshopify.com", event_type, "820982911", f"https://admin.shopify.com/store/ada/{page}/820982911")
            for event_type, page in (
                (EventType.ORDERS_PAID, "orders"),
                (EventType.CUSTOMERS_CREATE, "customers"),
            )
        ),
        ("ADA.myshopify.com", EventType.ORDERS_PAID, "98c-1d", "https://admin.shopify.com/store/ada"),
        ("ada.myshopify.com", "refunds/create", "7", "https://admin.shopify.com/store/ada"),
        ("evil.example/x.myshopify.com", EventType.ORDERS_PAID, "7", None),
        ("ada.example", EventType.ORDERS_PAID, "7", None),
        (None, EventType.ORDERS_PAID, "7", None),
    ],
)  # fmt: skip
def test_shopify_event_opens_in_the_admin_of_its_shop(
    shop: str | None, event_type: str, event_id: str, url: str | None
) -> None:
    given = receipt(Provider.SHOPIFY, event_id, shopify_shop_domain=shop, event_type=event_type)

    page = provider_page(given)

    assert (page and page.url) == url


def test_own_provider_has_no_page() -> None:
    assert provider_page(receipt("paddle", "evt_1Abc")) is None
