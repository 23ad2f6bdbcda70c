"""Reads the numbers of the overview: the counts of `store.overview.counting`, what is not counted
yet, and what is open now.

Each query reads an index, and its rows are days, kinds or currencies, never receipts. The few
receipts that are not counted yet are limited in number.
"""

import json
from collections import Counter
from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, ProjectId
from domain.incidents import IncidentState
from domain.overview.counts import DAY, SHOWN_DAYS, Tally, day_of, tally
from domain.overview.summary import (
    Counts,
    CurrencyAmounts,
    DayCounts,
    KindCounts,
    Overview,
    most_first,
)
from domain.values.timestamps import from_unix_ms, to_unix_ms
from store.db.sql import Row, SessionStatements, Statements, among
from store.overview.counting import BILLION, start_ms
from store.overview.facts import STREAMS, uncounted_facts
from store.receipts.lists.amounts import amounts_at_risk, summed
from store.receipts.lists.pages import prefer_indexes

# Of each stream. Counting them takes some hundredths of a second.
MOST_UNCOUNTED = 5_000
MOST_ROWS = 5_000

_DAYS = """
SELECT day, outcome, sum(receipts) FROM day_counts
WHERE project_id {scope} AND day >= $2 GROUP BY day, outcome"""
_KINDS = """
SELECT outcome, effect_type, provider, currency, sum(receipts), sum(billions), sum(rest)
FROM day_counts WHERE project_id {scope} AND day >= $2
GROUP BY outcome, effect_type, provider, currency ORDER BY 5 DESC LIMIT $3"""
_DURATIONS = """
SELECT measure, effect_type, bucket, sum(receipts) FROM duration_counts
WHERE project_id {scope} AND day >= $2 GROUP BY measure, effect_type, bucket LIMIT $3"""
_UNRESOLVED = """
SELECT state, count(*), min(opened_at) FROM incidents
WHERE project_id {scope} AND state IN ('open', 'repairing') GROUP BY state"""
_OLDEST = """
SELECT event_id FROM incidents
WHERE project_id {scope} AND opened_at = $2 AND state IN ('open', 'repairing') LIMIT 1"""
_COUNTED_UNTIL = """
SELECT min(CASE WHEN accepted_at < ended_at THEN accepted_at ELSE ended_at END)
FROM count_progress WHERE project_id {scope}"""


async def read_overview(
    session: AsyncSession, scope: Sequence[ProjectId], now: datetime
) -> Overview:
    """The overview of these projects."""
    st = SessionStatements(session)
    await prefer_indexes(st)
    today = day_of(now)
    first = today - (SHOWN_DAYS - 1) * DAY
    uncounted = await _uncounted(st, scope, now)
    counted = await _counted(st, scope, first)
    extra = Tally() if uncounted is None else uncounted
    open_count, repairing, oldest_at = await _unresolved(st, scope)
    return Overview(
        at=now,
        days=await _days(st, scope, first, today, extra),
        kinds=_kinds(counted, extra, first),
        currencies=_currencies(counted, extra, first, await _at_risk(session, scope)),
        durations=await _durations(st, scope, first, extra),
        open=open_count,
        repairing=repairing,
        oldest_open_at=oldest_at,
        oldest_event_id=await _oldest(st, scope, oldest_at),
        counted_until=await _counted_until(st, scope) if uncounted is None else None,
    )


# Outcome, effect, provider and currency, with a number and a sum of amounts.
_Counted = Sequence[tuple[str, str, str, str, int, int]]


async def _uncounted(st: Statements, scope: Sequence[ProjectId], now: datetime) -> Tally | None:
    """What is not counted yet; None if it is too much for a page."""
    found = []
    for stream in STREAMS:
        facts = await uncounted_facts(
            st, stream, scope, start_ms=start_ms(now), limit=MOST_UNCOUNTED + 1
        )
        if len(facts) > MOST_UNCOUNTED:
            return None
        found += [one.fact for one in facts if one.fact is not None]
    return tally(found)


