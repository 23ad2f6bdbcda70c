"""The repair callback as its receiver sees it, for the document alone: it is made and sent by the worker."""

from typing import Literal

from pydantic import BaseModel

from api.rest.response_models import At, EventIdText, IncidentIdText, ReplayIdText
from domain.incidents import Reason
from domain.receipts import EffectType, EventType, Provider

# Name, what it is, and whether every callback carries it.
SIGNATURE_HEADERS: tuple[tuple[str, str, bool], ...] = (
    ("X-SendPromptly-Timestamp", "Unix seconds, fresh on each attempt. Reject one that is more than 5 minutes off.", True),
    ("X-SendPromptly-Nonce", "32 hexadecimal characters, fresh on each attempt. Reject one that was seen before.", True),
    (
        "X-SendPromptly-Signature",
        "Lowercase hex of HMAC-SHA256, keyed with the signing secret's text, over `timestamp.nonce.body`.",
        True,
    ),
    ("X-SendPromptly-Signature-Next", "The same under the next secret, only while a rotation overlaps.", False),
    ("X-SendPromptly-Attempt", "1, 2, …", True),
    ("webhook-id", "The `replay_id` (Standard Webhooks 1.0).", True),
    ("webhook-timestamp", "Unix seconds (Standard Webhooks 1.0).", True),
    ("webhook-signature", "One signature per secret (Standard Webhooks 1.0).", True),
)


class RepairRequest(BaseModel):
    """The body of a repair callback."""

    type: Literal["repair.requested"]
    replay_id: ReplayIdText
    incident_id: IncidentIdText
    event_id: EventIdText
    provider: Provider
    provider_event_id: str
    stripe_event_id: str | None = None
    event_type: EventType
    effect_type: EffectType
    internal_reference: str
    occurred_at: At
    reason: Reason
    error_code: str | None
    requested_at: At
    livemode: bool
