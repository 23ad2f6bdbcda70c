"""The sentence of harm is true for every pair of event and effect that the contract allows."""

import itertools

import pytest

from domain.incidents import Reason
from domain.receipts import EffectType, EventType
from domain.wording.harm import harm_of

PAIRS = list(itertools.product(EventType, EffectType))
PAYMENTS = (
    EventType.CHECKOUT_SESSION_COMPLETED,
    EventType.INVOICE_PAID,
    EventType.ORDERS_PAID,
)
SENTENCES = [
    (
        "access_unlock",
        "checkout.session.completed",
        "failed_result",
        "The customer paid and has no access.",
    ),
    ("access_unlock", "invoice.paid", "missing_result", "The customer paid an invoice and may have"
     " no access."),
    ("access_revocation", "charge.refunded", "failed_result", "The customer was refunded and still"
     " has access."),
    ("access_revocation", "customer.subscription.deleted", "missing_receipt", "The customer's"
     " subscription ended, and the customer may still have access."),
    ("credit_deduction", "charge.dispute.created", "failed_result", "The customer disputed the"
     " charge and still has the credits."),
    ("credit_grant", "orders/paid", "failed_result", "The customer paid for the order and has not"
     " received the credits."),
    ("seat_update", "customer.subscription.updated", "missing_result", "The customer's subscription"
     " changed, and the number of seats may be wrong in the app."),
    ("subscription_state_apply", "customers/create", "failed_result", "A new customer signed up,"
     " and the subscription is out of date in the app."),
    ("access_revocation", "invoice.paid", "failed_result", "The customer paid an invoice and still"
     " has access that this event ends."),
    ("access_unlock", "charge.refunded", "failed_result", "The customer was refunded and has no"
     " access, which this event unlocks."),
    ("license_issue", "paddle.done", "failed_result", "The event paddle.done arrived, and the"
     " effect “license issue” was not applied."),
]  # fmt: skip
TITLES = [
    ("access_unlock", "Access not unlocked", "Access not confirmed"),
    ("credit_grant", "Credits not granted", "Credits not confirmed"),
    ("seat_update", "Seats not updated", "Seat update not confirmed"),
    (
        "subscription_state_apply",
        "Subscription not updated",
        "Subscription update not confirmed",
    ),
    ("access_revocation", "Access not revoked", "Access revocation not confirmed"),
    ("credit_deduction", "Credits not deducted", "Credit deduction not confirmed"),
    ("license_issue", "License issue not applied", "License issue not confirmed"),
]


@pytest.mark.parametrize(("effect", "event", "reason", "sentence"), SENTENCES)
def test_sentence_says_who_is_harmed_and_how(
    effect: str, event: str, reason: str, sentence: str
) -> None:
    assert harm_of(effect, event, reason).sentence == sentence


@pytest.mark.parametrize("reason", Reason)
@pytest.mark.parametrize(("event", "effect"), PAIRS)
def test_every_pair_of_the_contract_has_a_true_sentence(
    event: EventType, effect: EffectType, reason: Reason
) -> None:
    sentence = harm_of(effect, event, reason).sentence

    assert sentence.endswith(".")
    assert "_" not in sentence, "no raw name"
    assert event not in sentence, "no raw name"
    assert len(sentence.split()) <= 25
    assert ("customer paid" in sentence) == (event in PAYMENTS)
    assert ("may" in sentence.split()) == (reason is not Reason.FAILED_RESULT)


@pytest.mark.parametrize(("effect", "failed", "unconfirmed"), TITLES)
def test_title_says_whether_the_effect_failed_or_is_unconfirmed(
    effect: str, failed: str, unconfirmed: str
) -> None:
    assert harm_of(effect, "invoice.paid", "failed_result").title == failed
    assert harm_of(effect, "invoice.paid", "missing_result").title == unconfirmed


@pytest.mark.parametrize("name", ["", "_", "a/b.c-d", "x" * 64])
def test_any_name_of_a_project_makes_a_sentence(name: str) -> None:
    harm = harm_of(name, name, "of_a_later_version")

    assert harm.title
    assert harm.sentence.endswith(".")
