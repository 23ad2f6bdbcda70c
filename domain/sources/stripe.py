"""Reads events of Stripe: snapshots (`event`) and thin events (`v2.core.event`). Pure.

Hooks and listings use it alike. The identity of an event is its `id`: Stripe's ids are unique over
accounts, and neither `account`, API version nor form changes it.
"""

import re
from collections.abc import Mapping

from domain.sources.events import NotAnEvent, ProviderEvent
from domain.sources.fields import (
    Amount,
    identifier,
    iso_instant,
    references_of,
    stripe_amount,
    unix_instant,
)
from domain.sources.json_pointer import resolve
from domain.sources.source import Source

_OBJECT_ID = ("/data/object/id", "/related_object/id")
# The `internal_reference` of a type whose `Expects` names none: the first pointer with a value.
DEFAULT_REFERENCES: Mapping[str, tuple[str, ...]] = {
    "checkout.session.completed": ("/data/object/client_reference_id", *_OBJECT_ID),
    "charge.dispute.created": ("/data/object/charge", *_OBJECT_ID),
}
# Where an object of Stripe has its amount. A subscription has none.
_AMOUNTS: Mapping[str, tuple[str, ...]] = {
    "checkout.session": ("amount_total",),
    "invoice": ("amount_paid",),
    "payment_intent": ("amount_received",),
    **dict.fromkeys(("charge", "dispute", "refund", "payout"), ("amount",)),
}
_REFUNDED = "charge.refunded"
_THIN_TYPE = re.compile(r"v[0-9]+\.")


def is_thin(event_type: str) -> bool:
    """Whether this is the type of thin events, which Stripe delivers and does not list."""
    return _THIN_TYPE.match(event_type) is not None


def parse_stripe_event(json: object, source: Source) -> ProviderEvent:
    """The event in a delivery, or one of a list.

    Raises: NotAnEvent: it lacks an id, a type, a mode or an instant, or one is ill-formed.
    """
    if not isinstance(json, dict):
        raise NotAnEvent("An event must be a JSON object.")
    event_id, event_type = identifier(json.get("id")), identifier(json.get("type"))
    created, livemode = json.get("created"), json.get("livemode")
    occurred_at = unix_instant(created) or iso_instant(created)
    if event_id is None or event_type is None:
        raise NotAnEvent("An event must have an id and a type of at most 255 characters.")
    if occurred_at is None or not isinstance(livemode, bool):
        raise NotAnEvent("An event must have the instant created, and livemode true or false.")
    amount = _amount(event_type, resolve(json, "/data/object"))
    return ProviderEvent(
        id=event_id,
        type=event_type,
        livemode=livemode,
        occurred_at=occurred_at,
        references=references_of(json, source, DEFAULT_REFERENCES.get(event_type, _OBJECT_ID)),
        amount=None if amount is None else amount.minor,
        currency=None if amount is None else amount.currency,
    )


def _amount(event_type: str, item: object) -> Amount | None:
    if not isinstance(item, dict):
        return None
    kind = item.get("object")
    names = _AMOUNTS.get(kind, ()) if isinstance(kind, str) else ()
    if event_type == _REFUNDED:
        names = ("amount_refunded",)
    amounts = (stripe_amount(item.get(name), item.get("currency")) for name in names)
    return next((amount for amount in amounts if amount is not None), None)
