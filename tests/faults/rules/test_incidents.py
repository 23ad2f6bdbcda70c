"""Incidents: exactly those that had to open, once, never early, and in time."""

from collections.abc import Callable

import pytest

from tests.faults.installation.example_run import SECRET, Run, a_good_run, wire
from tests.faults.rules.checker import check
from tests.faults.rules.incidents import Expectation, expectation
from tests.faults.rules.reading import read
from tests.faults.rules.verdict import Bounds, Rule

NEVER = None


def _violated(bend: Callable[[Run], object]) -> set[Rule]:
    run = a_good_run()
    bend(run)
    return {
        violation.rule for violation in check(run.history(), signing_secrets=[SECRET]).violations
    }


def _order(
    run: Run,
    number: int,
    *,
    deadline: float,
    opened: float | None,
    mailed_at: float | None = None,
    state: str = "incident",
) -> None:
    """A silent order, with its incident and its mail."""
    run.receipt(deadline - 10.0, number, timeout=10.0)
    run.observe(
        number, at=deadline - 10.0, timeout=10.0, state=state if opened is not None else "waiting"
    )
    if opened is not None:
        run.open(number, opened, "missing_result")
        run.mail(opened + 0.2 if mailed_at is None else mailed_at, number, "Incident open")


def _silent_orders(run: Run, count: int, *, opened_after: float, mailed_after: float = 0.2) -> None:
    for number in range(100, 100 + count):
        _order(
            run,
            number,
            deadline=20.0,
            opened=20.0 + opened_after,
            mailed_at=20.0 + opened_after + mailed_after,
        )


@pytest.mark.parametrize(
    ("success", "failure", "expected"),
    [
        (None, None, Expectation.INCIDENT),
        ((15.0, 15.1), None, Expectation.NONE),
        ((15.0, NEVER), None, Expectation.EITHER),
        ((19.9, 20.1), None, Expectation.EITHER),
        ((20.1, 20.2), None, Expectation.EITHER),
        ((29.9, 30.2), None, Expectation.EITHER),
        ((30.1, 30.2), None, Expectation.INCIDENT),
        ((30.1, NEVER), None, Expectation.INCIDENT),
        (None, (15.0, 15.1), Expectation.INCIDENT),
        ((16.0, 16.1), (15.0, 15.1), Expectation.INCIDENT),
        ((15.0, 15.1), (16.0, 16.1), Expectation.NONE),
        ((15.0, 15.2), (15.1, 15.3), Expectation.EITHER),
        ((16.0, 16.1), (15.0, NEVER), Expectation.EITHER),
        (None, (15.0, NEVER), Expectation.INCIDENT),
    ],
)
def test_expectation_follows_from_what_was_sent_and_acknowledged(
    success: tuple[float, float | None] | None,
    failure: tuple[float, float | None] | None,
    expected: Expectation,
) -> None:
    run = a_good_run()
    _order(run, 7, deadline=20.0, opened=None)
    for said, times in (("success", success), ("failed", failure)):
        if times is not None:
            run.result(times[0], 7, said, key=said, status=None if times[1] is None else 202)
            answered = run.entries[-1]
            run.move(answered, times[0] + 0.1 if times[1] is None else times[1])

    record = read(run.history())

    assert expectation(record, record.events["evt_7"], Bounds()) is expected


@pytest.mark.parametrize(
    ("at", "expected"), [(81.0, Expectation.EITHER), (83.0, Expectation.INCIDENT)]
)
def test_near_a_fault_a_late_success_may_come_before_the_incident_until_a_minute_after_the_heal(
    at: float, expected: Expectation
) -> None:
    run = a_good_run()
    run.fault(18.0, 22.0)
    _order(run, 7, deadline=20.0, opened=None)
    run.result(at, 7, "success")

    record = read(run.history())

    assert expectation(record, record.events["evt_7"], Bounds()) is expected


