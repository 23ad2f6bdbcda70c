"""The headers and body of the repair callback, for the OpenAPI document. The worker sends it."""

from typing import Literal

from pydantic import BaseModel, Field

from domain.incidents import Reason
from operations.names import EffectTypeText, EventTypeText, ProviderText
from operations.responses.base import At, EventIdText, IncidentIdText, ReplayIdText

# The name, the description, and whether every callback has the header.
SIGNATURE_HEADERS: tuple[tuple[str, str, bool], ...] = (
    (
        "X-SendPromptly-Timestamp",
        "Unix seconds, new for each attempt. Reject a difference of more than 5 minutes.",
        True,
    ),
    (
        "X-SendPromptly-Nonce",
        "32 hexadecimal characters, new for each attempt. Reject a nonce that was used before.",
        True,
    ),
    (
        "X-SendPromptly-Signature",
        "Hex HMAC-SHA256 of `timestamp.nonce.body` with the signing secret's text as key.",
        True,
    ),
    (
        "X-SendPromptly-Signature-Next",
        "The same signature with the next secret, only during a rotation.",
        False,
    ),
    ("X-SendPromptly-Attempt", "The number of the attempt, from 1.", True),
    ("X-SendPromptly-Test", "`true` on a test call, which is not to be applied.", False),
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
    provider: ProviderText
    provider_event_id: str
    stripe_event_id: str | None = None
    event_type: EventTypeText
    effect_type: EffectTypeText
    internal_reference: str
    occurred_at: At
    reason: Reason
    error_code: str | None
    requested_at: At
    livemode: bool
    effect_key: str = Field(
        description="Apply the effect at most once under this key, in the job and in the repair."
    )
    amount: int | None = Field(description="In the currency's minor unit, as the receipt said.")
    currency: str | None
    customer_reference: str | None
    test: bool = Field(
        default=False,
        description="True in a test call, absent in others: verify and answer it, apply nothing.",
    )
