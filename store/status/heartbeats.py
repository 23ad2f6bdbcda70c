"""Heartbeats of processes, and single facts about this installation.

API and worker write a heartbeat every 2 s; `/readyz`, doctor and the supervisor read them. The
ingest connection of each API process writes a separate heartbeat (`INGEST`), which proves that
ingest could commit. The outage credit depends only on these. This module does not decide what is
too old.
"""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.outage import IngestBeats
from domain.values.timestamps import to_unix_ms
from store.db.database import Database
from store.schema.tables import FACTS, HEARTBEATS

# The role of the rows that record when ingest could commit. Their `process` is not that of the
# API's own heartbeat.
INGEST = "ingest"
_LATEST_INGEST_BEAT = select(func.max(HEARTBEATS.c.at)).where(HEARTBEATS.c.role == INGEST)
# Built once, because it runs for each deadline. It returns a row for each recent API process.
_INGEST_BEATS = (
    select(HEARTBEATS.c.at, HEARTBEATS.c.report)
    .where(HEARTBEATS.c.role == INGEST)
    .order_by(HEARTBEATS.c.at.desc())
)
# In the report of a process's last heartbeat.
ENDED = "ended"
# In every report: the fingerprints of the root secrets that the process knows.
SECRETS = "secrets"
# In a report on PostgreSQL: how many seconds the process's host is ahead of the store's clock.
CLOCK = "clock_ahead_seconds"
# A longer round trip does not allow to compare the clocks.
ROUND_TRIP_AT_MOST = timedelta(seconds=2)
FORGOTTEN_AFTER = timedelta(minutes=10)
# A heartbeat further in the future is invalid: the clock was set back after it was written.
AHEAD_AT_MOST = timedelta(minutes=1)
# The fact with the id of the Temporal namespace in which the open receipts were started. In another
# namespace all of them are started again.
NAMESPACE_FACT = "temporal_namespace_id"
# The fact with the time when a mail server last accepted an alert, in milliseconds since 1970. It
# is up to half a minute late.
ALERT_SENT_FACT = "alert_sent_at"


@dataclass(frozen=True, slots=True)
class Beat:
    """The last heartbeat of a process.

    - `role`: `api`, `worker` or `ingest`. `report`: JSON values.
    - `age_seconds`: by the store's clock, never negative. If the clock was set back, the heartbeat
      is in the future, and its age is the distance to now. So a dead process does not look alive.
    """

    process: str
    role: str
    started_at: datetime
    at: datetime
    age_seconds: float
    report: dict[str, object]


async def beat(
    session: AsyncSession,
    *,
    process: str,
    role: str,
    started_at: datetime,
    now: datetime,
    report: Mapping[str, object],
) -> None:
    """Write the heartbeat of a process with its report, in place of its previous one."""
    await session.execute(
        text(
            "INSERT INTO heartbeats (process, role, started_at, at, report) "
            "VALUES (:process, :role, :started_at, :at, :report) ON CONFLICT (process) DO UPDATE "
            "SET role = excluded.role, started_at = excluded.started_at, at = excluded.at, "
            "report = excluded.report"
        ),
        {
            "process": process,
            "role": role,
            "started_at": to_unix_ms(started_at),
            "at": to_unix_ms(now),
            "report": json.dumps(dict(report)),
        },
    )


async def read_clocks(
    database: Database, session: AsyncSession, host_now: Callable[[], datetime]
) -> tuple[datetime, dict[str, float]]:
    """The time by the store's clock, and how far the host's clock is ahead, for the report.

    The difference is taken at the middle of the round trip. It is left out on SQLite, whose clock
    is the host's, and after a long round trip.
    """
    asked_at = host_now()
    now = await database.now(session)
    round_trip = host_now() - asked_at
    if database.dialect == "sqlite" or not timedelta() <= round_trip <= ROUND_TRIP_AT_MOST:
        return now, {}
    # Tests that skip time skip it only in the store.
    ahead = asked_at + round_trip / 2 - (now - database.clock.skew)
    return now, {CLOCK: round(ahead.total_seconds(), 1)}


async def read_beats(session: AsyncSession, now: datetime) -> list[Beat]:
    """The last heartbeat of every process that was not deleted yet, newest first."""
    rows = await session.execute(
        select(HEARTBEATS).order_by(HEARTBEATS.c.at.desc(), HEARTBEATS.c.process)
    )
    return [_beat_from(row, now) for row in rows]


async def latest_ingest_beat(session: AsyncSession) -> datetime | None:
    """When ingest could last commit: it was up until then. None in a new installation."""
    latest: datetime | None = await session.scalar(_LATEST_INGEST_BEAT)
    return latest


async def read_ingest_beats(session: AsyncSession) -> IngestBeats | None:
    """When ingest could last commit: any API process, and one that has not stopped.

    None in a new installation.
    """
    rows = (await session.execute(_INGEST_BEATS)).all()
    if not rows:
        return None
    alive_at = next((row.at for row in rows if not json.loads(row.report).get(ENDED)), None)
    return IngestBeats(last_at=rows[0].at, alive_at=alive_at)


async def forget_stale(session: AsyncSession, now: datetime) -> int:
    """Delete heartbeats older than 10 minutes and those from the future. Return how many.

    The last one of ingest is kept, because the outage credit needs it.
    """
    is_future = HEARTBEATS.c.at > now + AHEAD_AT_MOST
    is_stale = HEARTBEATS.c.at < now - FORGOTTEN_AFTER
    latest = _LATEST_INGEST_BEAT.where(HEARTBEATS.c.at <= now + AHEAD_AT_MOST).scalar_subquery()
    is_last = (HEARTBEATS.c.role == INGEST) & (HEARTBEATS.c.at == latest)
    gone = await session.execute(
        delete(HEARTBEATS).where(is_future | (is_stale & ~is_last)).returning(HEARTBEATS.c.process)
    )
    return len(gone.all())


async def read_fact(session: AsyncSession, name: str) -> str | None:
    value: str | None = await session.scalar(select(FACTS.c.value).where(FACTS.c.name == name))
    return value


async def write_fact_once(session: AsyncSession, name: str, value: str) -> None:
    """Write a fact, unless it exists already."""
    await session.execute(
        text("INSERT INTO facts (name, value) VALUES (:name, :value) ON CONFLICT DO NOTHING"),
        {"name": name, "value": value},
    )


async def lock_fact(session: AsyncSession, name: str) -> None:
    """Take a shared lock on a fact, if it exists, until the transaction ends."""
    locked = select(FACTS.c.name).where(FACTS.c.name == name).with_for_update(read=True)
    await session.execute(locked)


async def write_fact(session: AsyncSession, name: str, value: str) -> None:
    """Write a fact, in place of the previous value."""
    await session.execute(
        text(
            "INSERT INTO facts (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE"
            " SET value = excluded.value"
        ),
        {"name": name, "value": value},
    )


def _beat_from(row: Row[Any], now: datetime) -> Beat:
    return Beat(
        process=row.process,
        role=row.role,
        started_at=row.started_at,
        at=row.at,
        age_seconds=abs((now - row.at).total_seconds()),
        report=json.loads(row.report),
    )
