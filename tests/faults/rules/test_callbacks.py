"""Repairs and their callbacks:

signed, explained, in one series each, and none begun after the success.
"""

from collections.abc import Callable

import pytest

from tests.faults.installation.example_run import SECRET, Run, a_good_run, wire
from tests.faults.rules.checker import check
from tests.faults.rules.verdict import Bounds, Rule

OTHER_SECRET = "whsec_YW5vdGhlciBzZWNyZXQgb2YgdGhlIHRlc3RzLi4uLi4="
BOUNDS = Bounds(callback_attempts=3)


def _violated(bend: Callable[[Run], object]) -> set[Rule]:
    run = a_good_run()
    bend(run)
    return {
        violation.rule
        for violation in check(run.history(), signing_secrets=[SECRET], bounds=BOUNDS).violations
    }


def _bend_header(name: str, value: str) -> Callable[[Run], object]:
    return lambda run: run.entry("callback").fields["headers"].update({name: value})


def _sign_with_another_secret(run: Run) -> None:
    run.drop(run.entry("callback"))
    run.callback(12.2, 2, 1, secret=OTHER_SECRET)


def _bend_the_body(run: Run) -> None:
    callback = run.entry("callback")
    callback.fields["body"] = callback["body"].replace("{", "{ ")


def _arrive_long_after_its_timestamp(run: Run) -> None:
    callback = run.entry("callback")
    run.move(callback, -290.0)


def _repeat_a_nonce(run: Run) -> None:
    run.drop(run.entry("callback", 2))
    run.callback(6.2, 3, 2, nonce=run.entry("callback")["headers"]["x-sendpromptly-nonce"])


def _send_other_bytes(run: Run) -> None:
    run.drop(run.entry("callback", 2))
    run.callback(6.2, 3, 2, body='{"incident_id":"inc_3","event_id":"evt_3","replay_id":"rpl_3"}')


def _call_for_nobody(run: Run) -> None:
    run.callback(20.0, 7, 1)


def _call_under_an_id_that_nobody_was_told(run: Run) -> None:
    run.callback(5.6, 9, 1, body='{"incident_id":"inc_3","event_id":"evt_3","replay_id":"rpl_9"}')


def _answer_with_a_repair_that_has_not_begun(run: Run) -> None:
    run.reprocess(11.0, 2)


def _call_about_another_incident(run: Run) -> None:
    run.drop(run.entry("callback"))
    run.callback(12.2, 2, 1, body='{"incident_id":"inc_9","event_id":"evt_2","replay_id":"rpl_2"}')


def _repair_more_often_than_asked(run: Run) -> None:
    run.repair(3, 7.0, [], failed=7.5, name="rpl_9")
    run.mail(8.0, 3, "Repair failed", replay_id="rpl_9")


def _send_an_attempt_again(run: Run) -> None:
    run.callback(5.4, 3, 1)


def _send_an_attempt_again_near_a_fault_of_another(run: Run) -> None:
    run.fault(5.3, 5.35, "kill", "api-1")
    run.callback(5.4, 3, 1)


def _send_an_attempt_again_after_a_fault_long_after_it(run: Run) -> None:
    run.events[2]["incident"] = run.events[2]["incident"] | {
        "state": "resolved",
        "resolved_at": wire(80.0),
    }
    resolved = next(one for one in run.events[2]["timeline"] if one["kind"] == "incident_resolved")
    resolved["at"] = wire(80.0)
    for entry in [one for one in run.entries if one.fields.get("key") == "result 2 rpl_2"]:
        run.move(entry, 79.9)
        run.move(run.entry("answered", request=entry["request"]), 80.1)
    run.fault(60.0, 61.0)
    run.callback(62.0, 2, 1)


def _begin_the_series_again(run: Run) -> None:
    run.fault(5.3, 5.5)
    run.callback(6.4, 3, 1)


def _send_too_many(run: Run) -> None:
    for number in (3, 4):
        run.callback(6.2 + number / 100, 3, number)


def _send_number(number: int) -> Callable[[Run], object]:
    return lambda run: run.callback(6.3, 3, number)


def _call_after_the_success(run: Run) -> None:
    run.callback(16.0, 2, 2)


def _begin_an_attempt_after_the_success(run: Run) -> None:
    run.events[2]["repairs"][0]["attempts"].append({"number": 2, "at": wire(12.6), "status": 202})


def _call_after_the_repair_failed(run: Run) -> None:
    run.callback(9.0, 3, 3)


def _lose_a_reprocess(run: Run) -> None:
    run.reprocess(12.05, 2, replay_id="rpl_9")


def _answer_with_an_ended_repair(run: Run) -> None:
    run.reprocess(8.0, 3)


def _begin_a_second_while_one_is_active(run: Run) -> None:
    run.reprocess(6.0, 3, replay_id="rpl_9")
    run.repair(3, 6.01, [], failed=6.3, name="rpl_9")
    run.mail(6.6, 3, "Repair failed", replay_id="rpl_9")


