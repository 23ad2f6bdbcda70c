"""The health of sources: their problems, their silence, and the alerts about both.

An episode begins with a problem, a silence or a gap, and has one alert to each destination, however
often it is recorded. The alert's `incident_id` and `event_id` are the source's id, its `replay_id`
is the beginning of the episode. `worker.sources.health` calls the functions that look for episodes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, and_, func, literal, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, IncidentId, ProjectId, SourceId
from domain.incidents import AlertKind
from domain.sources.listing import stopped_since
from domain.sources.source import Source, SourceProblem
from domain.values.text import one_line
from domain.values.timestamps import to_iso, to_unix_ms
from store.db.sql import SessionStatements, Statements
from store.projects.data_keys import NOT_DELETED
from store.receipts.rows.alerts import insert_alert, read_recipients
from store.schema import tables
from store.schema.mappers import source_from
from store.schema.tables import PROJECTS, SOURCES
from store.sources.sources import IS_SOURCE

DETAIL_CHARACTERS = 300
# These pass by themselves more often than not, so people are told when they last.
PASSING = (SourceProblem.UNREACHABLE, SourceProblem.THROTTLED, SourceProblem.NOT_LISTED)
ALERT_PASSING_AFTER = timedelta(minutes=15)
# Good deliveries of other events do not hide that some cannot be read.
UNREADABLE_LASTS = timedelta(hours=1)
UNREADABLE = "Some deliveries could not be read as events."
_IS_UNWELL = text(f"({tables.SOURCE_IS_UNWELL})")
_WORKS = (
    *IS_SOURCE,
    SOURCES.c.paused_at.is_(None),
    NOT_DELETED,
    PROJECTS.c.suspended_at.is_(None),
)


@dataclass(frozen=True, slots=True)
class NotListed:
    """A source whose listing has stopped without a problem."""

    source_id: SourceId


@dataclass(frozen=True, slots=True)
class SilentPage:
    """Some sources of all projects, in the order of their ids.

    `silent` are those that should have received an event and did not. `not_listed` are those whose
    listing has stopped. `last` is the last one that was looked at; None when there are no more.
    """

    silent: Sequence[Source]
    not_listed: Sequence[NotListed]
    last: SourceId | None


@dataclass(frozen=True, slots=True)
class Episode:
    """A problem or a silence of a source, since `began_at`."""

    source_id: SourceId
    project_id: ProjectId
    began_at: datetime


async def record_problem(
    session: AsyncSession,
    source_id: SourceId,
    problem: SourceProblem,
    detail: str,
    now: datetime,
) -> None:
    """Record why the source is failing. A problem that follows another one is the same episode.

    `detail` is shown to operators: it must quote neither a secret nor the provider.
    """
    shown = one_line(detail, longest=DETAIL_CHARACTERS)
    is_news = or_(
        SOURCES.c.problem.is_distinct_from(problem.value),
        SOURCES.c.problem_detail.is_distinct_from(shown),
    )
    values = {
        "problem": problem.value,
        "problem_detail": shown,
        "problem_since": func.coalesce(
            SOURCES.c.problem_since, literal(now, SOURCES.c.problem_since.type)
        ),
    }
    is_it = (SOURCES.c.id == source_id, SOURCES.c.deleted_at.is_(None))
    began = update(SOURCES).where(*is_it, SOURCES.c.problem.is_(None))
    await session.execute(began.values(alerted_at=None))
    await session.execute(update(SOURCES).where(*is_it, is_news).values(values))


async def clear_problem(session: AsyncSession, source_id: SourceId) -> None:
    """Record that the source works again. The next problem is another episode."""
    is_it = (SOURCES.c.id == source_id, SOURCES.c.problem.is_not(None))
    values = dict.fromkeys(("problem", "problem_detail", "problem_since", "alerted_at"))
    await session.execute(update(SOURCES).where(*is_it).values(values))


async def record_unreadable(
    session: AsyncSession, source_id: SourceId, detail: str, now: datetime
) -> None:
    """Record that a genuine delivery to a hook is no event. `detail` as `record_problem`."""
    await record_problem(session, source_id, SourceProblem.BAD_ANSWER, detail, now)
    at = update(SOURCES).where(SOURCES.c.id == source_id, SOURCES.c.deleted_at.is_(None))
    await session.execute(at.values(page_at=now))


async def record_good_delivery(session: AsyncSession, source_id: SourceId, now: datetime) -> None:
    """Record that a hook received a good delivery: its problem ends.

    While a delivery of the last `UNREADABLE_LASTS` could not be read, that is the problem.
    """
    lasts = (SOURCES.c.id == source_id, SOURCES.c.page_at > now - UNREADABLE_LASTS)
    row = (await session.execute(select(SOURCES.c.problem).where(*lasts))).first()
    if row is None:
        await clear_problem(session, source_id)
    elif row.problem not in (None, SourceProblem.BAD_ANSWER.value):
        await record_problem(session, source_id, SourceProblem.BAD_ANSWER, UNREADABLE, now)


async def silent_sources(
    session: AsyncSession, now: datetime, *, after: SourceId | None, limit: int
) -> SilentPage:
    """The sources that have become silent, among the next `limit` after that id.

    A source with a problem can be silent too. One that is paused cannot.
    """
    listed = select(SOURCES).join(PROJECTS, PROJECTS.c.id == SOURCES.c.project_id)
    listed = listed.where(SOURCES.c.id > (after or ""), *_WORKS)
    rows = (await session.execute(listed.order_by(SOURCES.c.id).limit(limit))).all()
    sources = [source_from(row) for row in rows]
    silent = [source for source in sources if _has_become_silent(source, now)]
    not_listed = [NotListed(SourceId(row.id)) for row in rows if _stopped_since(row, now)]
    return SilentPage(silent, not_listed, sources[-1].id if len(sources) == limit else None)


async def record_silence(session: AsyncSession, source: Source, now: datetime) -> None:
    """Record that the source is silent, unless it has received an event meanwhile."""
    is_it = (
        SOURCES.c.id == source.id,
        SOURCES.c.silent_since.is_(None),
        SOURCES.c.last_event_at.is_not_distinct_from(source.last_event_at),
    )
    began = update(SOURCES).where(*is_it, SOURCES.c.problem.is_(None)).values(alerted_at=None)
    await session.execute(began)
    await session.execute(update(SOURCES).where(*is_it).values(silent_since=now))


async def record_not_listed(session: AsyncSession, source_id: SourceId, now: datetime) -> None:
    """Record that the source's listing has stopped, unless it has gone on meanwhile.

    Its Schedule is made again, which lists at once. The problem lasts if that does not help.
    """
    found = select(SOURCES).join(PROJECTS, PROJECTS.c.id == SOURCES.c.project_id)
    found = found.where(SOURCES.c.id == source_id, *_WORKS).with_for_update(of=SOURCES)
    row = (await session.execute(found)).first()
    since = None if row is None else _stopped_since(row, now)
    if since is None:
        return
    detail = f"No listing has ended or stored a page since {to_iso(since)}."
    await record_problem(session, source_id, SourceProblem.NOT_LISTED, detail, now)
    again = update(SOURCES).where(SOURCES.c.id == source_id).values(scheduled_version=0)
    await session.execute(again)


async def unalerted_sources(session: AsyncSession, now: datetime, *, limit: int) -> list[Episode]:
    """Up to `limit` episodes that have no alert yet."""
    lasts = SOURCES.c.problem_since <= now - ALERT_PASSING_AFTER
    is_passing = SOURCES.c.problem.in_([problem.value for problem in PASSING])
    is_due = or_(
        and_(SOURCES.c.problem.is_(None), SOURCES.c.silent_since.is_not(None)),
        and_(SOURCES.c.problem.is_not(None), or_(~is_passing, lasts)),
    )
    columns = (SOURCES.c.id, SOURCES.c.project_id, SOURCES.c.problem_since, SOURCES.c.silent_since)
    due = (
        select(*columns)
        .join(PROJECTS, PROJECTS.c.id == SOURCES.c.project_id)
        .where(_IS_UNWELL, SOURCES.c.alerted_at.is_(None), is_due, *_WORKS)
        .order_by(SOURCES.c.id)
        .limit(limit)
    )
    return [
        Episode(SourceId(row.id), ProjectId(row.project_id), row.problem_since or row.silent_since)
        for row in await session.execute(due)
    ]


async def alert_episode(session: AsyncSession, episode: Episode, now: datetime) -> bool:
    """Insert the alerts of an episode. False if it is over, or has them already."""
    began_at = func.coalesce(SOURCES.c.problem_since, SOURCES.c.silent_since)
    is_it = (
        SOURCES.c.id == episode.source_id,
        SOURCES.c.alerted_at.is_(None),
        began_at == episode.began_at,
    )
    alerted = update(SOURCES).where(*is_it).values(alerted_at=now).returning(SOURCES.c.id)
    if (await session.execute(alerted)).first() is None:
        return False
    st = SessionStatements(session)
    await insert_source_alerts(st, episode.project_id, episode.source_id, episode.began_at, now)
    return True


async def insert_source_alerts(
    st: Statements,
    project_id: ProjectId,
    source_id: SourceId,
    began_at: datetime,
    now: datetime,
) -> None:
    """Insert one alert for each of the project's destinations; a second time changes nothing."""
    for recipient in await read_recipients(st, project_id, AlertKind.SOURCE_SILENT):
        await insert_alert(
            st,
            project_id=project_id,
            incident_id=IncidentId(source_id),
            event_id=EventId(source_id),
            kind=AlertKind.SOURCE_SILENT,
            about=str(to_unix_ms(began_at)),
            recipient=recipient,
            now=now,
        )


def _stopped_since(row: Row[Any], now: datetime) -> datetime | None:
    """Since when the listing has stopped; None also of a source that has a problem."""
    return None if row.problem else stopped_since(source_from(row), row.page_at, now)


def _has_become_silent(source: Source, now: datetime) -> bool:
    if source.silent_after_minutes is None or source.silent_since is not None:
        return False
    received_at = max(
        at for at in (source.created_at, source.last_event_at, source.resumed_at) if at is not None
    )
    return now - received_at >= timedelta(minutes=source.silent_after_minutes)
