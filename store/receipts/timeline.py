"""The timeline of a receipt: inserts entries, and reads them a page at a time.

Ingest inserts no timeline rows: the entries of receipt, results and attempts are made from their
own rows. The first page is the newest; a cursor continues with older entries. A page reads at most
its size from each of the three tables, and its entries are in the order of time. Called by
`store.receipts.queries` and by the operations of the API.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Select, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, ReplayId, ResultId
from domain.incidents import Attempt, TimelineEntry, TimelineKind
from domain.receipts import Receipt
from domain.results import Result, ResultStatus
from domain.values.timestamps import to_unix_ms
from store.db.paging import read_cursor, write_cursor
from store.db.sql import Statements, each
from store.schema.mappers import ATTEMPT_COLUMNS, attempt_from, result_from, timeline_entry_from
from store.schema.tables import ATTEMPTS, RESULTS, TIMELINE

ENTRIES_SHOWN = 100
EXPECTED = "A source saw the event at the provider. Its receipt is expected."
_CURSOR = re.compile(r"(\d{1,19})?\|(res_[0-9a-f]{32})?\|(?:(rpl_[0-9a-f]{32}):(\d{1,9}))?")

# The order of entries of the same millisecond: effects come after their causes. A first failure
# opens the incident (4); any other result belongs to a repair or ends the incident (9). Any other
# kind, also one of a newer version, is a note on what happened.
_RANK: Mapping[str, int] = {
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
    TimelineKind.FLAGGED: 13,
}
_RANK_OF_OTHERS = 12
_NOTE_EACH = """
INSERT INTO timeline (event_id, at, kind, fields)
SELECT given.value, CAST($2 AS BIGINT), '{kind}', $3 FROM {given}"""


@dataclass(frozen=True, slots=True)
class TimelinePage:
    """A page of entries, oldest first. `next_cursor` continues with older ones; None when there are
    none.
    """

    entries: tuple[TimelineEntry, ...]
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class _From:
    """The newest row of each table that was not shown yet, where a page begins; None when none is
    left.
    """

    stored: int | None
    result: ResultId | None
    attempt: tuple[ReplayId, int] | None


@dataclass(frozen=True, slots=True)
class Line:
    """An entry with its source table (0: the receipt) and its key there, which the cursor needs."""

    entry: TimelineEntry
    source: int
    key: Any  # int, text or (text, number), as the source's key is

    @property
    def order(self) -> tuple[object, ...]:
        """The sort key of lines from different tables."""
        return (self.entry.at, _rank(self.entry) if self.source else 0, self.source)


async def read_timeline(
    session: AsyncSession,
    receipt: Receipt,
    *,
    limit: int = ENTRIES_SHOWN,
    cursor: str | None = None,
) -> TimelinePage:
    """A page of the event's timeline. Raises: ValidationFailed for an invalid cursor."""
    begins = None if cursor is None else _read_cursor(cursor)
    results = await _results(session, receipt.event_id, begins, limit + 1)
    attempts = await _attempts(session, receipt.event_id, begins, limit + 1)
    stored = await _stored(session, receipt.event_id, begins, limit + 1)
    return merged_page([first_line(receipt)], results, attempts, stored, limit=limit)


def merged_page(*sources: Sequence[Line], limit: int) -> TimelinePage:
    """The newest `limit` lines as a page. Each source is newest first; the receipt's own line is
    the first source.
    """
    shown: list[Line] = []
    at = [0] * len(sources)
    while len(shown) < limit:
        heads = [
            source[at[number]] for number, source in enumerate(sources) if at[number] < len(source)
        ]
        if not heads:
            break
        newest = max(heads, key=lambda line: line.order)
        shown.append(newest)
        at[newest.source] += 1
    left = [
        source[at[number]].key if at[number] < len(source) else None
        for number, source in enumerate(sources)
    ]
    is_whole = all(at[number] == len(source) for number, source in enumerate(sources))
    # The sort is stable: otherwise equal lines of one table stay in insertion order.
    entries = tuple(line.entry for line in sorted(reversed(shown), key=lambda line: line.order))
    return TimelinePage(entries, None if is_whole else _write_cursor(left))


def first_line(receipt: Receipt) -> Line:
    """The first entry of every receipt: a source saw the event, or the app sent the receipt.

    Where both happened, the later one is a stored entry.
    """
    if receipt.expected_at is not None:
        seen: dict[str, object] = {"text": EXPECTED, "source_id": receipt.source_id}
        return Line(TimelineEntry(receipt.expected_at, TimelineKind.NOTED, seen), 0, None)
    fields: dict[str, object] = {
        "timeout_at": receipt.timeout_at,
        "request_id": receipt.request_id,
    }
    return Line(TimelineEntry(receipt.listed_at, TimelineKind.RECEIPT_ACCEPTED, fields), 0, None)


def result_lines(results: Iterable[Result]) -> list[Line]:
    """A line for each result, in the order given."""
    return [Line(_received(result), 1, result.id) for result in results]


def attempt_lines(attempts: Iterable[tuple[ReplayId, Attempt]]) -> list[Line]:
    """A line for each attempt of a repair, in the order given."""
    return [
        Line(_attempt(replay_id, attempt), 2, (replay_id, attempt.number))
        for replay_id, attempt in attempts
    ]


