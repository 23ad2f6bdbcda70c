"""An event's timeline: the stored entries, and those that the receipt, its results and its attempts tell by themselves.

The front door writes no timeline row: what it has accepted stands in the receipt's and the result's own rows.
"""

from collections.abc import Iterable, Sequence

from domain.incidents import Attempt, Repair, TimelineEntry, TimelineKind
from domain.instants import wire
from domain.receipts import Receipt
from domain.results import Result, ResultStatus

# For entries of the same millisecond: what follows from another comes after it. A first failure opens the incident (4); any
# other result answers a repair or ends the incident (9).
_RANK = {
    TimelineKind.RECEIPT_ACCEPTED: 1,
    TimelineKind.DEADLINE_CREDITED: 2,
    TimelineKind.DEADLINE_PASSED: 3,
    TimelineKind.INCIDENT_OPENED: 5,
    TimelineKind.ALERT_SENT: 6,
    TimelineKind.ALERT_FAILED: 6,
    TimelineKind.INCIDENT_ACKNOWLEDGED: 6,
    TimelineKind.REPROCESS_REQUESTED: 7,
    TimelineKind.ATTEMPT: 8,
    TimelineKind.REPAIR_FAILED: 10,
    TimelineKind.INCIDENT_RESOLVED: 11,
    TimelineKind.NOTED: 12,
    TimelineKind.FLAGGED: 13,
}


def merged_timeline(
    receipt: Receipt, results: Iterable[Result], repairs: Iterable[Repair], stored: Iterable[TimelineEntry]
) -> tuple[TimelineEntry, ...]:
    """The whole timeline, oldest first; `stored` in the order of writing, which is kept."""
    attempts = (_attempt(repair, attempt) for repair in repairs for attempt in repair.attempts)
    entries: Sequence[TimelineEntry] = [_accepted(receipt), *map(_received, results), *attempts, *stored]
    return tuple(sorted(entries, key=lambda entry: (entry.at, _rank(entry))))


def _rank(entry: TimelineEntry) -> int:
    if entry.kind is TimelineKind.RESULT_RECEIVED:
        is_first_failure = entry.fields["status"] == ResultStatus.FAILED and "replay_id" not in entry.fields
        return 4 if is_first_failure else 9
    return _RANK[entry.kind]


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