@pytest.mark.parametrize(
    ("deadline", "expected"),
    [(84.0, Expectation.INCIDENT), (93.0, Expectation.EITHER), (200.0, Expectation.EITHER)],
)
def test_deadline_after_the_end_of_the_run_expects_nothing(
    deadline: float, expected: Expectation
) -> None:
    run = a_good_run()
    _order(run, 7, deadline=deadline, opened=None)

    record = read(run.history())

    assert expectation(record, record.events["evt_7"], Bounds()) is expected


def _lose_an_overdue_one(run: Run) -> None:
    _order(run, 7, deadline=20.0, opened=None)


def _lose_a_failed_one(run: Run) -> None:
    run.result(3.0, 4, "failed")
    run.received(4, 3.01, "failed")


def _leave_an_unknown_one_waiting(run: Run) -> None:
    """Its success may or may not have come; that it is neither success nor incident is wrong either
    way.
    """
    _order(run, 7, deadline=20.0, opened=None)
    run.result(15.0, 7, "success", status=None)


def _open_one_that_succeeded(run: Run) -> None:
    run.open(1, 60.1, "missing_result", resolved=61.0)
    run.mail(60.2, 1, "Incident open")
    run.mail(61.2, 1, "Incident resolved")


def _open_for_a_failure_that_nobody_reported(run: Run) -> None:
    _order(run, 7, deadline=20.0, opened=None, state="incident")
    run.events[7]["state"] = "incident"
    run.open(7, 15.0, "failed_result")
    run.mail(15.2, 7, "Incident open")


def _open_twice(run: Run) -> None:
    opened = next(one for one in run.events[3]["timeline"] if one["kind"] == "incident_opened")
    run.events[3]["timeline"].append(opened | {"at": wire(3.0)})


def _answer_another_incident(run: Run) -> None:
    run.entry("answered", request="reprocess-4").fields["body"]["incident_id"] = "inc_9"


def _mail_another_incident(run: Run) -> None:
    mail = run.mail(11.0, 9, "Incident open")
    mail.fields["text"] = mail["text"].replace("evt_9", "evt_2")


def _open_early(run: Run) -> None:
    run.events[2]["incident"]["opened_at"] = wire(10.05)


def _mail_early(run: Run) -> None:
    run.move(run.entry("mail"), 10.05)


def _mail_the_end_before_the_opening(run: Run) -> None:
    run.move(run.entry("mail"), 75.0)


def _hasten_the_deadline(run: Run) -> None:
    run.events[4]["deadline_at"] = wire(1000.0)


