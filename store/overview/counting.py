"""Counts the facts of a project into days and hours, a batch at a time, each fact once.

`count_progress` holds how far a project is counted, and moves in the transaction that counts. So
several workers, and one that is killed, count nothing twice. A fact is counted a minute after it
happened; `store.overview.figures` adds those that are not counted yet.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import ProjectId
from domain.overview.counts import DAY, SHOWN_DAYS, CountKey, Tally, day_of, tally
from domain.values.timestamps import to_unix_ms
from store.db.sql import SessionStatements, Statements, limit_lock_wait, lock_free_rows
from store.overview.facts import STREAMS, Stored, exists_after, facts_after
from store.receipts.lists.pages import prefer_indexes

# Longer than any transaction that stores a fact, and than the clocks of two servers differ: a fact
# that commits later with an older instant would never be counted.
SETTLED_AFTER = timedelta(seconds=60)
BATCH = 500
# Of an installation that counted nothing before. One more day, in case of another time zone.
COUNTED_BACK = (SHOWN_DAYS + 1) * DAY
KEPT_DAYS, KEPT_HOURS = timedelta(days=400), timedelta(days=45)
# A project that names new currencies or types for ever has no more rows of a day, or of an hour.
MOST_KEYS_OF_A_DAY, MOST_TYPES_OF_AN_HOUR = 500, 100
OTHER = "other"
BILLION = 10**9

_IS_BEHIND = " OR ".join(exists_after(stream, until="$2") for stream in STREAMS)
_PROJECTS = f"""
SELECT p.id, CASE WHEN {_IS_BEHIND} THEN 1 ELSE 0 END
FROM (SELECT id FROM projects WHERE id > $3 AND deleted_at IS NULL ORDER BY id LIMIT $4) AS p
LEFT JOIN count_progress AS c ON c.project_id = p.id ORDER BY p.id"""  # noqa: S608 - constants only
# The deletion of a project waits for the batch, and then finds its counts.
_LOCK_LIVING = {
    "sqlite": "SELECT 1 FROM projects WHERE id = $1 AND deleted_at IS NULL",
    "postgresql": "SELECT 1 FROM projects WHERE id = $1 AND deleted_at IS NULL FOR SHARE",
}
_BEGIN = """
INSERT INTO count_progress
  (project_id, accepted_at, accepted_id, ended_at, ended_id, opened_at, opened_id)
VALUES ($1, $2, '', $2, '', $2, '') ON CONFLICT (project_id) DO NOTHING"""
_PROGRESS = """
SELECT accepted_at, accepted_id, ended_at, ended_id, opened_at, opened_id
FROM count_progress WHERE project_id = $1"""
_ADD_COUNT = """
INSERT INTO day_counts
  (project_id, day, outcome, effect_type, provider, currency, receipts, billions, rest)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
