"""Builds the JSON of a repair callback (contract). Pure. Called by `callback.attempts`."""

import json

from domain.incidents import Incident, Repair
from domain.receipts import Provider, Receipt
from domain.values.timestamps import to_iso


def callback_body(receipt: Receipt, incident: Incident, repair: Repair) -> bytes:
    """The contract's JSON of a repair callback.

    It contains stored values only, so every attempt sends the same bytes.
    """
    fields: dict[str, str | bool | None] = {
        "type": "repair.requested",
        "replay_id": repair.replay_id,
        "incident_id": incident.id,
        "event_id": receipt.event_id,
        "provider": receipt.provider.value,
        "provider_event_id": receipt.provider_event_id,
    }
    if receipt.provider is Provider.STRIPE:
        fields["stripe_event_id"] = receipt.stripe_event_id or receipt.provider_event_id
    fields |= {
        "event_type": receipt.event_type.value,
        "effect_type": receipt.effect_type.value,
        "internal_reference": receipt.internal_reference,
        "occurred_at": to_iso(receipt.occurred_at),
        "reason": incident.reason.value,
        "error_code": incident.error_code,
        "requested_at": to_iso(repair.requested_at),
        "livemode": receipt.livemode,
    }
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode()
