"""The receipt: the app reports that it accepted a payment event, before the business effect runs.

Holds the contract's enumerations and the pure rules: when two receipts are the same, and when the
result is due. Never reads a clock or the store.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from domain.ids import EventId, ProjectId

MINIMUM_TIMEOUT_MINUTES = {"live": 1.0, "test": 0.01}
MAXIMUM_TIMEOUT_MINUTES = 10_080
DEFAULT_TIMEOUT_MINUTES = 30
MAXIMUM_PAYLOAD_BYTES = 32 * 1024
MAXIMUM_AMOUNT = 10**15


class Provider(StrEnum):
    STRIPE = "stripe"
    SHOPIFY = "shopify"


class EventType(StrEnum):
    CHECKOUT_SESSION_COMPLETED = "checkout.session.completed"
    INVOICE_PAID = "invoice.paid"
    CUSTOMER_SUBSCRIPTION_DELETED = "customer.subscription.deleted"
    CUSTOMER_SUBSCRIPTION_UPDATED = "customer.subscription.updated"
    CHARGE_REFUNDED = "charge.refunded"
    CHARGE_DISPUTE_CREATED = "charge.dispute.created"
    ORDERS_PAID = "orders/paid"
    ORDERS_FULFILLED = "orders/fulfilled"
    CUSTOMERS_CREATE = "customers/create"
    CHECKOUTS_CREATE = "checkouts/create"


EVENT_TYPES_OF: dict[Provider, frozenset[EventType]] = {
    Provider.STRIPE: frozenset(t for t in EventType if "/" not in t),
    Provider.SHOPIFY: frozenset(t for t in EventType if "/" in t),
}


class EffectType(StrEnum):
    ACCESS_UNLOCK = "access_unlock"
    CREDIT_GRANT = "credit_grant"
    SEAT_UPDATE = "seat_update"
    SUBSCRIPTION_STATE_APPLY = "subscription_state_apply"
    ACCESS_REVOCATION = "access_revocation"
    CREDIT_DEDUCTION = "credit_deduction"


# Events and effects that take back what a customer got: after one of them, repairing an earlier
# event of the same reference is doubtful.
REVERSING_EVENT_TYPES = frozenset(
    {
        EventType.CHARGE_REFUNDED,
        EventType.CHARGE_DISPUTE_CREATED,
        EventType.CUSTOMER_SUBSCRIPTION_DELETED,
    }
)
REVERSING_EFFECT_TYPES = frozenset({EffectType.ACCESS_REVOCATION, EffectType.CREDIT_DEDUCTION})


class ReceiptState(StrEnum):
    EXPECTED = "expected"
    WAITING = "waiting"
    APPLIED = "applied"
    INCIDENT = "incident"
    RECOVERED = "recovered"
    CLOSED = "closed"


class Flag(StrEnum):
    """An anomaly found after the receipt ended; operators see it."""

    DOUBLE_APPLICATION = "double_application"
    CONTRADICTION = "contradiction"
    LATE_SUCCESS = "late_success"


@dataclass(frozen=True, slots=True)
class NewReceipt:
    """A validated receipt that is not stored yet.

    `payload` is its JSON text, None unless the project stores snapshots. `payload_note` says why a
    wanted payload was dropped; None when it was not. `amount` is in the minor unit of `currency`,
    an upper-case ISO 4217 code: both or neither is None. `customer_reference` is personal data: it
    never goes to Temporal.
    """

    project_id: ProjectId
    livemode: bool
    provider: Provider | str
    provider_event_id: str
    stripe_event_id: str | None
    event_type: EventType | str
    effect_type: EffectType | str
    internal_reference: str
    shopify_shop_domain: str | None
    occurred_at: datetime
    timeout_minutes: float
    request_id: str
    payload: str | None = None
    payload_note: str | None = None
    amount: int | None = None
    currency: str | None = None
    customer_reference: str | None = None


@dataclass(frozen=True, slots=True)
class ExpectedReceipt:
    """An event that a source saw at the provider: the app should send its receipt.

    `within_minutes`: the time for that, from the moment when it is stored. The app's receipt
    replaces `event_type`, `internal_reference`, `occurred_at` and `shopify_shop_domain`, and the
    amount if it states one.
    """

    project_id: ProjectId
    livemode: bool
    provider: Provider | str
    provider_event_id: str
    stripe_event_id: str | None
    event_type: EventType | str
    effect_type: EffectType | str
    internal_reference: str
    shopify_shop_domain: str | None
    occurred_at: datetime
    within_minutes: float
    source_id: str
    amount: int | None = None
    currency: str | None = None


@dataclass(frozen=True, slots=True)
class Receipt:
    """A stored receipt. `deadline_at` is `timeout_at` plus credited outages, and is the one that
    counts.

    `accepted_at` is None until the app has sent the receipt of an event that a source expected.
    `expected_at` is when a source expected it, None if the receipt came first. `source_id` is the
    source that saw the event first, None if none did. `listed_at` is its place in lists.
    """

    event_id: EventId
    project_id: ProjectId
    livemode: bool
    state: ReceiptState | str
    provider: Provider | str
    provider_event_id: str
    stripe_event_id: str | None
    event_type: EventType | str
    effect_type: EffectType | str
    internal_reference: str
    shopify_shop_domain: str | None
    occurred_at: datetime
    accepted_at: datetime | None
    timeout_at: datetime
    deadline_at: datetime
    flags: tuple[Flag | str, ...]
    request_id: str
    expected_at: datetime | None
    source_id: str | None
    listed_at: datetime
    amount: int | None = None
    currency: str | None = None
    customer_reference: str | None = None

    @property
    def effect_key(self) -> str:
        return effect_key(self.provider, self.provider_event_id, self.effect_type)


def effect_key(provider: str, provider_event_id: str, effect_type: str) -> str:
    """The key under which the app applies the effect at most once, in its job and in its repair."""
    return f"{provider}:{provider_event_id}:{effect_type}"


def timeout_span(timeout_minutes: float) -> timedelta:
    """The time until the result is due, in whole milliseconds as instants are stored."""
    return timedelta(milliseconds=round(timeout_minutes * 60_000))


def states_same_facts(
    first: tuple[str, str, str | None], again: tuple[str, str, str | None]
) -> bool:
    """Whether a receipt of the same identity repeats the first: (event_type, internal_reference,
    shopify_shop_domain).

    Another `occurred_at`, `timeout_minutes`, `payload`, amount or `customer_reference` is ignored:
    the first wins (contract, "Identity of a receipt").
    """
    return first == again
