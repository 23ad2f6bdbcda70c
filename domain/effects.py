"""What it means for a customer when a business effect did not happen, and which events take an
effect back.

Shown in the console and in alert mails.
"""

from collections.abc import Mapping

from domain.receipts import EffectType, EventType

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

IMPACTS: Mapping[str, str] = {
    EffectType.ACCESS_UNLOCK: "The customer may not have the access that was paid for.",
    EffectType.CREDIT_GRANT: "The customer may not have received the credits.",
    EffectType.SEAT_UPDATE: "The number of seats in the app may be wrong.",
    EffectType.SUBSCRIPTION_STATE_APPLY: "The subscription in the app may be out of date.",
    EffectType.ACCESS_REVOCATION: "The customer may still have access that should have ended.",
    EffectType.CREDIT_DEDUCTION: "The customer may have too many credits.",
}
