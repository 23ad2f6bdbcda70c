"""Receipts, results and answers:

each rule is kept by a good run and catches the run that is bent against it.
"""

import copy
from collections.abc import Callable

import pytest

from tests.faults.installation.example_run import SECRET, START, Run, a_good_run, wire
from tests.faults.rules.checker import check
from tests.faults.rules.verdict import Rule


def _violated(bend: Callable[[Run], object]) -> set[Rule]:
    run = a_good_run()
    bend(run)
    return {
        violation.rule for violation in check(run.history(), signing_secrets=[SECRET]).violations
    }


def _forget_the_event(run: Run) -> None:
    del run.events[4]


def _forget_an_event_and_its_result(run: Run) -> None:
    del run.events[1]


def _answer_a_repeat_with_another_event(run: Run) -> None:
    run.receipt(0.7, 1, key="another key", event_id="evt_9")


def _answer_a_repeat_with_another_timeout(run: Run) -> None:
    run.receipt(0.7, 1, key="another key", timeout_at=wire(61))


def _move_the_timeout(run: Run) -> None:
    run.events[4]["timeout_at"] = wire(1700)


def _answer_with_the_event_of_another_receipt(run: Run) -> None:
    run.receipt(0.7, 7, event_id="evt_4", timeout_at=run.events[4]["timeout_at"])


def _observe_what_nobody_sent(run: Run) -> None:
    run.observe(8, at=0.0, timeout=600.0, state="waiting")


def _change_the_reference(run: Run) -> None:
    run.events[4]["internal_reference"] = "order-5"


def _observe_a_receipt_that_was_refused(run: Run) -> None:
    run.fault(0.0, 2.0)
    run.receipt(0.7, 8, status=429)
    run.observe(8, at=0.7, timeout=600.0, state="waiting")


def _observe_a_receipt_twice(run: Run) -> None:
    twin = copy.deepcopy(run.events[4])
    run.events[5] = twin | {"event_id": "evt_5"}


def _lose_a_success(run: Run) -> None:
    run.events[1]["timeline"].pop()


def _acknowledge_for_another_event(run: Run) -> None:
    run.entry("answered", request="result-2").fields["body"]["event_id"] = "evt_4"


def _leave_a_success_without_effect(run: Run) -> None:
    run.result(3.0, 4, "success")
    run.received(4, 3.01, "success")


def _leave_a_repairs_success_without_effect(run: Run) -> None:
    event = run.events[2]
    event["repairs"][0]["state"] = "awaiting_result"
    event["incident"]["state"] = "repairing"


def _leave_a_repairs_failure_without_effect(run: Run) -> None:
    run.events[3]["repairs"][0]["state"] = "awaiting_result"


def _store_a_result_twice(run: Run) -> None:
    run.received(1, 1.2, "success")


def _end_without_a_word(run: Run) -> None:
    run.events[4]["state"] = "applied"


def _answer_a_repeated_result_differently(run: Run) -> None:
    run.result(1.5, 1, "success", state="recovered")


def _refuse(
    status: int, code: str = "", *, number: int = 4, key: str = "a new key"
) -> Callable[[Run], object]:
    return lambda run: run.receipt(20.0, number, status=status, key=key, code=code)


def _be_in_progress_before_anybody_asked(run: Run) -> None:
    run.result(0.5, 1, "success", status=409, code="idempotency_in_progress")


def _lose_a_receipt_for_its_result(run: Run) -> None:
    run.result(3.0, 4, "success", status=404, code="not_found")


def _lose_a_repair_for_its_result(run: Run) -> None:
    run.result(6.4, 3, "failed", key="another key", replay_id="rpl_3", status=404, code="not_found")


