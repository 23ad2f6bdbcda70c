"""What a source saw on a day, and what the app reported of it: receipts, results, amounts.

A day is of UTC, by the instant at the provider. Everything is counted from the rows of the source
and of their receipts, so a recount gives the same numbers. Sums are per currency, never across.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import SourceId
from domain.sources.source import Gap, Source
from domain.values.timestamps import EPOCH, from_unix_ms, to_unix_ms
from store.db.sql import Row, SessionStatements
from store.schema.mappers import gap_from
from store.schema.tables import SOURCE_GAPS

# What a source saw is kept so long, counted from when it saw it.
EVENTS_KEPT = timedelta(days=40)
GAPS_SHOWN = 100
_DAY_MS = 86_400_000
_HALF = 1_000_000
# A day with more events is not counted beside others, so that they have time too.
COUNTED_AT_MOST = 50_000
_SEES_MORE = """
SELECT 1 FROM source_events
WHERE source_id = $1 AND occurred_at >= $2 AND occurred_at < $3
ORDER BY occurred_at, id LIMIT 1 OFFSET $4"""
# By the index `source_events_by_time`. A receipt is awaited while there is time, also if the result
# came before it. A result is awaited while the receipt may still get one in time.
_SEEN = """
WITH seen AS (
  SELECT e.provider_event_id, e.amount, e.currency,
    CASE WHEN r.lacks_receipt THEN 0 ELSE 1 END AS has_receipt,
    CASE WHEN r.state = 'expected' OR (r.lacks_receipt AND r.deadline_at > $4)
      THEN 1 ELSE 0 END AS awaits_receipt,
    CASE WHEN r.state IN ('expected', 'waiting') THEN 1 ELSE 0 END AS is_undecided,
    CASE WHEN EXISTS (SELECT 1 FROM results x WHERE x.event_id = e.event_id)
      THEN 1 ELSE 0 END AS has_result,
    CASE WHEN EXISTS (SELECT 1 FROM incidents i
        WHERE i.event_id = e.event_id AND i.reason = 'missing_receipt')
      THEN 1 ELSE 0 END AS has_incident
  FROM source_events e JOIN receipts r ON r.event_id = e.event_id
  WHERE e.source_id = $1 AND e.occurred_at >= $2 AND e.occurred_at < $3)"""
_COUNT = f"""{_SEEN}
SELECT count(*), sum(has_receipt), sum(awaits_receipt), sum(has_result),
  sum(CASE WHEN has_result = 0 AND is_undecided = 1 THEN 1 ELSE 0 END), sum(has_incident)
FROM seen"""  # noqa: S608 - constants only


def _halves(factor: str) -> str:
    """The sum of the amounts in two columns: SQLite's integers would overflow in one."""
    amount = f"amount * {factor}"
    return f"sum({amount} / {_HALF}), sum({amount} % {_HALF})"


# An event with several effects has its amount once.
_SUM = f"""{_SEEN}, once AS (
  SELECT provider_event_id, currency, max(amount) AS amount,
    max(CASE WHEN has_receipt = 0 AND awaits_receipt = 0 THEN 1 ELSE 0 END) AS lacks_receipt,
    max(CASE WHEN has_result = 0 AND is_undecided = 0 THEN 1 ELSE 0 END) AS lacks_result
  FROM seen WHERE amount IS NOT NULL GROUP BY provider_event_id, currency)
SELECT currency, {", ".join(_halves(x) for x in ("1", "lacks_receipt", "lacks_result"))}
FROM once GROUP BY currency ORDER BY currency"""  # noqa: S608 - constants only


@dataclass(frozen=True, slots=True)
class DayReport:
    """Events at the provider on one day. One with two expected effects counts twice.

    - `receipts`, `results`: the app sent one, at any time.
    - `awaited_receipts`: there is none yet, and there is still time.
    - `missing_receipts`: there is none, and the time is over.
    - `awaited_results`: there is none, and the receipt is expected or waiting.
    - `missing_results`: there is none, and the time is over.
    - `incidents`: those of reason `missing_receipt`, also if the receipt came later.
    """

    day: date
    events: int
    receipts: int
    awaited_receipts: int
    missing_receipts: int
    results: int
    awaited_results: int
    missing_results: int
    incidents: int


