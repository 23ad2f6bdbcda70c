"""What it means for a customer when a business effect did not happen.

Shown in the console and in alert mails.
"""

from collections.abc import Mapping

from domain.receipts import EffectType

IMPACTS: Mapping[str, str] = {
    EffectType.ACCESS_UNLOCK: "The customer may not have the access that was paid for.",
    EffectType.CREDIT_GRANT: "The customer may not have received the credits.",
    EffectType.SEAT_UPDATE: "The number of seats in the app may be wrong.",
    EffectType.SUBSCRIPTION_STATE_APPLY: "The subscription in the app may be out of date.",
    EffectType.ACCESS_REVOCATION: "The customer may still have access that should have ended.",
    EffectType.CREDIT_DEDUCTION: "The customer may have too many credits.",
}
