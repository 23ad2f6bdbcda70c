"""What Temporal's UI shows of a receipt: Markdown for its current details, and a line for each thing that happens.

Pure text from values; ids and instants only. Called by `workflows.receipt`.
"""

from collections import deque
from dataclasses import replace

from activities.messages import Standing
from domain.lifecycle import LifecycleState
from domain.values.timestamps import to_iso
from workflows.messages import TimelineAnswer, TimelineLine
from workflows.signals import Reprocess, Result

LINES_KEPT = 100

_STORY: dict[LifecycleState, str] = {
    LifecycleState.WAITING: "**Waiting** for the app's result.",
    LifecycleState.APPLIED: "**Applied**: the app reported success in time.",
    LifecycleState.OPEN: (
        "**Incident open**: the effect is not proven. Signal `reprocess` to repair, or resolve it in the console."
    ),
    LifecycleState.CALLING: "**Repairing**: calling the app's repair endpoint.",
    LifecycleState.AWAITING_RESULT: "**Repairing**: the endpoint took the callback; waiting for its result.",
    LifecycleState.RECOVERED: "**Recovered**: the app reported success after the incident.",
    LifecycleState.CLOSED: "**Closed** by hand.",
}


def describe_state(standing: Standing) -> str:
    """The current details of a run, in Markdown."""
    lines = [_STORY[standing.position], "", f"- deadline: `{to_iso(standing.deadline_at)}`"]
    if standing.incident_id is not None:
        lines.append(f"- incident: `{standing.incident_id}`")
    if standing.replay_id is not None:
        lines.append(f"- repair: `{standing.replay_id}`")
    if standing.result_deadline_at is not None:
        lines.append(f"- its result is due: `{to_iso(standing.result_deadline_at)}`")
    return "\n".join(lines)


class Lines:
    """The timeline of a run. A line that repeats the last one is counted there, so that a flood leaves room for the others."""

    def __init__(self) -> None:
        self._lines: deque[TimelineLine] = deque(maxlen=LINES_KEPT)

    def add(self, at: str, text: str) -> None:
        if self._lines and self._lines[-1].text == text:
            self._lines[-1] = replace(self._lines[-1], at=at, times=self._lines[-1].times + 1)
        else:
            self._lines.append(TimelineLine(at, text))

    def answer(self) -> TimelineAnswer:
        return TimelineAnswer(tuple(self._lines))


def describe_result(heard: Result) -> str:
    """One line for a `result` signal."""
    if heard.result_id is None:
        return "signal result"
    repair = f" of repair {heard.replay_id}" if heard.replay_id else ""
    return f"signal result: {heard.result_id} ({'success' if heard.is_success else 'failed'}){repair}"


def describe_reprocess(heard: Reprocess) -> str:
    """One line for a `reprocess` signal."""
    return f"signal reprocess: {heard.replay_id}" if heard.replay_id else "signal reprocess"


def with_note(line: str, *, is_whole: bool) -> str:
    """The line, saying so when a payload was not understood. Never the payload: it may hold anything."""
    return line if is_whole else f"{line} (its payload was not understood, or only in part)"
