"""Builds the JSON of a repair callback (contract). Pure. Called by `callback.attempts`."""

import json

from domain.incidents import Incident, Repair
from domain.receipts import Provider, Receipt
from domain.values.timestamps import to_iso


def callback_body(receipt: Receipt, incident: Incident, repair: Repair) -> bytes:
    """The contract's JSON of a repair callback.

    It contains stored values only, so every attempt sends the same bytes. The values change once
    where the receipt of an expected event comes during the repair, or the version of Makegood does:
    see `attempts.keep_body`.
    """
    fields: dict[str, str | int | None] = {
        "type": "repair.requested",
        "replay_id": repair.replay_id,
        "incident_id": incident.id,
        "event_id": receipt.event_id,
        "provider": str(receipt.provider),
        "provider_event_id": receipt.provider_event_id,
    }
    if receipt.provider == Provider.STRIPE:
        fields["stripe_event_id"] = receipt.stripe_event_id or receipt.provider_event_id
    fields |= {
        "event_type": str(receipt.event_type),
        "effect_type": str(receipt.effect_type),
        "internal_reference": receipt.internal_reference,
        "occurred_at": to_iso(receipt.occurred_at),
        "reason": str(incident.reason),
        "error_code": incident.error_code,
        "requested_at": to_iso(repair.requested_at),
        "livemode": receipt.livemode,
        "effect_key": receipt.effect_key,
        "amount": receipt.amount,
        "currency": receipt.currency,
        "customer_reference": receipt.customer_reference,
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
