"""Renders a receipt for Temporal's UI: Markdown for its current details, and its timeline.

Pure. Contains ids and instants only. Called by `workflows.receipt`.
"""

from collections import deque
from dataclasses import replace

from activities.messages import ReceiptStatus
from domain.lifecycle import LifecycleState
from domain.values.timestamps import to_iso
from workflows.messages import TimelineLine, TimelineQueryResult
from workflows.signals import ParsedReprocess, ParsedResult

MAX_LINES = 100

_DETAILS: dict[LifecycleState, str] = {
    LifecycleState.EXPECTED: "**Expected**: a source saw the event; waiting for its receipt.",
    LifecycleState.WAITING: "**Waiting** for the app's result.",
    LifecycleState.APPLIED: "**Applied**: the app reported success in time.",
    LifecycleState.OPEN: (
        "**Incident open**: the effect is not proven. Repair it (signal `reprocess`) or resolve it."
    ),
    LifecycleState.HELD: "**Repair held**: it begins when no hold matches any more.",
    LifecycleState.CALLING: "**Repairing**: calling the app's repair endpoint.",
    LifecycleState.AWAITING_RESULT: (
        "**Repairing**: the endpoint accepted the callback; waiting for its result."
    ),
    LifecycleState.RECOVERED: "**Recovered**: the app reported success after the incident.",
    LifecycleState.CLOSED: "**Closed** manually.",
}


def describe_state(status: ReceiptStatus) -> str:
    """The current details of a run, in Markdown."""
    lines = [_DETAILS[status.state], "", f"- deadline: `{to_iso(status.deadline_at)}`"]
    if status.incident_id is not None:
        lines.append(f"- incident: `{status.incident_id}`")
    if status.replay_id is not None:
        lines.append(f"- repair: `{status.replay_id}`")
    if status.result_deadline_at is not None:
        lines.append(f"- its result is due: `{to_iso(status.result_deadline_at)}`")
    return "\n".join(lines)


def describe_wait(status: ReceiptStatus) -> str:
    """The summary of the timer to the deadline."""
    what = "Receipt" if status.state is LifecycleState.EXPECTED else "Result"
    return f"{what} due by {to_iso(status.deadline_at)}"


class RunTimeline:
    """The timeline of a run: its latest `MAX_LINES` lines.

    A line that repeats the last one is counted there, so that a flood of signals leaves room for
    others.
    """

    def __init__(self) -> None:
        self._lines: deque[TimelineLine] = deque(maxlen=MAX_LINES)

    def add(self, at: str, text: str) -> None:
        if self._lines and self._lines[-1].text == text:
            self._lines[-1] = replace(self._lines[-1], at=at, times=self._lines[-1].times + 1)
        else:
            self._lines.append(TimelineLine(at, text))

    def query_result(self) -> TimelineQueryResult:
        return TimelineQueryResult(tuple(self._lines))


def describe_result(parsed: ParsedResult) -> str:
    """One line for a `result` signal."""
    if parsed.result_id is None:
        return "signal result"
    repair = f" of repair {parsed.replay_id}" if parsed.replay_id else ""
    status = "success" if parsed.is_success else "failed"
    return f"signal result: {parsed.result_id} ({status}){repair}"


def describe_reprocess(parsed: ParsedReprocess) -> str:
    """One line for a `reprocess` signal."""
    return f"signal reprocess: {parsed.replay_id}" if parsed.replay_id else "signal reprocess"


def with_note(line: str, *, is_whole: bool) -> str:
    """The line, with a note if a payload was not understood.

    The payload itself is never shown: it may contain anything.
    """
    return line if is_whole else f"{line} (its payload was not understood, or only in part)"
