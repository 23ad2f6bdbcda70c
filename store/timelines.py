"""An event's timeline: the stored entries, and those that the receipt, its results and its attempts tell by themselves.

The front door writes no timeline row: what it has accepted stands in the receipt's and the result's own rows.
"""

from collections.abc import Iterable, Sequence

from domain.incidents import Attempt, Repair, TimelineEntry, TimelineKind
from domain.instants import wire
from domain.receipts import Receipt
from domain.results import Result

# For entries of the same millisecond: what follows from another comes after it.
_ORDER = (
    TimelineKind.RECEIPT_ACCEPTED,
    TimelineKind.DEADLINE_CREDITED,
    TimelineKind.DEADLINE_PASSED,
    TimelineKind.RESULT_RECEIVED,
    TimelineKind.INCIDENT_OPENED,
    TimelineKind.ALERT_SENT,
    TimelineKind.ALERT_FAILED,
    TimelineKind.INCIDENT_ACKNOWLEDGED,
    TimelineKind.REPROCESS_REQUESTED,
    TimelineKind.ATTEMPT,
    TimelineKind.REPAIR_FAILED,
    TimelineKind.INCIDENT_RESOLVED,
    TimelineKind.NOTED,
    TimelineKind.FLAGGED,
)
_RANK = {kind: rank for rank, kind in enumerate(_ORDER)}


def merged_timeline(
    receipt: Receipt, results: Iterable[Result], repairs: Iterable[Repair], stored: Iterable[TimelineEntry]
) -> tuple[TimelineEntry, ...]:
    """The whole timeline, oldest first; `stored` in the order of writing, which is kept."""
    attempts = (_attempt(repair, attempt) for repair in repairs for attempt in repair.attempts)
    entries: Sequence[TimelineEntry] = [_accepted(receipt), *map(_received, results), *attempts, *stored]
    return tuple(sorted(entries, key=lambda entry: (entry.at, _RANK[entry.kind])))


def _accepted(receipt: Receipt) -> TimelineEntry:
    fields: dict[str, object] = {"timeout_at": wire(receipt.timeout_at), "request_id": receipt.request_id}
    return TimelineEntry(receipt.accepted_at, TimelineKind.RECEIPT_ACCEPTED, fields)


def _received(result: Result) -> TimelineEntry:
    said = result.said
    fields: dict[str, object] = {"status": said.status.value}
    told = {"replay_id": said.replay_id, "error_code": said.error_code, "error_message": said.error_message}
    fields |= {name: value for name, value in told.items() if value is not None}
    return TimelineEntry(result.received_at, TimelineKind.RESULT_RECEIVED, fields)


def _attempt(repair: Repair, attempt: Attempt) -> TimelineEntry:
    fields: dict[str, object] = {
        "replay_id": repair.replay_id,
        "number": attempt.number,
        "status": attempt.status,
        "duration_ms": attempt.duration_ms,
        "error_class": attempt.error_class,
    }
    return TimelineEntry(attempt.at, TimelineKind.ATTEMPT, fields)
