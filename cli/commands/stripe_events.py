"""Stripe-shaped events and their `Stripe-Signature`, for `makegood trigger` and `makegood demo`.

The objects have the fields that a handler looks at first, in Stripe's own shape of today; they are samples, not recordings.
Ids are new on each call. It sends nothing.
"""

import hashlib
import hmac
import json
import secrets
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

API_VERSION = "2025-09-30.clover"
ID_ALPHABET = string.ascii_letters + string.digits

# A JSON object of Stripe's, with values of any JSON type.
Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Occasion:
    """What the sample is about: the app's own reference, the customer, and when, in unix seconds."""

    reference: str
    customer: str
    at: int


def stripe_event(event_type: str, *, reference: str, at: int, event_id: str | None = None) -> Json:
    """An event of one of the six types; `reference` stands in the object's metadata and where Stripe has a place for it.

    Raises: KeyError for another type.
    """
    make, previous = _SAMPLES[event_type]
    occasion = Occasion(reference, stripe_id("cus"), at)
    event: Json = {
        "id": event_id or stripe_id("evt"),
        "object": "event",
        "api_version": API_VERSION,
        "created": at,
        "data": {"object": make(occasion)},
        "livemode": False,
        "pending_webhooks": 1,
        "request": {"id": stripe_id("req"), "idempotency_key": None},
        "type": event_type,
    }
    if previous:
        event["data"]["previous_attributes"] = dict(previous)
    return event


def event_types() -> tuple[str, ...]:
    """The types there are samples of."""
    return tuple(_SAMPLES)


def body_of(event: Json) -> bytes:
    """The bytes as Stripe sends them: indented JSON."""
    return json.dumps(event, indent=2, ensure_ascii=False).encode()


def stripe_signature(secret: str, *, body: bytes, at: int) -> str:
    """The value of the `Stripe-Signature` header: scheme v1, keyed with the endpoint secret's whole text."""
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={digest}"


def stripe_id(prefix: str) -> str:
    """A new id of Stripe's shape."""
    return f"{prefix}_1" + "".join(secrets.choice(ID_ALPHABET) for _ in range(23))


def _checkout_session(occasion: Occasion) -> Json:
    return {
        "id": stripe_id("cs_test"),
        "object": "checkout.session",
        "amount_subtotal": 4900,
        "amount_total": 4900,
        "client_reference_id": occasion.reference,
        "created": occasion.at,
        "currency": "eur",
        "customer": occasion.customer,
        "customer_details": {"email": "customer@example.com", "name": "Sample Customer"},
        "livemode": False,
        "metadata": {"reference": occasion.reference},
        "mode": "payment",
        "payment_intent": stripe_id("pi"),
        "payment_status": "paid",
        "status": "complete",
    }


def _invoice(occasion: Occasion) -> Json:
    return {
        "id": stripe_id("in"),
        "object": "invoice",
        "amount_due": 4900,
        "amount_paid": 4900,
        "amount_remaining": 0,
        "billing_reason": "subscription_cycle",
        "created": occasion.at,
        "currency": "eur",
        "customer": occasion.customer,
        "customer_email": "customer@example.com",
        "lines": {"object": "list", "data": [], "has_more": False, "url": "/v1/invoices/sample/lines"},
        "livemode": False,
        "metadata": {"reference": occasion.reference},
        "status": "paid",
        "status_transitions": {"finalized_at": occasion.at, "paid_at": occasion.at},
    }


def _subscription(occasion: Occasion, *, status: str) -> Json:
    return {
        "id": stripe_id("sub"),
        "object": "subscription",
        "cancel_at_period_end": False,
        "canceled_at": occasion.at if status == "canceled" else None,
        "created": occasion.at - 86_400,
        "currency": "eur",
        "customer": occasion.customer,
        "ended_at": occasion.at if status == "canceled" else None,
        "items": {
            "object": "list",
            "data": [{"id": stripe_id("si"), "object": "subscription_item", "quantity": 5}],
            "has_more": False,
        },
        "livemode": False,
        "metadata": {"reference": occasion.reference},
        "status": status,
    }


def _charge(occasion: Occasion) -> Json:
    return {
        "id": stripe_id("ch"),
        "object": "charge",
        "amount": 4900,
        "amount_captured": 4900,
        "amount_refunded": 4900,
        "captured": True,
        "created": occasion.at - 3_600,
        "currency": "eur",
        "customer": occasion.customer,
        "livemode": False,
        "metadata": {"reference": occasion.reference},
        "paid": True,
        "payment_intent": stripe_id("pi"),
        "refunded": True,
        "status": "succeeded",
    }


def _dispute(occasion: Occasion) -> Json:
    return {
        "id": stripe_id("du"),
        "object": "dispute",
        "amount": 4900,
        "charge": stripe_id("ch"),
        "created": occasion.at,
        "currency": "eur",
        "evidence_details": {"due_by": occasion.at + 7 * 86_400, "has_evidence": False, "past_due": False},
        "is_charge_refundable": False,
        "livemode": False,
        "metadata": {"reference": occasion.reference},
        "reason": "fraudulent",
        "status": "needs_response",
    }


# By type: the object, and what an update says was different before.
_SAMPLES: Mapping[str, tuple[Callable[[Occasion], Json], Json | None]] = {
    "checkout.session.completed": (_checkout_session, None),
    "invoice.paid": (_invoice, None),
    "customer.subscription.deleted": (lambda occasion: _subscription(occasion, status="canceled"), None),
    "customer.subscription.updated": (
        lambda occasion: _subscription(occasion, status="active"),
        {"items": {"object": "list", "data": [{"object": "subscription_item", "quantity": 3}]}},
    ),
    "charge.refunded": (_charge, {"amount_refunded": 0, "refunded": False}),
    "charge.dispute.created": (_dispute, None),
}