def stored_lines(entries: Iterable[tuple[int, TimelineEntry]]) -> list[Line]:
    """A line for each stored entry with its number, in the order given."""
    return [Line(entry, 3, number) for number, entry in entries]


async def add_timeline(
    st: Statements, event_id: EventId, kind: TimelineKind, now: datetime, **fields: object
) -> None:
    await st.fetch(
        "INSERT INTO timeline (event_id, at, kind, fields) VALUES ($1, $2, $3, $4)",
        event_id,
        to_unix_ms(now),
        kind.value,
        json.dumps(fields, separators=(",", ":")),
    )


async def note(
    st: Statements, event_id: EventId, now: datetime, *, text: str, **ids: object
) -> None:
    """Add a `noted` entry to the timeline."""
    await add_timeline(st, event_id, TimelineKind.NOTED, now, text=text, **ids)


async def note_each(
    st: Statements, event_ids: Sequence[EventId], now: datetime, *, text: str, **ids: object
) -> None:
    """Add the same `noted` entry to the timelines of these receipts, in one statement."""
    if event_ids:
        await st.fetch(
            _NOTE_EACH.format(given=each(st.dialect, "$1"), kind=TimelineKind.NOTED.value),
            json.dumps(event_ids),
            to_unix_ms(now),
            json.dumps({"text": text, **ids}, separators=(",", ":")),
        )


async def _results(
    session: AsyncSession, event_id: EventId, begins: _From | None, limit: int
) -> list[Line]:
    query = select(RESULTS).where(RESULTS.c.event_id == event_id)
    if begins is not None:
        if begins.result is None:
            return []
        query = query.where(RESULTS.c.id <= begins.result)
    return result_lines(
        map(result_from, await session.execute(query.order_by(RESULTS.c.id.desc()).limit(limit)))
    )


async def _attempts(
    session: AsyncSession, event_id: EventId, begins: _From | None, limit: int
) -> list[Line]:
    key = (ATTEMPTS.c.replay_id, ATTEMPTS.c.number)
    query = select(*ATTEMPT_COLUMNS).where(ATTEMPTS.c.event_id == event_id)
    if begins is not None:
        if begins.attempt is None:
            return []
        query = query.where(tuple_(*key) <= begins.attempt)
    rows = await session.execute(query.order_by(*(column.desc() for column in key)).limit(limit))
    return attempt_lines((ReplayId(row.replay_id), attempt_from(row)) for row in rows)


async def _stored(
    session: AsyncSession, event_id: EventId, begins: _From | None, limit: int
) -> list[Line]:
    query: Select[Any] = select(TIMELINE).where(TIMELINE.c.event_id == event_id)
    if begins is not None:
        if begins.stored is None:
            return []
        query = query.where(TIMELINE.c.id <= begins.stored)
    rows = await session.execute(query.order_by(TIMELINE.c.id.desc()).limit(limit))
    return stored_lines((row.id, timeline_entry_from(row)) for row in rows)


def _write_cursor(left: Sequence[Any]) -> str:
    """`left` holds the key where each source continues; that of the receipt is not needed, since it
    is always last.
    """
    _, result, attempt, stored = left
    text = "|".join(
        (
            "" if stored is None else str(stored),
            result or "",
            f"{attempt[0]}:{attempt[1]}" if attempt else "",
        )
    )
    return write_cursor(text)


def _read_cursor(cursor: str) -> _From:
    stored, result, replay_id, number = read_cursor(cursor, _CURSOR).groups()
    return _From(
        stored=None if stored is None else min(int(stored), 2**63 - 1),
        result=None if result is None else ResultId(result),
        attempt=None if replay_id is None else (ReplayId(replay_id), int(number)),
    )


def _rank(entry: TimelineEntry) -> int:
    if entry.kind is TimelineKind.RESULT_RECEIVED:
        is_first_failure = (
            entry.fields["status"] == ResultStatus.FAILED and "replay_id" not in entry.fields
        )
        return 4 if is_first_failure else 9
    return _RANK.get(entry.kind, _RANK_OF_OTHERS)


def _received(result: Result) -> TimelineEntry:
    facts = result.facts
    fields: dict[str, object] = {"status": facts.status.value}
    given = {
        "replay_id": facts.replay_id,
        "error_code": facts.error_code,
        "error_message": facts.error_message,
    }
    fields |= {name: value for name, value in given.items() if value is not None}
    if facts.already_applied:
        fields["already_applied"] = True
    if result.request_id:
        fields["request_id"] = result.request_id
    if result.repeats and result.repeated_at is not None:
        fields |= {"repeats": result.repeats, "repeated_at": result.repeated_at}
    return TimelineEntry(result.received_at, TimelineKind.RESULT_RECEIVED, fields)


def _attempt(replay_id: ReplayId, attempt: Attempt) -> TimelineEntry:
    fields: dict[str, object] = {
        "replay_id": replay_id,
        "number": attempt.number,
        "status": attempt.status,
        "duration_ms": attempt.duration_ms,
        "error_class": attempt.error_class,
    }
    if attempt.next_attempt_at is not None:
        fields["next_attempt_at"] = attempt.next_attempt_at
    if attempt.answer_excerpt:
        fields["answer_excerpt"] = attempt.answer_excerpt
    return TimelineEntry(attempt.at, TimelineKind.ATTEMPT, fields)
