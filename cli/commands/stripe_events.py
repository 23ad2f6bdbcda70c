"""Sample Stripe events and their `Stripe-Signature`, for `makegood trigger` and `makegood demo`.

The objects have the fields that webhook handlers usually read, in the shape of `API_VERSION`.
Each call generates new ids. Performs no I/O.
"""

import hashlib
import hmac
import json
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from domain.receipts import EventType

API_VERSION = "2025-09-30.clover"
ID_ALPHABET = string.ascii_letters + string.digits

# A JSON object of Stripe; values are of any JSON type.
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class SampleFacts:
    """The facts of a sample: the app's reference, the customer, and the time in unix seconds."""

    reference: str
    customer: str
    at: int


def stripe_event(event_type: str, *, reference: str, at: int, event_id: str | None = None) -> Json:
    """A sample event. `reference` is in the object's metadata, and in `client_reference_id` if it
    has one.

    Raises: KeyError for a type without a sample.
    """
    make, previous = _SAMPLES[event_type]
    facts = SampleFacts(reference, stripe_id("cus"), at)
    event: Json = {
        "id": event_id or stripe_id("evt"),
        "object": "event",
        "api_version": API_VERSION,
        "created": at,
        "data": {"object": make(facts)},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": stripe_id("req"), "idempotency_key": None},
        "type": event_type,
    }
    if previous:
        event["data"]["previous_attributes"] = dict(previous)
    return event


def event_types() -> tuple[str, ...]:
    """The event types that have a sample."""
    return tuple(_SAMPLES)


def body_of(event: Json) -> bytes:
    """The event as Stripe sends it: indented JSON."""
    return json.dumps(event, indent=2, ensure_ascii=False).encode()


def stripe_signature(secret: str, *, body: bytes, at: int) -> str:
    """The `Stripe-Signature` header: scheme v1. The key is the whole text of the secret, with
    `whsec_`.
    """
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def stripe_id(prefix: str) -> str:
    """A new random id in Stripe's format."""
    return f"{prefix}_1" + "".join(secrets.choice(ID_ALPHABET) for _ in range(23))


def _checkout_session(facts: SampleFacts) -> Json:
    return {
        "id": stripe_id("cs_test"),
        "object": "checkout.session",
        "amount_subtotal": 4900,
        "amount_total": 4900,
        "client_reference_id": facts.reference,
        "created": facts.at,
        "currency": "eur",
        "customer": facts.customer,
        "customer_details": {"email": "customer@example.com", "name": "Sample Customer"},
        "livemode": False,
        "metadata": {"reference": facts.reference},
        "mode": "payment",
        "payment_intent": stripe_id("pi"),
        "payment_status": "paid",
        "status": "complete",
    }


def _invoice(facts: SampleFacts) -> Json:
    return {
        "id": stripe_id("in"),
        "object": "invoice",
        "amount_due": 4900,
        "amount_paid": 4900,
        "amount_remaining": 0,
        "billing_reason": "subscription_cycle",
        "created": facts.at,
        "currency": "eur",
        "customer": facts.customer,
        "customer_email": "customer@example.com",
        "lines": {
            "object": "list",
            "data": [],
            "has_more": False,
            "url": "/v1/invoices/sample/lines",
        },
        "livemode": False,
        "metadata": {"reference": facts.reference},
        "status": "paid",
        "status_transitions": {"finalized_at": facts.at, "paid_at": facts.at},
    }


def _subscription(facts: SampleFacts, *, status: str) -> Json:
    return {
        "id": stripe_id("sub"),
        "object": "subscription",
        "cancel_at_period_end": False,
        "canceled_at": facts.at if status == "canceled" else None,
        "created": facts.at - 86_400,
        "currency": "eur",
        "customer": facts.customer,
        "ended_at": facts.at if status == "canceled" else None,
        "items": {
            "object": "list",
            "data": [{"id": stripe_id("si"), "object": "subscription_item", "quantity": 5}],
            "has_more": False,
        },
        "livemode": False,
        "metadata": {"reference": facts.reference},
        "status": status,
    }


def _charge(facts: SampleFacts) -> Json:
    return {
        "id": stripe_id("ch"),
        "object": "charge",
        "amount": 4900,
        "amount_captured": 4900,
        "amount_refunded": 4900,
        "captured": True,
        "created": facts.at - 3_600,
        "currency": "eur",
        "customer": facts.customer,
        "livemode": False,
        "metadata": {"reference": facts.reference},
        "paid": True,
        "payment_intent": stripe_id("pi"),
        "refunded": True,
        "status": "succeeded",
    }


def _dispute(facts: SampleFacts) -> Json:
    return {
        "id": stripe_id("du"),
        "object": "dispute",
        "amount": 4900,
        "charge": stripe_id("ch"),
        "created": facts.at,
        "currency": "eur",
        "evidence_details": {
            "due_by": facts.at + 7 * 86_400,
            "has_evidence": False,
            "past_due": False,
        },
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {"reference": facts.reference},
        "reason": "fraudulent",
        "status": "needs_response",
    }


# For each type: the builder of the object, and `previous_attributes` of an update.
_SAMPLES: Mapping[str, tuple[Callable[[SampleFacts], Json], Json | None]] = {
    EventType.CHECKOUT_SESSION_COMPLETED: (_checkout_session, None),
    EventType.INVOICE_PAID: (_invoice, None),
    EventType.CUSTOMER_SUBSCRIPTION_DELETED: (
        lambda facts: _subscription(facts, status="canceled"),
        None,
    ),
    EventType.CUSTOMER_SUBSCRIPTION_UPDATED: (
        lambda facts: _subscription(facts, status="active"),
        {"items": {"object": "list", "data": [{"object": "subscription_item", "quantity": 3}]}},
    ),
    EventType.CHARGE_REFUNDED: (_charge, {"amount_refunded": 0, "refunded": False}),
    EventType.CHARGE_DISPUTE_CREATED: (_dispute, None),
}
