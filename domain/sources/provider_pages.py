"""The page of an event at its provider: Stripe's dashboard, or the admin of a Shopify shop. Pure.

An address is made only from ids and domains of the provider's own form, so that no text of an app
leads elsewhere.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from domain.receipts import EventType, Provider, Receipt

_STRIPE_ID = re.compile(r"evt_[A-Za-z0-9_]{1,200}")
_SHOP = re.compile(r"([a-z0-9][a-z0-9-]{0,59})\.myshopify\.com")
_NUMBER = re.compile(r"[0-9]{1,20}")
# What a numeric id of Shopify names, as a listing of a source has it.
_ADMIN_PAGES: Mapping[str, str] = {
    EventType.ORDERS_PAID: "orders",
    EventType.ORDERS_FULFILLED: "orders",
    EventType.CUSTOMERS_CREATE: "customers",
    EventType.CHECKOUTS_CREATE: "checkouts",
}


@dataclass(frozen=True, slots=True)
class ProviderPage:
    """A link: its address, and what it opens."""

    url: str
    label: str


def provider_page(receipt: Receipt) -> ProviderPage | None:
    """The page of the receipt's event at the provider. None if no address is known."""
    match receipt.provider:
        case Provider.STRIPE:
            return _stripe_page(receipt)
        case Provider.SHOPIFY:
            return _shopify_page(receipt)
        case _:
            return None


def _stripe_page(receipt: Receipt) -> ProviderPage | None:
    event_id = receipt.stripe_event_id or receipt.provider_event_id
    if not _STRIPE_ID.fullmatch(event_id):
        return None
    mode = "" if receipt.livemode else "test/"
    return ProviderPage(f"https://dashboard.stripe.com/{mode}events/{event_id}", "Event in Stripe")


def _shopify_page(receipt: Receipt) -> ProviderPage | None:
    shop = _SHOP.fullmatch((receipt.shopify_shop_domain or "").lower())
    if shop is None:
        return None
    admin = f"https://admin.shopify.com/store/{shop[1]}"
    page = _ADMIN_PAGES.get(receipt.event_type)
    if page is None or not _NUMBER.fullmatch(receipt.provider_event_id):
        return ProviderPage(admin, "Shop in Shopify")
    return ProviderPage(f"{admin}/{page}/{receipt.provider_event_id}", "Event in Shopify")
