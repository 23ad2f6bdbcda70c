"""The contract's finite sets and the rules of a receipt's identity and deadline."""

from datetime import timedelta

import pytest

from domain.receipts import (
    DEFAULT_TIMEOUT_MINUTES,
    EVENT_TYPES_OF,
    MAXIMUM_PAYLOAD_BYTES,
    MAXIMUM_TIMEOUT_MINUTES,
    MINIMUM_TIMEOUT_MINUTES,
    EffectType,
    EventType,
    Flag,
    Provider,
    ReceiptState,
    states_same_facts,
    timeout_span,
)

STRIPE = {
    "checkout.session.completed",
    "invoice.paid",
    "customer.subscription.deleted",
    "customer.subscription.updated",
    "charge.refunded",
    "charge.dispute.created",
}
SHOPIFY = {"orders/paid", "orders/fulfilled", "customers/create", "checkouts/create"}
EFFECTS = {
    "access_unlock",
    "credit_grant",
    "seat_update",
    "subscription_state_apply",
    "access_revocation",
    "credit_deduction",
}


def test_every_event_type_belongs_to_one_provider() -> None:
    assert {t.value for t in EVENT_TYPES_OF[Provider.STRIPE]} == STRIPE
    assert {t.value for t in EVENT_TYPES_OF[Provider.SHOPIFY]} == SHOPIFY
    assert {t.value for t in EventType} == STRIPE | SHOPIFY


def test_finite_sets_are_the_contracts() -> None:
    assert {p.value for p in Provider} == {"stripe", "shopify"}
    assert {e.value for e in EffectType} == EFFECTS
    assert {s.value for s in ReceiptState} == {
        "expected",
        "waiting",
        "applied",
        "incident",
        "recovered",
        "closed",
    }
    assert {f.value for f in Flag} == {"double_application", "contradiction", "late_success"}


def test_limits_are_the_contracts() -> None:
    assert MINIMUM_TIMEOUT_MINUTES == {"live": 1, "test": 0.01}
    assert (MAXIMUM_TIMEOUT_MINUTES, DEFAULT_TIMEOUT_MINUTES) == (10_080, 30)
    assert MAXIMUM_PAYLOAD_BYTES == 32_768


@pytest.mark.parametrize(
    ("minutes", "span"),
    [
        (30, timedelta(minutes=30)),
        (10_080, timedelta(days=7)),
        (0.01, timedelta(milliseconds=600)),
        (0.012345, timedelta(milliseconds=741)),
        (1.1, timedelta(seconds=66)),
    ],
)
def test_timeout_is_whole_milliseconds(minutes: float, span: timedelta) -> None:
    assert timeout_span(minutes) == span


FIRST = ("invoice.paid", "order 1", None)


@pytest.mark.parametrize(
    ("again", "is_same"),
    [
        (FIRST, True),
        (("charge.refunded", "order 1", None), False),
        (("invoice.paid", "order 2", None), False),
        (("invoice.paid", "order 1", "shop.myshopify.com"), False),
    ],
    ids=["equal", "event type", "internal reference", "shop domain"],
)
def test_receipt_repeats_the_first_when_three_facts_are_the_same(
    again: tuple[str, str, str | None], is_same: bool
) -> None:
    assert states_same_facts(FIRST, again) is is_same
