"""The panel of an incident shows the present: the latest failure, the next call, what answered."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from api.console.ui.event.long_text import clamped
from api.console.ui.event.panel import IncidentPanel, incident_panel
from domain.ids import ReplayId
from domain.incidents import (
    Attempt,
    AttemptState,
    Incident,
    IncidentState,
    Reason,
    Repair,
    RepairCause,
    RepairState,
    Resolution,
    TimelineEntry,
    TimelineKind,
)
from store.receipts.rows.failures import Failure
from tests.console.ui.test_timeline import INCIDENT, repair

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ACTIVE = ReplayId("rpl_0193f1c2d3e47a8b9c0d1e2f3a4b5c6d")
OPEN = replace(
    INCIDENT, reason=Reason.FAILED_RESULT, error_code="card_declined", error_message="No money."
)
REPAIRING = replace(OPEN, state=IncidentState.REPAIRING)


def failed_with(code: str, message: str = "") -> Failure:
    return Failure(code, message or None, NOW - timedelta(minutes=4), "req_1")


def ended(number: int, status: int, **changes: object) -> Attempt:
    attempt = Attempt(number, NOW, AttemptState.FINISHED, status, 31, None)
    return replace(attempt, **changes)  # type: ignore[arg-type]  # the table's own values


def panel_of(
    incident: Incident,
    *repairs: Repair,
    latest: Failure | None = None,
    timeline: tuple[TimelineEntry, ...] = (),
    stopped_part: str = "",
) -> IncidentPanel:
    return incident_panel(
        incident,
        repairs,
        timeline,
        latest=latest,
        attempts_of_series=5,
        stopped_part=stopped_part,
        now=NOW,
    )


def calling(*attempts: Attempt) -> Repair:
    return replace(repair(RepairState.CALLING), replay_id=ACTIVE, attempts=attempts)


def test_open_incident_says_what_happened_and_what_to_do() -> None:
    panel = panel_of(OPEN, latest=failed_with("card_declined", "No money."))

    assert panel.title == "The app reported a failure"
    assert panel.text == (
        "Your app accepted the event, then reported a failure."
        " Fix the cause, then reprocess, or resolve manually."
    )
    assert panel.error is not None
    assert (panel.error.code, panel.error.request_id) == ("card_declined", "req_1")
    assert panel.first_error == ""


def test_latest_failure_comes_before_the_first_one() -> None:
    failed = replace(
        repair(RepairState.FAILED), cause=RepairCause.FAILED_RESULT, attempts=(ended(1, 202),)
    )

    panel = panel_of(OPEN, failed, latest=failed_with("seat_limit_reached"))

    assert panel.error is not None
    assert panel.error.code == "seat_limit_reached"
    assert (panel.title, panel.first_error) == ("Repair failed", "card_declined: No money.")
    assert panel.text.startswith("The app reported that the repair failed. Fix the cause")


def test_exhausted_repair_shows_its_attempts_and_the_last_answer() -> None:
    attempts = tuple(ended(number, 500, answer_excerpt=f"trace {number}") for number in (1, 2, 3))
    failed = replace(repair(RepairState.FAILED), cause=RepairCause.EXHAUSTED, attempts=attempts)

    panel = panel_of(OPEN, failed)

    assert panel.text.startswith("All 3 attempts failed (last: HTTP 500). ")
    assert panel.answer == "trace 3"


@pytest.mark.parametrize(
    ("attempts", "text"),
    [
        ((), "Attempt 1 of 5 is about to start."),
        (
            (Attempt(1, NOW, AttemptState.STARTED, None, None, None),),
            "Attempt 1 of 5 is under way.",
        ),
        (
            (ended(1, 503, next_attempt_at=NOW + timedelta(seconds=43)),),
            "Attempt 2 of 5 in 43 s. The last one was answered with HTTP 503.",
        ),
        (
            (ended(1, 503, next_attempt_at=NOW - timedelta(seconds=1)),),
            "Attempt 2 of 5 is due now. The last one was answered with HTTP 503.",
        ),
        ((ended(1, 503),), "Attempt 2 of 5 follows on a schedule."),
    ],
    ids=["none yet", "under way", "waits", "due", "of an earlier version"],
)
def test_repair_says_which_attempt_is_next_and_when(
    attempts: tuple[Attempt, ...], text: str
) -> None:
    assert panel_of(REPAIRING, calling(*attempts)).text == text


def test_nothing_is_called_while_no_worker_runs() -> None:
    waits = ended(1, 503, next_attempt_at=NOW + timedelta(seconds=43))

    panel = panel_of(REPAIRING, calling(waits), stopped_part="No worker is running.")

    assert panel.text.startswith("No worker is running. The repair endpoint is not being called.")
    assert panel.due_at is None


def test_accepted_call_shows_the_deadline_of_the_result() -> None:
    waiting = replace(
        repair(RepairState.AWAITING_RESULT),
        replay_id=ACTIVE,
        result_deadline_at=NOW + timedelta(minutes=18),
        attempts=(ended(1, 202, answer_excerpt="queued"),),
    )

    panel = panel_of(REPAIRING, waiting)

    assert panel.text == (
        "Endpoint accepted the call (202). Waiting for the result until 12:18:00 UTC (18 min left)."
    )
    assert panel.answer == "", "an accepted call needs no look at its answer"


def test_held_repair_says_what_it_waits_for() -> None:
    held = replace(repair(RepairState.HELD), replay_id=ACTIVE)

    panel = panel_of(REPAIRING, held, stopped_part="No worker is running.")

    assert panel.text == "A hold matches this incident. The repair begins when the hold ends."
    assert (panel.title, panel.due_at) == ("Repairing", None)


@pytest.mark.parametrize(
    ("resolution", "title", "text"),
    [
        (
            Resolution.REPAIRED,
            "Resolved (repaired)",
            "The repair worked: the app reported success.",
        ),
        (Resolution.MANUAL, "Resolved (manually)", "Reason: “Refunded, ticket 4711”"),
    ],
)
def test_resolved_incident_says_how(resolution: Resolution, title: str, text: str) -> None:
    resolved = replace(OPEN, state=IncidentState.RESOLVED, resolution=resolution)
    entry = TimelineEntry(NOW, TimelineKind.INCIDENT_RESOLVED, {"reason": "Refunded, ticket 4711"})

    panel = panel_of(resolved, timeline=(entry,))

    assert (panel.title, panel.text) == (title, text)


@pytest.mark.parametrize(
    ("text", "head"),
    [
        ("one line", "one line"),
        ("\n".join("abcdef"), "\n".join("abcdef")),
        ("\n".join("abcdefg"), "\n".join("abcdef") + "…"),
        ("x" * 481, "x" * 480 + "…"),
        ("", ""),
    ],
    ids=["short", "six lines", "seven lines", "long line", "empty"],
)
def test_long_text_is_clamped_to_its_beginning(text: str, head: str) -> None:
    assert clamped(text) == head