async def _days(
    st: Statements, scope: Sequence[ProjectId], first: datetime, today: datetime, extra: Tally
) -> tuple[DayCounts, ...]:
    counts: dict[datetime, Counter[str]] = {
        first + number * DAY: Counter() for number in range((today - first) // DAY + 1)
    }
    rows = await _fetch(st, _DAYS, scope, to_unix_ms(first))
    for day_ms, outcome, count in rows:
        if (day := from_unix_ms(int(day_ms))) in counts:
            counts[day][outcome] += int(count)
    for key, count in extra.counts.items():
        if key.day in counts:
            counts[key.day][key.outcome] += count
    return tuple(DayCounts(day, Counts.of(of_day)) for day, of_day in counts.items())


async def _counted(st: Statements, scope: Sequence[ProjectId], first: datetime) -> _Counted:
    rows = await _fetch(st, _KINDS, scope, to_unix_ms(first), MOST_ROWS)
    return [
        (outcome, effect, provider, currency, int(count), int(billions) * BILLION + int(rest))
        for outcome, effect, provider, currency, count, billions, rest in rows
    ]


def _kinds(counted: _Counted, extra: Tally, first: datetime) -> tuple[KindCounts, ...]:
    sums: dict[tuple[str, str], Counter[str]] = {}
    for outcome, effect, provider, _, count, _ in (*counted, *_rows_of(extra, first)):
        sums.setdefault((effect, provider), Counter())[outcome] += count
    return tuple(most_first(KindCounts(*kind, Counts.of(found)) for kind, found in sums.items()))


def _currencies(
    counted: _Counted, extra: Tally, first: datetime, at_risk: Sequence[tuple[str, int]]
) -> tuple[CurrencyAmounts, ...]:
    sums: dict[str, Counter[str]] = {currency: Counter() for currency, _ in at_risk}
    for outcome, _, _, currency, _, amount in (*counted, *_rows_of(extra, first)):
        if currency:
            sums.setdefault(currency, Counter())[outcome] += amount
    now_open = dict(at_risk)
    return tuple(
        CurrencyAmounts(currency, Counts.of(found), now_open.get(currency, 0))
        for currency, found in sorted(sums.items())
    )


async def _at_risk(
    session: AsyncSession, scope: Sequence[ProjectId]
) -> tuple[tuple[str, int], ...]:
    rows = await session.execute(amounts_at_risk(scope))
    return summed((currency, int(high), int(low)) for currency, high, low in rows)


def _rows_of(extra: Tally, first: datetime) -> _Counted:
    return [
        (key.outcome, key.effect_type, key.provider, key.currency, count, extra.amounts[key])
        for key, count in extra.counts.items()
        if key.day >= first
    ]


async def _durations(
    st: Statements, scope: Sequence[ProjectId], first: datetime, extra: Tally
) -> dict[tuple[str, str], Counter[int]]:
    found: dict[tuple[str, str], Counter[int]] = {}
    rows = await _fetch(st, _DURATIONS, scope, to_unix_ms(first), MOST_ROWS)
    for measure, effect, bucket, count in rows:
        found.setdefault((measure, effect), Counter())[int(bucket)] += int(count)
    for key, count in extra.durations.items():
        if key.day >= first:
            found.setdefault((key.measure, key.effect_type), Counter())[key.bucket] += count
    return found


async def _unresolved(
    st: Statements, scope: Sequence[ProjectId]
) -> tuple[int, int, datetime | None]:
    """How many incidents are open and repairing, and since when the oldest of them."""
    rows = {row[0]: row for row in await _fetch(st, _UNRESOLVED, scope)}
    opened = [int(row[2]) for row in rows.values()]
    is_open, repairing = (
        int(rows[state][1]) if state in rows else 0
        for state in (IncidentState.OPEN, IncidentState.REPAIRING)
    )
    return is_open, repairing, from_unix_ms(min(opened)) if opened else None


async def _oldest(
    st: Statements, scope: Sequence[ProjectId], opened_at: datetime | None
) -> EventId | None:
    if opened_at is None:
        return None
    rows = await _fetch(st, _OLDEST, scope, to_unix_ms(opened_at))
    return EventId(rows[0][0]) if rows else None


async def _counted_until(st: Statements, scope: Sequence[ProjectId]) -> datetime | None:
    ((until_ms,),) = await _fetch(st, _COUNTED_UNTIL, scope)
    return None if until_ms is None else from_unix_ms(int(until_ms))


async def _fetch(
    st: Statements, sql: str, scope: Sequence[ProjectId], *values: int
) -> Sequence[Row]:
    return await st.fetch(sql.format(scope=among(st.dialect, "$1")), json.dumps(scope), *values)
