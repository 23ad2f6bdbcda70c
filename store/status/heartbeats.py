"""Who is alive, and single facts about this installation.

API and worker write a beat every 2 s; `/readyz`, doctor and supervisor read them. A front door writes a beat of its own on the
path that receipts and results take (`INGEST`): that it could commit then. The outage credit goes by these alone. Nothing here
judges what is too old.
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
from store.schema import tables

BEATS = tables.Heartbeat.metadata.tables["heartbeats"]
# The role of the rows that say when a front door could commit. Their process is no other process than the API's.
INGEST = "ingest"
_LATEST_INGEST_BEAT = select(func.max(BEATS.c.at)).where(BEATS.c.role == INGEST)
# Built once: the ledger asks it for each deadline. A row for each API process of the last minutes.
_INGEST_BEATS = select(BEATS.c.at, BEATS.c.report).where(BEATS.c.role == INGEST).order_by(BEATS.c.at.desc())
# In the report of a process's last beat.
ENDED = "ended"
# In every report: the fingerprints of the root secrets that the process knows.
SECRETS = "secrets"
# In a report on PostgreSQL: by how many seconds the process's host is ahead of the store's clock.
CLOCK = "clock_ahead_seconds"
# A longer question says too little about either clock.
ROUND_TRIP_AT_MOST = timedelta(seconds=2)
FACTS = tables.Fact.metadata.tables["facts"]
FORGOTTEN_AFTER = timedelta(minutes=10)
# A beat that is further ahead was written by a clock that was set back since: it says nothing of now.
AHEAD_AT_MOST = timedelta(minutes=1)
# The fact that names the Temporal database which was told what the store holds; under another one all is told anew.
NAMESPACE_FACT = "temporal_namespace_id"
# The fact that says when a mail server last took an alert, in milliseconds since 1970; up to half a minute late.
ALERT_SENT_FACT = "alert_sent_at"


@dataclass(frozen=True, slots=True)
class Beat:
    """The last word of a process: `role` is `api`, `worker` or `ingest`; `report` JSON values.

    `age_seconds` is by the store's clock, and never negative: after that clock was set back, the last heartbeat of a dead
    process lies in the future, and is as old as it is far away.
    """

    process: str
    role: str
    started_at: datetime
    at: datetime
    age_seconds: float
    report: dict[str, object]


async def beat(
    session: AsyncSession, *, process: str, role: str, started_at: datetime, now: datetime, report: Mapping[str, object]
) -> None:
    """Say that a process is alive, and what it knows of itself."""
    await session.execute(
        text(
            "INSERT INTO heartbeats (process, role, started_at, at, report) VALUES (:process, :role, :started_at, :at, :report) "
            "ON CONFLICT (process) DO UPDATE SET role = excluded.role, started_at = excluded.started_at, at = excluded.at, "
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
    """This instant by the store's clock, and how far the host's is ahead, for the report.

    The difference is to the middle of the round trip. It is left out where it says nothing: SQLite's clock is the host's.
    """
    asked_at = host_now()
    now = await database.now(session)
    round_trip = host_now() - asked_at
    if database.dialect == "sqlite" or not timedelta() <= round_trip <= ROUND_TRIP_AT_MOST:
        return now, {}
    # Tests that skip time do it in the store alone.
    ahead = asked_at + round_trip / 2 - (now - database.clock.skew)
    return now, {CLOCK: round(ahead.total_seconds(), 1)}


async def read_beats(session: AsyncSession, now: datetime) -> list[Beat]:
    """The last beat of every process not yet forgotten, the youngest first."""
    rows = await session.execute(select(BEATS).order_by(BEATS.c.at.desc(), BEATS.c.process))
    return [_beat_from(row, now) for row in rows]


async def latest_ingest_beat(session: AsyncSession) -> datetime | None:
    """When a front door could last commit: ingest was up until then. None in a new installation."""
    latest: datetime | None = await session.scalar(_LATEST_INGEST_BEAT)
    return latest


async def read_ingest_beats(session: AsyncSession) -> IngestBeats | None:
    """When a front door could last commit, and one that has not ended. None in a new installation."""
    rows = (await session.execute(_INGEST_BEATS)).all()
    if not rows:
        return None
    alive_at = next((row.at for row in rows if not json.loads(row.report).get(ENDED)), None)
    return IngestBeats(last_at=rows[0].at, alive_at=alive_at)


async def forget_stale(session: AsyncSession, now: datetime) -> int:
    """Delete the beats of processes silent for 10 minutes, and those from the future; how many.

    The last of ingest stays: the outage credit needs it.
    """
    is_future = BEATS.c.at > now + AHEAD_AT_MOST
    is_stale = BEATS.c.at < now - FORGOTTEN_AFTER
    latest = _LATEST_INGEST_BEAT.where(BEATS.c.at <= now + AHEAD_AT_MOST).scalar_subquery()
    is_last = (BEATS.c.role == INGEST) & (BEATS.c.at == latest)
    gone = await session.execute(delete(BEATS).where(is_future | (is_stale & ~is_last)).returning(BEATS.c.process))
    return len(gone.all())


async def read_fact(session: AsyncSession, name: str) -> str | None:
    value: str | None = await session.scalar(select(FACTS.c.value).where(FACTS.c.name == name))
    return value


async def name_fact(session: AsyncSession, name: str, value: str) -> None:
    """Keep a fact, unless there is one already."""
    await session.execute(
        text("INSERT INTO facts (name, value) VALUES (:name, :value) ON CONFLICT DO NOTHING"), {"name": name, "value": value}
    )


async def lock_fact(session: AsyncSession, name: str) -> None:
    """Let nobody replace the fact, if there is one, before this transaction ends; others may hold it too."""
    await session.execute(select(FACTS.c.name).where(FACTS.c.name == name).with_for_update(read=True))


async def write_fact(session: AsyncSession, name: str, value: str) -> None:
    """Keep a fact, in place of the one before."""
    await session.execute(
        text("INSERT INTO facts (name, value) VALUES (:name, :value) ON CONFLICT (name) DO UPDATE SET value = excluded.value"),
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
