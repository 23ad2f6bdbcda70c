"""What a result means: by the state of its receipt, its contents, and earlier results."""

import pytest

from domain.ids import ReplayId
from domain.lifecycle import LifecycleState, Trigger
from domain.results import LateResult, ResultFacts, ResultStatus, classify_result

ENDING, OTHER = ReplayId("rpl_ending"), ReplayId("rpl_other")
SUCCESS = ResultFacts(ResultStatus.SUCCESS, None, None, None)
FAILED = ResultFacts(ResultStatus.FAILED, None, "job_died", "killed")
ENDS, OPENS = ("applied", "recovered", "closed"), ("open", "calling", "awaiting_result")


def said(
    status: str, replay_id: ReplayId | None = None, error_code: str | None = None
) -> ResultFacts:
    return ResultFacts(ResultStatus(status), replay_id, error_code, None)


def classified(
    what: ResultFacts,
    state: str,
    *,
    active: ReplayId | None = None,
    ended_by: ReplayId | None = None,
    earlier: frozenset[ResultFacts] = frozenset(),
    late_result: str = "resolve",
) -> Trigger:
    return classify_result(
        what,
        state=LifecycleState(state),
        active_replay_id=active,
        ended_by_replay_id=ended_by,
        earlier=earlier,
        late_result=LateResult(late_result),
    )


@pytest.mark.parametrize("late_result", ["resolve", "note"])
def test_success_in_time_is_a_success_whatever_the_project_wants_of_late_ones(
    late_result: str,
) -> None:
    assert classified(SUCCESS, "waiting", late_result=late_result) is Trigger.SUCCESS


@pytest.mark.parametrize("state", OPENS)
def test_late_success_resolves_unless_the_project_only_notes_it(state: str) -> None:
    assert classified(SUCCESS, state) is Trigger.SUCCESS
    assert classified(SUCCESS, state, late_result="note") is Trigger.SUCCESS_TO_NOTE


@pytest.mark.parametrize("late_result", ["resolve", "note"])
@pytest.mark.parametrize("state", OPENS)
@pytest.mark.parametrize("active", [ENDING, OTHER, None], ids=["active", "inactive", "none active"])
def test_success_with_any_replay_of_the_event_ends_it(
    state: str, late_result: str, active: ReplayId | None
) -> None:
    what = classified(said("success", ENDING), state, active=active, late_result=late_result)

    assert what is Trigger.SUCCESS_BY_REPLAY


@pytest.mark.parametrize("state", ["waiting", *OPENS])
def test_failed_without_replay_is_never_the_active_repairs(state: str) -> None:
    assert classified(FAILED, state) is Trigger.FAILED
    assert classified(FAILED, state, active=ENDING) is Trigger.FAILED


@pytest.mark.parametrize("state", ["calling", "awaiting_result"])
def test_failed_with_the_active_replay_fails_the_repair(state: str) -> None:
    assert (
        classified(said("failed", ENDING), state, active=ENDING) is Trigger.FAILED_BY_ACTIVE_REPLAY
    )
    assert classified(said("failed", OTHER), state, active=ENDING) is Trigger.FAILED


def test_repeat_before_the_end_is_judged_like_a_first() -> None:
    assert classified(FAILED, "open", earlier=frozenset({FAILED})) is Trigger.FAILED
    assert (
        classified(SUCCESS, "open", earlier=frozenset({SUCCESS}), late_result="note")
        is Trigger.SUCCESS_TO_NOTE
    )


@pytest.mark.parametrize("state", ENDS)
@pytest.mark.parametrize(
    "what",
    [SUCCESS, FAILED, said("success", OTHER)],
    ids=["success", "failed", "success by replay"],
)
def test_equal_repeat_after_the_end_changes_nothing(state: str, what: ResultFacts) -> None:
    assert classified(what, state, ended_by=ENDING, earlier=frozenset({what})) is Trigger.REPEATED


def test_success_that_ended_it_is_a_repeat_whatever_error_it_names() -> None:
    assert (
        classified(said("success", error_code="ignored"), "applied", earlier=frozenset({SUCCESS}))
        is Trigger.REPEATED
    )
    assert classified(said("success", ENDING), "recovered", ended_by=ENDING) is Trigger.REPEATED
    assert classified(SUCCESS, "recovered", ended_by=None) is Trigger.REPEATED


@pytest.mark.parametrize(
    ("what", "ended_by", "trigger"),
    [
        (said("success", OTHER), ENDING, Trigger.SUCCESS_BY_REPLAY),
        (said("success", OTHER), None, Trigger.SUCCESS_BY_REPLAY),
        (SUCCESS, ENDING, Trigger.SUCCESS),
        (FAILED, ENDING, Trigger.FAILED),
        (said("failed", ENDING), ENDING, Trigger.FAILED),
    ],
    ids=[
        "another replay",
        "replay after a late result",
        "late result after a replay",
        "failed",
        "failed by its own replay",
    ],
)
def test_other_results_after_recovery_have_their_own_triggers(
    what: ResultFacts, ended_by: ReplayId | None, trigger: Trigger
) -> None:
    assert (
        classified(what, "recovered", ended_by=ended_by, earlier=frozenset({said("failed")}))
        is trigger
    )


def test_failed_after_success_is_no_repeat_of_an_other_failure() -> None:
    assert (
        classified(said("failed", None, "other"), "applied", earlier=frozenset({SUCCESS, FAILED}))
        is Trigger.FAILED
    )


def test_failed_after_closing_by_hand_contradicts_only_a_success_that_was_said() -> None:
    assert (
        classified(FAILED, "closed", earlier=frozenset({SUCCESS})) is Trigger.FAILED_AFTER_SUCCESS
    )
    assert (
        classified(said("failed", OTHER), "closed", earlier=frozenset({SUCCESS}))
        is Trigger.FAILED_AFTER_SUCCESS
    )
    assert classified(FAILED, "closed", earlier=frozenset({said("failed")})) is Trigger.FAILED
    assert classified(FAILED, "recovered", earlier=frozenset({SUCCESS})) is Trigger.FAILED


def test_success_after_closing_by_hand_counts_even_if_late_results_are_only_noted() -> None:
    assert classified(SUCCESS, "closed", late_result="note") is Trigger.SUCCESS
    assert classified(said("success", ENDING), "closed") is Trigger.SUCCESS_BY_REPLAY
