"""What Temporal's UI shows of a receipt: Markdown for its current details, and a line for each thing that happens.

Pure text from values; ids and instants only. Called by `workflows.receipt`.
"""

from activities.messages import Standing
from domain.instants import wire
from domain.lifecycle import Position
from domain.results import ResultStatus
from workflows.messages import ExpireSignal, ReprocessSignal, ResolveSignal, ResultSignal

Told = ResultSignal | ResolveSignal | ExpireSignal

_STORY: dict[Position, str] = {
    Position.WAITING: "**Waiting** for the app's result.",
    Position.APPLIED: "**Applied**: the app reported success in time.",
    Position.OPEN: "**Incident open**: the effect is not proven. Signal `reprocess` to repair, or resolve it in the console.",
    Position.CALLING: "**Repairing**: calling the app's repair endpoint.",
    Position.AWAITING_RESULT: "**Repairing**: the endpoint took the callback; waiting for its result.",
    Position.RECOVERED: "**Recovered**: the app reported success after the incident.",
    Position.CLOSED: "**Closed** by hand.",
}


def describe_standing(standing: Standing) -> str:
    """The current details of a run, in Markdown."""
    lines = [_STORY[standing.position], "", f"- deadline: `{wire(standing.deadline_at)}`"]
    if standing.incident_id is not None:
        lines.append(f"- incident: `{standing.incident_id}`")
    if standing.replay_id is not None:
        lines.append(f"- repair: `{standing.replay_id}`")
    if standing.result_deadline_at is not None:
        lines.append(f"- its result is due: `{wire(standing.result_deadline_at)}`")
    return "\n".join(lines)


def describe_told(told: Told | ReprocessSignal) -> str:
    """One line for a signal."""
    match told:
        case ResultSignal():
            repair = f" of repair {told.replay_id}" if told.replay_id else ""
            what = "success" if told.status is ResultStatus.SUCCESS else "failed"
            return f"told: result {told.result_id} ({what}){repair}"
        case ReprocessSignal():
            return f"told: reprocess {told.replay_id}" if told.replay_id else "told: reprocess"
        case ResolveSignal():
            return "told: resolve"
        case ExpireSignal():
            return "told: expire"
