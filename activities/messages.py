"""What goes into and comes out of the activities: ids and instants only, since operators read histories.

No secret, address, body or signature is ever in a message; an activity reads those from the store by id.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.lifecycle import LifecycleState

# Types of the errors that end a callback series; they live in histories.
REPAIR_REJECTED = "repair_rejected"
REPAIR_EXHAUSTED = "repair_exhausted"
REPAIR_OVER = "repair_over"
# Not the end: the next attempt follows after `next_retry_delay`.
ATTEMPT_FAILED = "attempt_failed"
# A run of the callback's activity that was silent for so long is given up by the engine, and followed by another.
CALLBACK_HEARTBEAT = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the store says that a receipt stands; `replay_id` is its active repair, `result_deadline_at` that one's deadline."""

    position: LifecycleState
    deadline_at: datetime
    incident_id: str | None = None
    replay_id: str | None = None
    result_deadline_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """What a ledger activity found or made. `wait_ms`: the deadline that was asked for is still that far ahead.

    `has_news`: people are to be told something that was not there before.
    """

    standing: Standing
    wait_ms: int | None = None
    has_news: bool = False


@dataclass(frozen=True, slots=True)
class ReadStanding:
    event_id: str


@dataclass(frozen=True, slots=True)
class OpenIncident:
    """`result_id` is the result that a signal named, None when the deadline is the reason to ask."""

    event_id: str
    result_id: str | None = None


@dataclass(frozen=True, slots=True)
class Heed:
    """A signal that may have moved the receipt; `result_id` is None unless it named one."""

    event_id: str
    result_id: str | None = None


@dataclass(frozen=True, slots=True)
class RequestMark:
    """The place of a `reprocess` signal: its number, from 1, in a series that a reset of the run preserves."""

    series: str
    number: int


@dataclass(frozen=True, slots=True)
class BeginRepair:
    """`replay_id` names a repair that the store has already. `requested_by` is an id, never an address.

    `marks` are the latest places of the requests that this one stands for: what the store has seen is not carried out again.
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
    """A reprocess request came while the receipt waited, and its success came before an incident."""

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