ON CONFLICT (project_id, day, outcome, effect_type, provider, currency) DO UPDATE SET
  receipts = day_counts.receipts + excluded.receipts,
  billions = day_counts.billions + excluded.billions, rest = day_counts.rest + excluded.rest"""
_ADD_DURATION = """
INSERT INTO duration_counts (project_id, day, measure, effect_type, bucket, receipts)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (project_id, day, measure, effect_type, bucket) DO UPDATE SET
  receipts = duration_counts.receipts + excluded.receipts"""
_ADD_HOUR = """
INSERT INTO receipt_hours (project_id, hour, event_type, receipts, last_at)
VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (project_id, hour, event_type) DO UPDATE SET
  receipts = receipt_hours.receipts + excluded.receipts,
  last_at = CASE WHEN excluded.last_at > receipt_hours.last_at
    THEN excluded.last_at ELSE receipt_hours.last_at END"""
_KEYS_OF_DAY = """
SELECT outcome, effect_type, provider, currency FROM day_counts
WHERE project_id = $1 AND day = $2"""
_TYPES_OF_HOUR = "SELECT event_type FROM receipt_hours WHERE project_id = $1 AND hour = $2"
_PURGE = (
    ("DELETE FROM day_counts WHERE project_id = $1 AND day < $2", KEPT_DAYS),
    ("DELETE FROM duration_counts WHERE project_id = $1 AND day < $2", KEPT_DAYS),
    ("DELETE FROM receipt_hours WHERE project_id = $1 AND hour < $2", KEPT_HOURS),
)


@dataclass(frozen=True, slots=True)
class ProjectsPage:
    """Some projects, in the order of their ids.

    `behind` are those with facts to count. `last` is the last one that was looked at; None when
    there are no more.
    """

    looked_at: Sequence[ProjectId]
    behind: Sequence[ProjectId]
    last: ProjectId | None


async def projects_to_count(
    session: AsyncSession, now: datetime, *, after: ProjectId | None, limit: int
) -> ProjectsPage:
    """The projects with facts to count, among the next `limit` after that id."""
    st = SessionStatements(session)
    await prefer_indexes(st)
    until_ms = to_unix_ms(now - SETTLED_AFTER)
    rows = await st.fetch(_PROJECTS, start_ms(now), until_ms, after or "", limit)
    return ProjectsPage(
        looked_at=[ProjectId(project_id) for project_id, _ in rows],
        behind=[ProjectId(project_id) for project_id, is_behind in rows if is_behind],
        last=ProjectId(rows[-1][0]) if len(rows) == limit else None,
    )


async def count_batch(session: AsyncSession, project_id: ProjectId, now: datetime) -> bool:
    """Count the next facts of a project, at most `BATCH` of each stream; whether there are more.

    False also if another worker counts the project now, or it was deleted.
    """
    st = SessionStatements(session)
    await limit_lock_wait(st)
    await prefer_indexes(st)
    if not await st.fetch(_LOCK_LIVING[st.dialect], project_id):
        return False
    await st.fetch(_BEGIN, project_id, start_ms(now))
    locked = await st.fetch(_PROGRESS + lock_free_rows(st.dialect), project_id)
    if not locked:
        return False
    has_more = False
    for place, stream in enumerate(STREAMS):
        after = (int(locked[0][2 * place]), str(locked[0][2 * place + 1]))
        before = now - SETTLED_AFTER
        found = await facts_after(st, stream, project_id, after=after, before=before, limit=BATCH)
        if found:
            await _add(st, project_id, found)
            await _advance(st, project_id, stream, found[-1])
        has_more = has_more or len(found) == BATCH
    return has_more


async def purge_counts(session: AsyncSession, project_id: ProjectId, now: datetime) -> None:
    """Delete the old counts of a project."""
    st = SessionStatements(session)
    for sql, kept in _PURGE:
        await st.fetch(sql, project_id, to_unix_ms(now - kept))


def start_ms(now: datetime) -> int:
    """From when a project is counted that never was."""
    return to_unix_ms(day_of(now - COUNTED_BACK))


async def _advance(st: Statements, project_id: ProjectId, stream: str, last: Stored) -> None:
    sql = f"UPDATE count_progress SET {stream}_at = $2, {stream}_id = $3 WHERE project_id = $1"  # noqa: S608
    await st.fetch(sql, project_id, last.at_ms, last.row_id)


async def _add(st: Statements, project_id: ProjectId, found: Sequence[Stored]) -> None:
    counted = await _limited(st, project_id, tally(one.fact for one in found if one.fact))
    for key, count in sorted(counted.counts.items()):
        what = (to_unix_ms(key.day), key.outcome, key.effect_type, key.provider, key.currency)
        parts = divmod(counted.amounts[key], BILLION)
        await st.fetch(_ADD_COUNT, project_id, *what, count, *parts)
    for duration, count in sorted(counted.durations.items()):
        what_lasted = (duration.measure, duration.effect_type, duration.bucket)
        day_ms = to_unix_ms(duration.day)
        await st.fetch(_ADD_DURATION, project_id, day_ms, *what_lasted, count)
    await _add_hours(st, project_id, found)


async def _add_hours(st: Statements, project_id: ProjectId, found: Iterable[Stored]) -> None:
    counts: Counter[tuple[int, str]] = Counter()
    last_at: dict[tuple[int, str], int] = {}
    for one in found:
        if one.fact is not None and one.event_type is not None:
            hour = one.fact.at.replace(minute=0, second=0, microsecond=0)
            key = (to_unix_ms(hour), one.event_type)
            counts[key] += 1
            last_at[key] = max(one.at_ms, last_at.get(key, 0))
    for hour_ms in sorted({hour_ms for hour_ms, _ in counts}):
        known = {row[0] for row in await st.fetch(_TYPES_OF_HOUR, project_id, hour_ms)}
        for key in sorted(key for key in counts if key[0] == hour_ms):
            name = key[1] if key[1] in known or len(known) < MOST_TYPES_OF_AN_HOUR else OTHER
            known.add(name)
            await st.fetch(_ADD_HOUR, project_id, hour_ms, name, counts[key], last_at[key])


async def _limited(st: Statements, project_id: ProjectId, counted: Tally) -> Tally:
    """The tally with at most `MOST_KEYS_OF_A_DAY` keys, and one of the rest for each outcome."""
    limited = Tally(durations=counted.durations)
    for day in sorted({key.day for key in counted.counts}):
        rows = await st.fetch(_KEYS_OF_DAY, project_id, to_unix_ms(day))
        known = {CountKey(day, *row) for row in rows}
        for key in sorted(key for key in counted.counts if key.day == day):
            is_kept = key in known or len(known) < MOST_KEYS_OF_A_DAY
            kept = key if is_kept else replace(key, effect_type=OTHER, provider=OTHER, currency="")
            known.add(kept)
            limited.counts[kept] += counted.counts[key]
            if is_kept:
                limited.amounts[kept] += counted.amounts[key]
    return limited