@dataclass(frozen=True, slots=True)
class UncountedDay:
    """A day without counts: it has more than `COUNTED_AT_MOST` events, or no time was left."""

    day: date
    is_too_large: bool


@dataclass(frozen=True, slots=True)
class CurrencySum:
    """Sums in the minor unit of one currency: of all events, and of those that lack something."""

    currency: str
    events: int
    missing_receipts: int
    missing_results: int


@dataclass(frozen=True, slots=True)
class SourceReport:
    """The report of a day. `gaps`: the spans of it that were never listed."""

    source_id: SourceId
    counts: DayReport
    amounts: tuple[CurrencySum, ...]
    gaps: tuple[Gap, ...]


async def source_report(
    session: AsyncSession, source: Source, day: date, now: datetime
) -> SourceReport:
    """The report of one day, as it is at `now`."""
    since_ms, until_ms = _span(day)
    span = (source.id, since_ms, until_ms, to_unix_ms(now))
    summed = await SessionStatements(session).fetch(_SUM, *span)
    counts = await count_day(session, source, day, now)
    gaps = await list_gaps(session, source, since_ms=since_ms, until_ms=until_ms)
    return SourceReport(
        source_id=source.id,
        counts=counts,
        amounts=tuple(_currency_sum(row) for row in summed),
        gaps=tuple(gaps),
    )


async def count_day(session: AsyncSession, source: Source, day: date, now: datetime) -> DayReport:
    """The counts of one day, as they are at `now`."""
    span = (source.id, *_span(day), to_unix_ms(now))
    (counted,) = await SessionStatements(session).fetch(_COUNT, *span)
    return _day(day, [int(value or 0) for value in counted])


async def sees_more(session: AsyncSession, source: Source, day: date, count: int) -> bool:
    """Whether the source saw more than `count` events of the day. Reads the index alone."""
    rows = await SessionStatements(session).fetch(_SEES_MORE, source.id, *_span(day), count)
    return bool(rows)


async def list_gaps(
    session: AsyncSession,
    source: Source,
    *,
    since_ms: int | None = None,
    until_ms: int | None = None,
) -> Sequence[Gap]:
    """The newest gaps of a source, newest first: those that overlap the span, or all."""
    columns = SOURCE_GAPS.c
    query = select(SOURCE_GAPS).where(columns.source_id == source.id)
    if since_ms is not None and until_ms is not None:
        overlaps = (
            columns.until_at > from_unix_ms(since_ms),
            columns.from_at < from_unix_ms(until_ms),
        )
        query = query.where(*overlaps)
    rows = await session.execute(query.order_by(columns.id.desc()).limit(GAPS_SHOWN))
    return [gap_from(row) for row in rows]


def _day(day: date, counts: Sequence[int]) -> DayReport:
    events, receipts, awaited_receipts, results, awaited_results, incidents = counts
    return DayReport(
        day=day,
        events=events,
        receipts=receipts,
        awaited_receipts=awaited_receipts,
        missing_receipts=events - receipts - awaited_receipts,
        results=results,
        awaited_results=awaited_results,
        missing_results=events - results - awaited_results,
        incidents=incidents,
    )


def _currency_sum(row: Row) -> CurrencySum:
    currency, *halves = row
    high, low = map(int, halves[::2]), map(int, halves[1::2])
    return CurrencySum(currency, *(a * _HALF + b for a, b in zip(high, low, strict=True)))


def _span(day: date) -> tuple[int, int]:
    """The milliseconds from the begin of the day to its end."""
    begin = (day - EPOCH.date()).days * _DAY_MS
    return begin, begin + _DAY_MS
