"""Bulk repairs: states, plan and the decision of the next step.

1. `first` repairs begin. The rest waits until each of them is decided: its result came, or its
   repair failed.
2. `then` more begin at once.
3. The others begin at `per_minute`.
4. A running bulk repair stops itself once `failed` of all decided repairs reach the percentage, but
   not before `first` are decided.

`next_step` decides alone. It does no I/O and reads no clock.
"""

import math
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from domain.ids import BulkId, EventId, IncidentId, ProjectId, ReplayId

MOST_ITEMS = 10_000
# The most that begin in one step, so that a step is short.
BEGUN_AT_ONCE = 20
# While it begins at a pace, a step comes at most this often.
PACED_STEP = timedelta(seconds=2)
# Between two looks at the results, by how long nothing changed.
SHORTEST_LOOK, LONGEST_LOOK = timedelta(seconds=1), timedelta(seconds=15)


class BulkState(StrEnum):
    RUNNING = "running"
    PAUSED = "paused"
    STOPPED = "stopped"
    FINISHED = "finished"
    ABORTED = "aborted"


class ItemState(StrEnum):
    WAITING = "waiting"
    REPAIRING = "repairing"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    SKIPPED = "skipped"


class SkipReason(StrEnum):
    """Why an incident was not repaired by the bulk repair."""

    INCIDENT_RESOLVED = "incident_resolved"
    ALREADY_REPAIRING = "already_repairing"
    SUPERSEDED = "superseded"
    REPAIR_URL_MISSING = "repair_url_missing"
    CLOSED = "closed"
    STOPPED = "stopped"
    NOT_FOUND = "not_found"
    NOT_BEGUN = "not_begun"


BULK_ENDS = frozenset({BulkState.STOPPED, BulkState.FINISHED, BulkState.ABORTED})


@dataclass(frozen=True, slots=True)
class Plan:
    """How fast a bulk repair begins its repairs, and when it stops itself."""

    first: int = 1
    then: int = 5
    per_minute: int = 60
    stop_at_failed_percent: int = 20


@dataclass(frozen=True, slots=True)
class Counts:
    """The items of a bulk repair by state."""

    waiting: int = 0
    repairing: int = 0
    succeeded: int = 0
    failed: int = 0
    skipped: int = 0

    @property
    def decided(self) -> int:
        """The repairs that succeeded or failed."""
        return self.succeeded + self.failed

    @property
    def total(self) -> int:
        return self.waiting + self.repairing + self.decided + self.skipped


@dataclass(frozen=True, slots=True)
class BulkRepair:
    """A stored bulk repair. `begun` counts the repairs that it began.

    `paced_at`: at its pace, no repair begins before. `changed_at`: when an item changed last.
    `stepped_at`: when a worker took its last step.
    """

    id: BulkId
    project_id: ProjectId
    state: BulkState | str
    reason: str
    requested_by: str
    plan: Plan
    include_superseded: bool
    created_at: datetime
    ended_at: datetime | None
    stopped_because: str | None
    begun: int
    paced_at: datetime | None
    changed_at: datetime
    counts: Counts
    stepped_at: datetime | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it begins no repairs any more."""
        return self.state in BULK_ENDS


@dataclass(frozen=True, slots=True)
class BulkItem:
    """One incident of a bulk repair, by its position from 1."""

    position: int
    incident_id: IncidentId
    event_id: EventId
    state: ItemState | str
    replay_id: ReplayId | None
    skipped_because: SkipReason | str | None
    begun_at: datetime | None
    decided_at: datetime | None


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a bulk repair of these incidents would do now; a dry run.

    `matched` are all incidents. `repairable` ones would begin, among them those that are `held`.
    `superseded` ones are open and doubtful. `amounts` are the sums of the repairable ones, by
    currency, in minor units.
    """

    matched: int
    repairable: int
    superseded: int
    held: int
    without_repair_url: int
    amounts: dict[str, int]


@dataclass(frozen=True, slots=True)
class Begin:
    """Begin up to `count` repairs now."""

    count: int


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing begins now: look again after `delay`."""

    delay: timedelta


@dataclass(frozen=True, slots=True)
class Stop:
    """Too many repairs failed."""

    because: str


@dataclass(frozen=True, slots=True)
class Finish:
    """Nothing is waiting, and everything that began is decided."""


@dataclass(frozen=True, slots=True)
class Over:
    """It had ended before, and everything that it began is decided: there is nothing to do."""


Step = Begin | Wait | Stop | Finish | Over


def next_step(bulk: BulkRepair, now: datetime) -> Step:
    """What a bulk repair does at `now`."""
    counts, plan = bulk.counts, bulk.plan
    look = Wait(_look_delay(now - bulk.changed_at))
    if bulk.has_ended:
        return Over() if counts.repairing == 0 else look
    if bulk.state == BulkState.RUNNING and (because := _too_many_failed(plan, counts)):
        return Stop(because)
    if counts.waiting == 0:
        return Finish() if counts.repairing == 0 else look
    if bulk.state != BulkState.RUNNING:
        return look
    if bulk.begun < plan.first:
        return Begin(min(plan.first - bulk.begun, BEGUN_AT_ONCE))
    if bulk.begun == plan.first and counts.repairing > 0:
        return look
    if bulk.begun < plan.first + plan.then:
        return Begin(min(plan.first + plan.then - bulk.begun, BEGUN_AT_ONCE))
    return _paced(bulk, now)


def next_paced_at(bulk: BulkRepair, now: datetime) -> datetime:
    """The earliest instant of the next repair, after one began at `now`.

    A pause or an outage is not made up for by a burst.
    """
    is_paced = bulk.begun >= bulk.plan.first + bulk.plan.then
    begins_at = max(now, bulk.paced_at or now) if is_paced else now
    return begins_at + _interval(bulk.plan)


def _paced(bulk: BulkRepair, now: datetime) -> Step:
    """As many as the pace allows, in steps of two seconds."""
    due_at = bulk.paced_at or now
    if due_at > now:
        return Wait(max(due_at - now, PACED_STEP))
    per_step = math.ceil(bulk.plan.per_minute * PACED_STEP / timedelta(minutes=1))
    return Begin(min(max(per_step, 1), BEGUN_AT_ONCE))


def _interval(plan: Plan) -> timedelta:
    return timedelta(minutes=1) / plan.per_minute


def _too_many_failed(plan: Plan, counts: Counts) -> str | None:
    """Why it stops itself; None if it goes on."""
    if counts.decided < plan.first or counts.failed == 0:
        return None
    if counts.failed * 100 < plan.stop_at_failed_percent * counts.decided:
        return None
    percent = counts.failed * 100 // counts.decided
    return (
        f"{counts.failed} of {counts.decided} decided repairs failed ({percent} %). It stops at"
        f" {plan.stop_at_failed_percent} %."
    )


def _look_delay(unchanged: timedelta) -> timedelta:
    return min(max(unchanged / 4, SHORTEST_LOOK), LONGEST_LOOK)
