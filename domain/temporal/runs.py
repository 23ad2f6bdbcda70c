"""The condition of a receipt's workflow run in Temporal, and when a stuck run is restarted
automatically.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from domain.ids import EventId, ProjectId

# Delays after the run was found stuck, then after each failed restart. After the last one an
# operator must act.
RESTARTED_AFTER = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1))


class RunCondition(StrEnum):
    """The condition of the run of an open receipt."""

    GOES_ON = "goes_on"  # no task is pending: it waits for a timer or a signal
    TASK_WAITS = "task_waits"  # a task waits for a worker
    TASK_RUNS = "task_runs"  # a worker runs the task now
    TASK_FAILS = "task_fails"  # the same task was tried three times or more
    MISSING = "missing"  # there is no open run


@dataclass(frozen=True, slots=True)
class RunLook:
    """What Temporal says of a run.

    `task_at`: when its task was scheduled, by Temporal's clock; None without a task.
    """

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
    """A run that missed a deadline or a repair.

    `found_at` is None while it is only suspected. `looks` counts the checks since it was suspected
    or found stuck.
    """

    event_id: EventId
    project_id: ProjectId
    suspected_at: datetime
    found_at: datetime | None
    cause: StuckCause | None
    looks: int
    restarts: int
    restarted_at: datetime | None

    def is_restarted_now(self, now: datetime) -> bool:
        """Whether the next automatic restart is due."""
        if self.found_at is None or self.restarts >= len(RESTARTED_AFTER):
            return False
        return now >= (self.restarted_at or self.found_at) + RESTARTED_AFTER[self.restarts]


def restart_command(event_id: EventId) -> str:
    """The command with which an operator restarts one run."""
    return f"makegood receipt restart {event_id}"