@pytest.mark.parametrize(
    ("bend", "rules"),
    [
        (_bend_header("x-sendpromptly-signature", "0" * 64), {Rule.BAD_SIGNATURE}),
        (_bend_header("webhook-signature", "v1,AAAA"), {Rule.BAD_SIGNATURE}),
        (_bend_header("webhook-id", "rpl_9"), {Rule.BAD_SIGNATURE}),
        (_bend_header("webhook-timestamp", "1"), {Rule.BAD_SIGNATURE}),
        (_sign_with_another_secret, {Rule.BAD_SIGNATURE}),
        (_bend_the_body, {Rule.BAD_SIGNATURE}),
        (_bend_header("x-sendpromptly-timestamp", ""), {Rule.STALE_CALLBACK, Rule.BAD_SIGNATURE}),
        (_arrive_long_after_its_timestamp, {Rule.STALE_CALLBACK}),
        (_repeat_a_nonce, {Rule.REPEATED_NONCE}),
        (_bend_header("x-sendpromptly-nonce", "short"), {Rule.REPEATED_NONCE, Rule.BAD_SIGNATURE}),
        (_send_other_bytes, {Rule.CHANGED_CALLBACK}),
        (_call_for_nobody, {Rule.UNEXPLAINED_CALLBACK}),
        (_call_under_an_id_that_nobody_was_told, {Rule.UNEXPLAINED_CALLBACK}),
        (_answer_with_a_repair_that_has_not_begun, {Rule.TWO_REPAIRS}),
        (_call_about_another_incident, {Rule.UNEXPLAINED_CALLBACK, Rule.DUPLICATE_INCIDENT}),
        (_repair_more_often_than_asked, {Rule.UNEXPLAINED_CALLBACK}),
        (_send_an_attempt_again, {Rule.CALLBACK_COPY}),
        (_send_an_attempt_again_near_a_fault_of_another, {Rule.CALLBACK_COPY}),
        (_send_an_attempt_again_after_a_fault_long_after_it, {Rule.CALLBACK_COPY}),
        (_begin_the_series_again, {Rule.ATTEMPT_ORDER}),
        (_send_too_many, {Rule.TOO_MANY_ATTEMPTS}),
        (_send_number(4), {Rule.TOO_MANY_ATTEMPTS}),
        (_call_after_the_success, {Rule.CALLBACK_AFTER_SUCCESS, Rule.ATTEMPT_ORDER}),
        (_begin_an_attempt_after_the_success, {Rule.CALLBACK_AFTER_SUCCESS}),
        (_call_after_the_repair_failed, {Rule.ATTEMPT_ORDER}),
        (_lose_a_reprocess, {Rule.LOST_REPROCESS}),
        (_answer_with_an_ended_repair, {Rule.TWO_REPAIRS}),
        (_begin_a_second_while_one_is_active, {Rule.TWO_REPAIRS}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_bent_run_is_caught(bend: Callable[[Run], object], rules: set[Rule]) -> None:
    assert _violated(bend) == rules


def _press_twice(run: Run) -> None:
    run.reprocess(12.005, 2)
    run.reprocess(12.4, 2)


def _be_in_flight(run: Run) -> None:
    run.callback(14.0, 2, 2)


def _be_held_up_by_a_stop(run: Run) -> None:
    run.fault(12.1, 40.0, "stop", "worker-1")
    run.callback(40.1, 2, 1)


def _be_overtaken_by_a_stop(run: Run) -> None:
    """The stopped worker sends its first attempt after the other worker's second one."""
    run.fault(5.1, 6.3, "stop", "worker-1")
    run.callback(6.35, 3, 1)


def _repair_again(run: Run) -> None:
    run.reprocess(20.0, 3, replay_id="rpl_9")
    run.repair(3, 20.01, [], failed=21.0, name="rpl_9")
    run.mail(21.2, 3, "Repair failed", replay_id="rpl_9")


def _repair_though_the_answer_was_lost(run: Run) -> None:
    run.reprocess(20.0, 3, status=None)
    run.repair(3, 20.01, [], failed=21.0, name="rpl_9")
    run.mail(21.2, 3, "Repair failed", replay_id="rpl_9")


@pytest.mark.parametrize(
    "bend",
    [
        _press_twice,
        _be_in_flight,
        _be_held_up_by_a_stop,
        _be_overtaken_by_a_stop,
        _repair_again,
        _repair_though_the_answer_was_lost,
        _send_number(3),
    ],
    ids=lambda value: value.__name__,
)
def test_what_is_allowed_is_no_violation(bend: Callable[[Run], object]) -> None:
    assert _violated(bend) == set()


def test_a_copy_across_a_kill_is_counted_and_allowed() -> None:
    run = a_good_run()
    run.fault(5.3, 5.35)
    run.callback(5.4, 3, 1)

    verdict = check(run.history(), signing_secrets=[OTHER_SECRET, SECRET])

    assert verdict.held
    assert verdict.counts["callbacks that are copies"] == 1
