"""Who is harmed when a business effect did not happen, and how: a sentence for each pair of event
type and effect type.

1. The first half says what happened (`_EVENTS`), the second what is missing (`_EFFECTS`).
2. If the app reported a failure, the effect is missing: "has no access". If nothing was reported,
   it may be missing: "may have no access".
3. Types that a project added have a sentence of their own names.

Pages, lists, mails and the command line use it. Pure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from domain.incidents import Reason
from domain.receipts import EffectType, EventType


class _Money(StrEnum):
    """Where the event moved money or rights: it decides which effects it is expected to have."""

    COMES = "comes"  # the customer paid
    GOES = "goes"  # the customer was refunded, disputed or cancelled
    NEITHER = "neither"


@dataclass(frozen=True, slots=True)
class _Happened:
    """What an event says. `is_customer`: the customer is the subject of the sentence."""

    text: str
    money: _Money
    is_customer: bool = True


@dataclass(frozen=True, slots=True)
class _Missing:
    """What is wrong without an effect: for certain, and as a possibility.

    `expected` are the events that have such an effect. Another event gets `usual` behind it, which
    says what the effect would have done. `subject` is None if the customer is the subject.
    """

    certain: str
    possible: str
    failed_title: str
    unconfirmed_title: str
    expected: frozenset[_Money] = frozenset(_Money)
    usual: str = ""
    subject: str | None = None


@dataclass(frozen=True, slots=True)
class Harm:
    """`title` is a heading without the event: `Access not unlocked`. `sentence` says who is harmed
    and how.
    """

    title: str
    sentence: str


_EVENTS: Mapping[str, _Happened] = {
    EventType.CHECKOUT_SESSION_COMPLETED: _Happened("The customer paid", _Money.COMES),
    EventType.INVOICE_PAID: _Happened("The customer paid an invoice", _Money.COMES),
    EventType.CUSTOMER_SUBSCRIPTION_DELETED: _Happened(
        "The customer's subscription ended", _Money.GOES, is_customer=False
    ),
    EventType.CUSTOMER_SUBSCRIPTION_UPDATED: _Happened(
        "The customer's subscription changed", _Money.NEITHER, is_customer=False
    ),
    EventType.CHARGE_REFUNDED: _Happened("The customer was refunded", _Money.GOES),
    EventType.CHARGE_DISPUTE_CREATED: _Happened("The customer disputed the charge", _Money.GOES),
    EventType.ORDERS_PAID: _Happened("The customer paid for the order", _Money.COMES),
    EventType.ORDERS_FULFILLED: _Happened(
        "The order was fulfilled", _Money.NEITHER, is_customer=False
    ),
    EventType.CUSTOMERS_CREATE: _Happened("A new customer signed up", _Money.NEITHER),
    EventType.CHECKOUTS_CREATE: _Happened("The customer started a checkout", _Money.NEITHER),
}
_GIVEN = frozenset({_Money.COMES, _Money.NEITHER})
_TAKEN = frozenset({_Money.GOES})
_EFFECTS: Mapping[str, _Missing] = {
    EffectType.ACCESS_UNLOCK: _Missing(
        "has no access",
        "may have no access",
        "Access not unlocked",
        "Access not confirmed",
        expected=_GIVEN,
        usual=", which this event unlocks",
    ),
    EffectType.CREDIT_GRANT: _Missing(
        "has not received the credits",
        "may not have received the credits",
        "Credits not granted",
        "Credits not confirmed",
        expected=_GIVEN,
        usual=" that this event grants",
    ),
    EffectType.SEAT_UPDATE: _Missing(
        "is wrong in the app",
        "may be wrong in the app",
        "Seats not updated",
        "Seat update not confirmed",
        subject="the number of seats",
    ),
    EffectType.SUBSCRIPTION_STATE_APPLY: _Missing(
        "is out of date in the app",
        "may be out of date in the app",
        "Subscription not updated",
        "Subscription update not confirmed",
        subject="the subscription",
    ),
    EffectType.ACCESS_REVOCATION: _Missing(
        "still has access",
        "may still have access",
        "Access not revoked",
        "Access revocation not confirmed",
        expected=_TAKEN,
        usual=" that this event ends",
    ),
    EffectType.CREDIT_DEDUCTION: _Missing(
        "still has the credits",
        "may still have the credits",
        "Credits not deducted",
        "Credit deduction not confirmed",
        expected=_TAKEN,
        usual=" that this event takes away",
    ),
}
# An event of a type that a project added. What it says is not known, so it expects every effect.
_OWN_EVENT = _Happened("The event {name} arrived", _Money.NEITHER, is_customer=False)


def harm_of(effect_type: str, event_type: str, reason: str) -> Harm:
    """Who is harmed, and how, when this effect of this event is missing for this reason."""
    is_certain = reason == Reason.FAILED_RESULT
    missing = _EFFECTS.get(effect_type) or _own_effect(effect_type)
    title = missing.failed_title if is_certain else missing.unconfirmed_title
    happened = _EVENTS.get(event_type)
    if happened is None:
        text = _OWN_EVENT.text.replace("{name}", event_type)
        return Harm(title, _joined(text, missing, is_certain, shares_subject=False, usual=""))
    usual = "" if happened.money in missing.expected else missing.usual
    shares_subject = happened.is_customer and missing.subject is None
    return Harm(title, _joined(happened.text, missing, is_certain, shares_subject, usual))


def harm_title(effect_type: str, reason: str) -> str:
    """The heading of the harm, as in a list: `Access not unlocked`."""
    return harm_of(effect_type, "", reason).title


def _joined(
    happened: str, missing: _Missing, is_certain: bool, shares_subject: bool, usual: str
) -> str:
    verb = missing.certain if is_certain else missing.possible
    subject = "" if shares_subject else f" {missing.subject or 'the customer'}"
    return f"{happened}{'' if shares_subject else ','} and{subject} {verb}{usual}."


def _own_effect(name: str) -> _Missing:
    """An effect of a type that a project added: `license_issue` becomes `License issue`."""
    words = name.replace("_", " ").strip()
    title = f"{words[:1].upper()}{words[1:]}" or "Effect"
    return _Missing(
        "was not applied",
        "may not have been applied",
        f"{title} not applied",
        f"{title} not confirmed",
        subject=f"the effect “{words}”" if words else "the effect",
    )
