"""One word for each state, and the cause of a failed repair with its last answer."""

import pytest

from domain.incidents import IncidentState, Reason, RepairCause, RepairState, Resolution
from domain.receipts import ReceiptState
from domain.retries import ErrorClass
from domain.wording import states


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ([*ReceiptState, *IncidentState, *RepairState], states.STATES),
        (Resolution, states.RESOLVED),
        (Resolution, states.RESOLUTIONS),
        (Reason, states.REASONS),
        (Reason, states.SHORT_REASONS),
        (RepairCause, states.CAUSES),
        (ErrorClass, states.ERROR_CLASSES),
    ],
    ids=["states", "resolved", "resolutions", "reasons", "short", "causes", "errors"],
)
def test_every_member_has_its_words(members: list[str], words: dict[str, str]) -> None:
    assert set(members) == set(words)
    assert not [text for text in words.values() if "_" in text]


@pytest.mark.parametrize(
    ("state", "resolution", "label"),
    [
        ("open", None, "Open"),
        ("resolved", "repaired", "Resolved (repaired)"),
        ("recovered", "late_result", "Resolved (late result)"),
        ("recovered", None, "Resolved"),
        ("closed", "manual", "Resolved (manually)"),
        ("closed", None, "Resolved (manually)"),
        ("succeeded", None, "Resolved (repaired)"),
        ("resolved", "by_magic", "Resolved (by magic)"),
        ("of_later", None, "Of later"),
    ],
)
def test_a_state_has_one_word_wherever_it_is_shown(
    state: str, resolution: str | None, label: str
) -> None:
    assert states.state_label(state, resolution) == label


@pytest.mark.parametrize(
    ("cause", "attempts", "status", "error", "text"),
    [
        ("exhausted", 3, 500, None, "All 3 attempts failed (last: HTTP 500)"),
        ("exhausted", 1, 500, None, "The only attempt failed (HTTP 500)"),
        ("exhausted", 5, None, "timeout", "All 5 attempts failed (last: timed out)"),
        ("exhausted", 5, None, None, "All 5 attempts failed"),
        ("exhausted", 0, None, None, "All calls to the repair endpoint failed"),
        ("rejected", 1, 404, None, "The repair endpoint rejected the call (HTTP 404)"),
        ("no_result", 1, 202, None, "Accepted, but no result before the deadline"),
        ("of_later", 1, 202, None, "Of later"),
    ],
)
def test_cause_names_the_calls_and_the_last_answer(
    cause: str, attempts: int, status: int | None, error: str | None, text: str
) -> None:
    words = states.repair_cause(cause, attempts=attempts, status=status, error_class=error)

    assert words == text
