"""Mail: none is missing, none is false, and none comes twice unless a fault came in between."""

from collections.abc import Callable

import pytest

from tests.faults.installation.example_run import SECRET, Run, a_good_run
from tests.faults.rules.checker import check
from tests.faults.rules.verdict import Rule


def _violated(bend: Callable[[Run], object]) -> set[Rule]:
    run = a_good_run()
    bend(run)
    return {
        violation.rule for violation in check(run.history(), signing_secrets=[SECRET]).violations
    }


def _drop_mail(title: str) -> Callable[[Run], object]:
    return lambda run: run.drop(
        next(one for one in run.entries if one.kind == "mail" and title in one["text"])
    )


def _mail_about_an_unknown_incident(run: Run) -> None:
    run.mail(20.0, 9, "Incident open")


def _mail_with_an_unknown_subject(run: Run) -> None:
    run.mail(20.0, 2, "Something else")


def _mail_the_incident_of_another_event(run: Run) -> None:
    mail = run.entry("mail")
    mail.fields["text"] = mail["text"].replace("/evt_2", "/evt_1")


def _mail_an_end_that_did_not_come(run: Run) -> None:
    run.mail(20.0, 3, "Incident resolved")


def _mail_a_failure_that_did_not_come(run: Run) -> None:
    run.mail(20.0, 2, "Repair failed", replay_id="rpl_2")


def _send_again(at: float) -> Callable[[Run], object]:
    return lambda run: run.mail(at, 2, "Incident open")


def _send_again_across(
    kind: str, target: str, *, began: float = 10.7, ended: float = 12.0
) -> Callable[[Run], object]:
    def bend(run: Run) -> None:
        run.fault(began, ended, kind, target)
        run.mail(41.0, 2, "Incident open")

    return bend


def _send_under_another_id(run: Run) -> None:
    run.mail(20.0, 2, "Incident open", message_id="<another@example.com>")


def _send_two_under_one_id(run: Run) -> None:
    run.fault(10.7, 12.0)
    for mail in (one for one in run.entries if one.kind == "mail" and "inc_2" in one["text"]):
        mail.fields["message_id"] = "<one@example.com>"


def _send_without_an_id(run: Run) -> None:
    run.entry("mail").fields["message_id"] = None


@pytest.mark.parametrize(
    ("bend", "rules"),
    [
        (_drop_mail("Incident open"), {Rule.MISSING_MAIL}),
        (_drop_mail("Repair failed"), {Rule.MISSING_MAIL}),
        (_drop_mail("Incident resolved"), {Rule.MISSING_MAIL}),
        (_mail_about_an_unknown_incident, {Rule.FALSE_MAIL}),
        (_mail_with_an_unknown_subject, {Rule.FALSE_MAIL}),
        (_mail_the_incident_of_another_event, {Rule.FALSE_MAIL}),
        (_mail_an_end_that_did_not_come, {Rule.FALSE_MAIL}),
        (_mail_a_failure_that_did_not_come, {Rule.FALSE_MAIL}),
        (_send_again(20.0), {Rule.MAIL_COPY}),
        (_send_again_across("kill", "api-1"), {Rule.MAIL_COPY}),
        (_send_again_across("mail_refuses", "mail"), {Rule.MAIL_COPY}),
        (_send_again_across("kill", "worker-1", began=1.0, ended=5.0), {Rule.MAIL_COPY}),
        (_send_again_across("kill", "worker-1", began=42.0, ended=43.0), {Rule.MAIL_COPY}),
        (_send_again_across("kill", "worker-1", began=35.0, ended=36.0), {Rule.MAIL_COPY}),
        (_send_under_another_id, {Rule.MAIL_IDENTITY}),
        (_send_two_under_one_id, {Rule.MAIL_IDENTITY}),
        (_send_without_an_id, {Rule.MAIL_IDENTITY}),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_a_bent_run_is_caught(bend: Callable[[Run], object], rules: set[Rule]) -> None:
    assert _violated(bend) == rules


@pytest.mark.parametrize(
    ("kind", "target"),
    [
        ("kill", "worker-1"),
        ("stop", "worker-2"),
        ("kill", "postgres"),
        ("store_away", "store"),
        ("disk_full", "store"),
        ("mail_hangs", "mail"),
    ],
)
def test_a_copy_across_such_a_fault_is_counted_and_allowed(kind: str, target: str) -> None:
    run = a_good_run()
    _send_again_across(kind, target)(run)

    verdict = check(run.history(), signing_secrets=[SECRET])

    assert verdict.held
    assert verdict.counts["mails that are copies"] == 1


def test_a_third_copy_needs_a_fault_of_its_own() -> None:
    run = a_good_run()
    _send_again_across("kill", "worker-1")(run)
    run.mail(71.0, 2, "Incident open")

    (violation,) = check(run.history(), signing_secrets=[SECRET]).violations

    assert violation.rule is Rule.MAIL_COPY


@pytest.mark.parametrize("cause", ["superseded", "closed"])
def test_repair_that_another_end_overtook_needs_no_mail(cause: str) -> None:
    run = a_good_run()
    run.events[3]["repairs"][0]["cause"] = cause
    _drop_mail("Repair failed")(run)

    assert check(run.history(), signing_secrets=[SECRET]).held
