"""What Temporal says of the run of a receipt, and when a run that cannot go on is restarted without being asked."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from domain.ids import EventId, ProjectId

# After it was found; then after each restart in vain. After the last one it is left to an operator.
RESTARTED_AFTER = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1))


class RunCondition(StrEnum):
    """How the run of a receipt that has not ended is doing."""

    GOES_ON = "goes_on"  # it has no task, so that it waits for something
    TASK_WAITS = "task_waits"  # for a worker that takes it
    TASK_RUNS = "task_runs"  # a worker is at it just now
    TASK_FAILS = "task_fails"  # the same task was tried three times or more
    MISSING = "missing"  # there is no open run


@dataclass(frozen=True, slots=True)
class RunLook:
    """What Temporal says of a run. `task_at`: when its task was scheduled, by Temporal's clock; None without a task."""

    condition: RunCondition
    task_at: datetime | None = None


class StuckCause(StrEnum):
    """Why a run cannot go on."""

    TASK_FAILS = "task_fails"
    TASK_NOT_TAKEN = "task_not_taken"
    NOT_STARTED = "not_started"


CAUSE_TEXTS = {
    StuckCause.TASK_FAILS: "its workflow task keeps failing",
    StuckCause.TASK_NOT_TAKEN: "no worker takes its workflow task",
    StuckCause.NOT_STARTED: "Temporal does not start it",
}


@dataclass(frozen=True, slots=True)
class StuckRun:
    """A run that missed something. `found_at` None: only suspected. `looks` counts since it was suspected or found."""

    event_id: EventId
    project_id: ProjectId
    suspected_at: datetime
    found_at: datetime | None
    cause: StuckCause | None
    looks: int
    restarts: int
    restarted_at: datetime | None

    def is_restarted_now(self, now: datetime) -> bool:
        """Whether the next restart that nobody asked for is due; a repair waits for it."""
        if self.found_at is None or self.restarts >= len(RESTARTED_AFTER):
            return False
        return now >= (self.restarted_at or self.found_at) + RESTARTED_AFTER[self.restarts]


def restart_command(event_id: EventId) -> str:
    """What an operator runs to restart one run."""
    return f"makegood receipt restart {event_id}"