@pytest.mark.parametrize(
    ("bend", "rules"),
    [
        (_lose_an_overdue_one, {Rule.MISSING_INCIDENT}),
        (_lose_a_failed_one, {Rule.MISSING_INCIDENT}),
        (_leave_an_unknown_one_waiting, {Rule.MISSING_INCIDENT}),
        (_open_one_that_succeeded, {Rule.FALSE_INCIDENT}),
        (_open_for_a_failure_that_nobody_reported, {Rule.FALSE_INCIDENT}),
        (_open_twice, {Rule.DUPLICATE_INCIDENT}),
        (_answer_another_incident, {Rule.DUPLICATE_INCIDENT}),
        (_mail_another_incident, {Rule.DUPLICATE_INCIDENT, Rule.FALSE_MAIL}),
        (_open_early, {Rule.EARLY_INCIDENT}),
        (_mail_early, {Rule.EARLY_INCIDENT}),
        (_hasten_the_deadline, {Rule.EARLY_INCIDENT}),
        (
            lambda run: _silent_orders(run, 1, opened_after=61.0),
            {Rule.LATE_INCIDENT, Rule.LATE_MAIL},
        ),
        (_mail_the_end_before_the_opening, {Rule.LATE_MAIL}),
        (
            lambda run: _silent_orders(run, 6, opened_after=11.0),
            {Rule.LATE_INCIDENT, Rule.LATE_MAIL},
        ),
        (lambda run: _silent_orders(run, 6, opened_after=1.0, mailed_after=11.0), {Rule.LATE_MAIL}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_bent_run_is_caught(bend: Callable[[Run], object], rules: set[Rule]) -> None:
    assert _violated(bend) == rules


def _race_the_deadline(run: Run) -> None:
    """A success sent before the deadline and answered after it may find an incident, and end it."""
    _order(run, 7, deadline=20.0, opened=20.05, state="recovered")
    run.events[7]["timeline"].pop()
    run.open(7, 20.05, "missing_result", resolved=20.1)
    run.result(19.99, 7, "success")
    run.move(run.entries[-1], 20.2)
    run.received(7, 20.1, "success")
    run.mail(20.4, 7, "Incident resolved")


def _succeed_before_the_incident_opens(run: Run) -> None:
    _order(run, 7, deadline=20.0, opened=None)
    run.events[7]["state"] = "applied"
    run.result(20.5, 7, "success")
    run.received(7, 20.51, "success")


def _credit_an_outage(run: Run) -> None:
    run.receipt(5.0, 7, timeout=20.0)
    run.observe(7, at=5.0, timeout=20.0, state="incident")["deadline_at"] = wire(50.0)
    run.open(7, 50.1, "missing_result")
    run.mail(50.3, 7, "Incident open")


@pytest.mark.parametrize(
    "bend",
    [
        _race_the_deadline,
        _succeed_before_the_incident_opens,
        _credit_an_outage,
        lambda run: _order(run, 7, deadline=90.0, opened=None),
        lambda run: _silent_orders(run, 5, opened_after=9.0),
        # Two late ones beside the two of the good run are too few to say anything of.
        lambda run: _silent_orders(run, 2, opened_after=11.0),
    ],
    ids=["race", "late success", "credit", "ahead", "in time", "few"],
)
def test_what_is_allowed_is_no_violation(bend: Callable[[Run], object]) -> None:
    assert _violated(bend) == set()


@pytest.mark.parametrize(
    ("began", "ended", "opened", "rules"),
    [
        (18.0, 22.0, 81.0, set()),
        (18.0, 22.0, 83.0, {Rule.LATE_INCIDENT, Rule.LATE_MAIL}),
        (21.0, 25.0, 70.0, set()),
        (1.0, 8.0, 67.0, set()),
        (1.0, 4.0, 70.0, {Rule.LATE_INCIDENT, Rule.LATE_MAIL}),
    ],
    ids=["in a fault", "too long after it", "on its eve", "while it settles", "after its settling"],
)
def test_near_a_fault_an_incident_has_until_the_last_heal_and_a_minute(
    began: float, ended: float, opened: float, rules: set[Rule]
) -> None:
    run = a_good_run()
    run.fault(began, ended)
    for number in range(50, 55):
        _order(run, number, deadline=20.0, opened=opened)

    assert {one.rule for one in check(run.history(), signing_secrets=[SECRET]).violations} == rules


def test_the_last_heal_is_that_of_the_faults_that_follow_closely() -> None:
    run = a_good_run()
    run.fault(18.0, 22.0)
    run.fault(30.0, 40.0, "stop", "temporal")
    _order(run, 7, deadline=20.0, opened=84.0)

    verdict = check(run.history(), signing_secrets=[SECRET])

    assert verdict.held
    assert verdict.lateness[1].max == pytest.approx(44.0, abs=0.01)


def test_lateness_without_faults_and_after_faults_is_separate() -> None:
    run = a_good_run()
    run.fault(30.0, 35.0)
    _order(run, 7, deadline=32.0, opened=38.0, mailed_at=39.0)

    calm, healed, whole, calm_mail, healed_mail, _ = check(
        run.history(), signing_secrets=[SECRET]
    ).lateness

    assert (calm.count, healed.count, calm_mail.count, healed_mail.count) == (2, 1, 2, 1)
    assert (healed.max, whole.max, healed_mail.p50) == pytest.approx((3.0, 6.0, 4.0))
    assert calm.max == pytest.approx(0.2, abs=0.001)
