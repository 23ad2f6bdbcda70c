"""Names, inputs, signals and query results of the `receipt` workflow. They live in histories.

Ids, instants and finite sets only, because operators read histories. Sent by
`worker.temporal.workflow_client`, and by people in Temporal's UI and CLI.
"""

from dataclasses import dataclass
from datetime import datetime

from activities.messages import RequestMark
from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.results import ResultStatus

TASK_QUEUE = "makegood"
RECEIPT_WORKFLOW = "receipt"


def workflow_id(event_id: EventId) -> str:
    """The id of a receipt's workflow. It never changes."""
    return f"receipt-{event_id}"


@dataclass(frozen=True, slots=True)
class ReprocessSignal:
    """A person requests a repair. Without a `replay_id`, the store has not created it yet."""

    replay_id: str | None = None
    requested_by: str | None = None


@dataclass(frozen=True, slots=True)
class ResultSignal:
    """A result is stored. `replay_id` is the repair that it reports."""

    result_id: str
    status: ResultStatus
    replay_id: str | None = None


@dataclass(frozen=True, slots=True)
class ResolveSignal:
    """A manual resolution is stored."""

    requested_by: str | None = None


@dataclass(frozen=True, slots=True)
class ExpireSignal:
    """Check the store: the deadline may have moved to now, or this run may have missed it."""

    requested_by: str | None = None


@dataclass(frozen=True, slots=True)
class ReprocessRequest:
    """Reprocess signals without a `replay_id`, several as one.

    `marks` are their numbers, which the store remembers. `requested_by` is the first id that a
    signal named.
    """

    requested_by: str | None
    marks: tuple[RequestMark, ...]


@dataclass(frozen=True, slots=True)
class ReceiptInput:
    """The input of a run.

    `resume`: an earlier run was lost or continued as new, so the run begins by loading the stored
    state. `unregistered` are the search attributes that the namespace did not have when the run was
    started. The run writes none of them. `request` and `counted` are set when a run continues as
    new: a request that it has not handled, and the last number of each series (see
    `workflows.inbox`). `expected`: a source saw the event, and its receipt has not come. The store
    knows everything else.
    """

    event_id: str
    project_id: str
    deadline_at: datetime
    resume: bool = False
    unregistered: tuple[str, ...] = ()
    request: ReprocessRequest | None = None
    counted: tuple[RequestMark, ...] = ()
    expected: bool = False


@dataclass(frozen=True, slots=True)
class ReceiptEnded:
    """The result of a run. `position` is its final state."""

    event_id: str
    position: LifecycleState


@dataclass(frozen=True, slots=True)
class StateQueryResult:
    """The state of this run. The store is the source of truth.

    `position` is the lifecycle state. Instants are written as the contract writes them.
    """

    position: LifecycleState
    deadline_at: str
    incident_id: str | None
    replay_id: str | None
    result_deadline_at: str | None


@dataclass(frozen=True, slots=True)
class TimelineLine:
    """One line of a run's timeline. `at` is written as the contract writes instants.

    A line that occurs `times` in a row is kept once, with the latest instant.
    """

    at: str
    text: str
    times: int = 1


@dataclass(frozen=True, slots=True)
class TimelineQueryResult:
    """The signals and steps of this run, the latest last. The store has the complete timeline."""

    lines: tuple[TimelineLine, ...]
