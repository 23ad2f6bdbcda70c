"""What an alert says: the harm in words, the latest error, and one name for all of an incident."""

from dataclasses import replace

import pytest

from activities.alerts.channels import AlertMessage
from activities.alerts.message import write_message
from domain.ids import ReplayId
from domain.incidents import AlertKind, IncidentState, Reason, RepairCause, Resolution
from store.alerts.due import AlertDue, AlertFacts
from store.receipts.rows.failures import Failure, RepairFailure
from tests.activities.read_mails import alert_with
from tests.support.given import START

REPAIR = ReplayId("rpl_018f")


def said(alert: AlertDue) -> AlertMessage:
    return write_message(alert, at=START, public_url="https://makegood.example.com")


def alert(
    kind: AlertKind = AlertKind.INCIDENT_OPENED,
    *,
    of_repair: RepairFailure | None = None,
    **changes: object,
) -> AlertDue:
    """An alert of an incident with these fields of its facts, receipt and incident."""
    made = alert_with(
        kind,
        internal_reference="order_48326",
        project_name="Acme Store",
        error_code="seat_limit_reached",
        error_message="No seat\nleft",
    )
    facts = made.facts
    assert isinstance(facts, AlertFacts)
    for part in ("receipt", "incident"):
        value = getattr(facts, part)
        own = {name: new for name, new in changes.items() if hasattr(value, name)}
        facts = replace(facts, **{part: replace(value, **own)})  # type: ignore[arg-type]  # table
    cause = changes.get("cause")
    facts = replace(facts, cause=cause, repair_failure=of_repair)  # type: ignore[arg-type]  # table
    return replace(made, facts=facts, replay_id=REPAIR if of_repair else None)


def failed_repair(
    attempts: int, status: int | None = None, reported: Failure | None = None
) -> RepairFailure:
    return RepairFailure(reported, attempts, status, None)


@pytest.mark.parametrize(
    ("changes", "summary"),
    [
        ({}, "[Acme Store] Access not unlocked: order_48326 (seat_limit_reached)"),
        (
            {"livemode": False},
            "[Acme Store, test] Access not unlocked: order_48326 (seat_limit_reached)",
        ),
        (
            {"reason": Reason.MISSING_RESULT, "error_code": None},
            "[Acme Store] Access not confirmed: order_48326 (no result)",
        ),
        (
            {"event_type": "charge.refunded", "effect_type": "access_revocation"},
            "[Acme Store] Access not revoked: order_48326 (seat_limit_reached)",
        ),
        (
            {"effect_type": "license_issue", "error_code": None},
            "[Acme Store] License issue not applied: order_48326 (failure reported)",
        ),
    ],
)
def test_subject_says_the_harm_the_reference_and_the_error(
    changes: dict[str, object], summary: str
) -> None:
    assert said(alert(**changes)).summary == summary


def test_every_alert_of_an_incident_has_the_same_subject() -> None:
    resolved = {"state": IncidentState.RESOLVED, "resolution": Resolution.REPAIRED}
    resolved["resolved_at"] = START
    messages = [
        said(alert()),
        said(alert(AlertKind.REPAIR_FAILED, of_repair=failed_repair(3, 500), cause="exhausted")),
        said(alert(AlertKind.INCIDENT_RESOLVED, **resolved)),
    ]

    assert len({message.thread for message in messages}) == 1
    assert messages[0].summary == messages[0].thread
    assert messages[2].summary.startswith("[Acme Store] Resolved (repaired): order_48326")
    assert [message.title for message in messages] == [
        "Access not unlocked",
        "Repair failed: access not unlocked",
        "Resolved (repaired)",
    ]


def test_sentence_names_the_harm_and_facts_are_words() -> None:
    given = {"customer_reference": "cus_7", "amount": 1_200, "currency": "EUR"}

    message = said(
        alert(event_type="charge.dispute.created", effect_type="credit_deduction", **given)
    )

    assert message.sentence == (
        "The customer disputed the charge and still has the credits."
        " Your app accepted the event, then reported a failure."
    )
    assert message.facts == (
        ("Reference", "order_48326"),
        ("Customer", "cus_7"),
        ("Amount", "EUR 12.00"),
        ("Error", "seat_limit_reached: No seat left"),
        ("Open since", "23 Nov 2026, 12:00:00 UTC"),
    )
    raw = {"access_unlock", "credit_deduction", "failed_result", "stripe"}
    assert not raw & {value for _, value in (*message.facts, *message.details)}


@pytest.mark.parametrize(
    ("cause", "failure", "sentence", "error"),
    [
        (
            RepairCause.FAILED_RESULT,
            failed_repair(1, 202, Failure("no_stock", "Sold out", START, "req_2")),
            "The app reported that the repair failed. ",
            "no_stock: Sold out",
        ),
        (
            RepairCause.EXHAUSTED,
            failed_repair(3, 500),
            "All 3 attempts failed (last: HTTP 500). ",
            "All 3 attempts failed (last: HTTP 500)",
        ),
        (
            RepairCause.NO_RESULT,
            failed_repair(1, 202),
            "Accepted, but no result before the deadline. ",
            "Accepted, but no result before the deadline",
        ),
    ],
    ids=["reported", "exhausted", "no result"],
)
def test_failed_repair_says_its_own_error(
    cause: RepairCause, failure: RepairFailure, sentence: str, error: str
) -> None:
    message = said(alert(AlertKind.REPAIR_FAILED, of_repair=failure, cause=cause))

    assert message.sentence == (
        f"{sentence}The customer paid an invoice and has no access. The incident is open again."
    )
    assert dict(message.facts)["Error"] == error
    assert dict(message.details)["Repair ID"] == REPAIR