@pytest.mark.parametrize(
    ("bend", "rules"),
    [
        (_forget_the_event, {Rule.LOST_RECEIPT}),
        (_forget_an_event_and_its_result, {Rule.LOST_RECEIPT, Rule.LOST_RESULT}),
        (_answer_a_repeat_with_another_event, {Rule.UNSTABLE_RECEIPT, Rule.LOST_RECEIPT}),
        (_answer_a_repeat_with_another_timeout, {Rule.UNSTABLE_RECEIPT}),
        (_move_the_timeout, {Rule.UNSTABLE_RECEIPT}),
        (_answer_with_the_event_of_another_receipt, {Rule.UNSTABLE_RECEIPT}),
        (_observe_what_nobody_sent, {Rule.UNEXPLAINED_EVENT}),
        (_change_the_reference, {Rule.UNEXPLAINED_EVENT}),
        (_observe_a_receipt_that_was_refused, {Rule.UNEXPLAINED_EVENT}),
        (_observe_a_receipt_twice, {Rule.DOUBLED_RECEIPT}),
        (_lose_a_success, {Rule.LOST_RESULT}),
        (_acknowledge_for_another_event, {Rule.LOST_RESULT}),
        (_leave_a_success_without_effect, {Rule.INEFFECTIVE_RESULT}),
        (_leave_a_repairs_success_without_effect, {Rule.INEFFECTIVE_RESULT, Rule.FALSE_MAIL}),
        (_leave_a_repairs_failure_without_effect, {Rule.INEFFECTIVE_RESULT, Rule.FALSE_MAIL}),
        (_store_a_result_twice, {Rule.UNEXPLAINED_RESULT}),
        (_end_without_a_word, {Rule.UNEXPLAINED_RESULT}),
        (_answer_a_repeated_result_differently, {Rule.UNEQUAL_ANSWERS}),
        (_refuse(503, "unavailable"), {Rule.WRONG_STATUS}),
        (_refuse(500, "internal_error"), {Rule.WRONG_STATUS}),
        (_refuse(422, "validation_error"), {Rule.WRONG_STATUS}),
        (_refuse(409, "receipt_conflict"), {Rule.WRONG_STATUS}),
        (_refuse(409, "idempotency_conflict"), {Rule.WRONG_STATUS}),
        (_refuse(409, "idempotency_in_progress", number=1, key="receipt 1"), {Rule.WRONG_STATUS}),
        (_be_in_progress_before_anybody_asked, {Rule.WRONG_STATUS}),
        (_lose_a_receipt_for_its_result, {Rule.WRONG_STATUS}),
        (_lose_a_repair_for_its_result, {Rule.WRONG_STATUS}),
        (
            lambda run: run.reprocess(20.0, 3, status=409, code="incident_resolved"),
            {Rule.WRONG_STATUS},
        ),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_bent_run_is_caught(bend: Callable[[Run], object], rules: set[Rule]) -> None:
    assert _violated(bend) == rules


def _give_up_a_receipt(run: Run) -> None:
    run.receipt(0.7, 8, status=None)


def _give_up_a_receipt_that_was_stored(run: Run) -> None:
    run.receipt(0.7, 8, timeout=1800.0, status=None)
    run.observe(8, at=0.7, timeout=1800.0, state="waiting")


def _give_up_a_result_that_was_stored(run: Run) -> None:
    run.result(3.0, 4, "success", status=None)
    run.received(4, 3.01, "success")
    run.events[4]["state"] = "applied"


def _fail_while_committing(run: Run) -> None:
    """A 503 whose transaction was committed all the same."""
    run.fault(0.0, 5.0, "kill", "postgres")
    run.result(3.0, 4, "success", status=503)
    run.received(4, 3.01, "success")
    run.events[4]["state"] = "applied"


def _refuse_near_a_fault(run: Run) -> None:
    run.fault(15.0, 18.0, "store_away", "postgres")
    run.receipt(20.0, 4, status=503, key="receipt 4")


def _repeat_under_a_new_key(run: Run) -> None:
    event = run.events[4]
    run.receipt(20.0, 4, key="a new key", timeout_at=event["timeout_at"])


def _conflict_rightly(run: Run) -> None:
    body = run.entry("sent", key="receipt 4").fields["body"] | {"internal_reference": "another"}
    run.say(20.0, "receipt", "a new key", body, status=409, code="receipt_conflict")
    run.say(21.0, "receipt", "receipt 4", body, status=409, code="idempotency_conflict")


def _be_asked_twice_at_once(run: Run) -> None:
    run.receipt(0.51, 4, status=409, code="idempotency_in_progress")


def _report_what_is_not_accepted(run: Run) -> None:
    run.result(0.05, 8, "success", status=404, code="not_found")
    run.result(20.0, 3, "success", replay_id="rpl_9", status=404, code="not_found")
    run.result(20.0, 9, "success", key="of nothing", status=404, code="not_found")


def _acknowledge_after_the_observation(run: Run) -> None:
    run.result(96.0, 4, "success")
    run.result(97.0, 4, "failed", key="another key")


@pytest.mark.parametrize(
    "bend",
    [
        _give_up_a_receipt,
        _give_up_a_receipt_that_was_stored,
        _give_up_a_result_that_was_stored,
        _fail_while_committing,
        _refuse_near_a_fault,
        _repeat_under_a_new_key,
        _conflict_rightly,
        _be_asked_twice_at_once,
        _report_what_is_not_accepted,
        _acknowledge_after_the_observation,
        lambda run: run.reprocess(20.0, 2, status=409, code="incident_resolved"),
    ],
    ids=lambda value: value.__name__,
)
def test_what_is_allowed_is_no_violation(bend: Callable[[Run], object]) -> None:
    assert _violated(bend) == set()


def test_a_violation_names_its_event_and_its_requests() -> None:
    run = a_good_run()
    del run.events[4]

    (violation,) = check(run.history(), signing_secrets=[SECRET]).violations

    assert violation.ids == ("evt_4", "receipt-11")
    assert violation.at == pytest.approx((START + 0.52,))


@pytest.mark.parametrize(
    ("named", "rules"),
    [
        ({"stripe_event_id": "evt_stripe_1", "effect_type": "access_unlock"}, set()),
        ({"provider_event_id": "evt_stripe_1", "effect_type": "access_unlock"}, set()),
        ({"stripe_event_id": "evt_stripe_1"}, set()),
        ({"stripe_event_id": "evt_stripe_1", "effect_type": "credit_grant"}, {Rule.LOST_RESULT}),
        ({"stripe_event_id": "evt_stripe_4"}, {Rule.LOST_RESULT}),
    ],
    ids=["its effect", "provider_event_id", "what is answered", "another effect", "another event"],
)
def test_a_result_may_name_its_event_by_the_providers_id(
    named: dict[str, str], rules: set[Rule]
) -> None:
    run = a_good_run()
    second = copy.deepcopy(run.events[1]) | {
        "event_id": "evt_8",
        "effect_type": "credit_grant",
        "state": "waiting",
    }
    run.events[8] = second | {"timeline": [], "timeout_at": wire(900), "deadline_at": wire(900)}
    run.receipt(0.0, 1, key="another effect", event_id="evt_8", timeout_at=wire(900))
    sent = run.entry("sent", key="another effect")
    sent.fields["body"] |= {"effect_type": "credit_grant"}
    run.entry("sent", endpoint="result").fields["body"] = named | {"status": "success"}

    verdict = check(run.history(), signing_secrets=[SECRET])

    assert {one.rule for one in verdict.violated(Rule.LOST_RESULT)} == rules


def _credit_while_ingest_answers(run: Run) -> None:
    run.events[4]["timeline"].append(
        {"at": wire(5.0), "kind": "deadline_credited", "credited_seconds": 90}
    )


def _harm_another_tenant(run: Run) -> None:
    run.note(90.0, "other_tenant_harmed", what="an odd receipt has no incident")


@pytest.mark.parametrize(
    ("bend", "rule"),
    [
        (_credit_while_ingest_answers, Rule.UNEARNED_CREDIT),
        (_harm_another_tenant, Rule.OTHER_TENANT_HARMED),
    ],
)
def test_harm_of_other_tenants_is_a_violation(bend: Callable[[Run], object], rule: Rule) -> None:
    assert _violated(bend) == {rule}


def test_credit_after_a_time_in_which_ingest_was_silent_is_earned() -> None:
    run = a_good_run()
    for entry in list(run.entries):
        if entry.kind in ("sent", "answered") and 20.0 < entry.at - START < 80.0:
            run.entries.remove(entry)
    run.events[4]["timeline"].append(
        {"at": wire(85.0), "kind": "deadline_credited", "credited_seconds": 60}
    )

    violated = {
        violation.rule for violation in check(run.history(), signing_secrets=[SECRET]).violations
    }

    assert Rule.UNEARNED_CREDIT not in violated
