"""Inputs and outputs of the activities. They live in histories: ids and instants only.

No message contains a secret, address, body or signature. An activity loads those by id.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.lifecycle import LifecycleState
from domain.sources.listing import CircleMark

# Types of the errors that end a callback series. They live in histories.
REPAIR_REJECTED = "repair_rejected"
REPAIR_EXHAUSTED = "repair_exhausted"
REPAIR_OVER = "repair_over"
SERIES_ENDS = (REPAIR_REJECTED, REPAIR_EXHAUSTED, REPAIR_OVER)
# Does not end the series: the next attempt follows after `next_retry_delay`.
ATTEMPT_FAILED = "attempt_failed"
# Temporal gives up a run of the callback activity that sends no heartbeat for so long, and starts
# another.
CALLBACK_HEARTBEAT = timedelta(seconds=5)
# The same of a step of a bulk repair, which another worker then takes.
BULK_HEARTBEAT = timedelta(seconds=6)
# The same of a listing, which then goes on after its last stored page.
LISTING_HEARTBEAT = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class ReceiptStatus:
    """The stored state of a receipt.

    `replay_id` is its active repair, `result_deadline_at` that repair's deadline.
    """

    state: LifecycleState
    deadline_at: datetime
    incident_id: str | None = None
    replay_id: str | None = None
    result_deadline_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class LifecycleResult:
    """The result of a lifecycle activity: the state after it.

    `retry_after_ms`: the deadline has not passed; run the activity again after so long.
    `should_alert`: there is an alert to send that the state alone does not show.
    """

    status: ReceiptStatus
    retry_after_ms: int | None = None
    should_alert: bool = False


@dataclass(frozen=True, slots=True)
class ReadStatus:
    event_id: str


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """`result_id` is the result that a signal named; None when the deadline is the reason."""

    event_id: str
    result_id: str | None = None


@dataclass(frozen=True, slots=True)
class SyncState:
    """Load the state after a signal. `result_id` is the result that the signal named, if any."""

    event_id: str
    result_id: str | None = None


@dataclass(frozen=True, slots=True)
class RequestMark:
    """Identifies a `reprocess` signal by its number, from 1, in a series that a reset preserves."""

    series: str
    number: int


@dataclass(frozen=True, slots=True)
class BeginRepair:
    """`replay_id` names a repair that is already stored. `requested_by` is an id, never an address.

    `marks` are the latest numbers of the merged requests. A request that the store has handled is
    not carried out again.
    """

    event_id: str
    replay_id: str | None = None
    requested_by: str | None = None
    marks: tuple[RequestMark, ...] = ()


@dataclass(frozen=True, slots=True)
class FailOverdueRepair:
    event_id: str
    replay_id: str


@dataclass(frozen=True, slots=True)
class NoteDroppedRequest:
    """A reprocess request arrived while the receipt waited, and a success arrived before an
    incident.
    """

    event_id: str
    replay_id: str | None = None


@dataclass(frozen=True, slots=True)
class SendAlerts:
    event_id: str
    incident_id: str


@dataclass(frozen=True, slots=True)
class AlertsSent:
    sent: int
    failed: int


@dataclass(frozen=True, slots=True)
class SendCallback:
    event_id: str
    replay_id: str


@dataclass(frozen=True, slots=True)
class ListSource:
    """List a part of what happened at the provider.

    `complaint` is a flaw that an earlier part of this run found: a `Complaint`, or None. `circle`
    is the mark of the part before; None: there is none.
    """

    source_id: str
    complaint: str | None = None
    circle: CircleMark | None = None


@dataclass(frozen=True, slots=True)
class ListingPart:
    """A part of a listing. `has_more`: the next part follows, after `wait_seconds`.

    `pages` were stored, with `new` events that were not known before. `circle` is for the next part
    of the same span.
    """

    has_more: bool
    wait_seconds: int = 0
    complaint: str | None = None
    pages: int = 0
    new: int = 0
    circle: CircleMark | None = None


@dataclass(frozen=True, slots=True)
class BulkOrder:
    """Take the next step of a bulk repair."""

    bulk_id: str


@dataclass(frozen=True, slots=True)
class BulkStep:
    """A step of a bulk repair. `is_done`: nothing is left to do. Otherwise the next step follows
    after `wait_ms`, or after a signal.
    """

    is_done: bool
    wait_ms: int = 0
    begun: int = 0
    settled: int = 0
