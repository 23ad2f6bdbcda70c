"""Who is alive, and single facts about this installation.

API and worker write a beat every 2 s, an API more often where shorter outages count; `/readyz`, doctor, supervisor and the outage
credit read them. Nothing here judges what is too old.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, delete, func, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.instants import milliseconds
from domain.outages import IngestBeats
from store import tables

BEATS = tables.Heartbeat.metadata.tables["heartbeats"]
_LATEST_API_BEAT = select(func.max(BEATS.c.at)).where(BEATS.c.role == "api")
# Built once: the ledger asks it for each deadline. A row for each API process of the last minutes.
_API_BEATS = select(BEATS.c.at, BEATS.c.report).where(BEATS.c.role == "api").order_by(BEATS.c.at.desc())
# In the report of a process's last beat.
ENDED = "ended"
# In every report: the fingerprints of the root secrets that the process knows.
SECRETS = "secrets"
FACTS = tables.Fact.metadata.tables["facts"]
FORGOTTEN_AFTER = timedelta(minutes=10)
# The fact that names the Temporal database which was told what the store holds; under another one all is told anew.
NAMESPACE_FACT = "temporal_namespace_id"
# The fact that says when a mail server last took an alert, in milliseconds since 1970; up to half a minute late.
ALERT_SENT_FACT = "alert_sent_at"


@dataclass(frozen=True, slots=True)
class Beat:
    """The last word of a process: `role` is `api` or `worker`; `age_seconds` by the store's clock; `report` JSON values."""

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
            "started_at": milliseconds(started_at),
            "at": milliseconds(now),
            "report": json.dumps(dict(report)),
        },
    )


async def read_beats(session: AsyncSession, now: datetime) -> list[Beat]:
    """The last beat of every process not yet forgotten, the youngest first."""
    rows = await session.execute(select(BEATS).order_by(BEATS.c.at.desc(), BEATS.c.process))
    return [_beat_from(row, now) for row in rows]


async def latest_api_beat(session: AsyncSession) -> datetime | None:
    """When an API process last was alive: ingest was up until then. None in a new installation."""
    latest: datetime | None = await session.scalar(_LATEST_API_BEAT)
    return latest


async def read_ingest_beats(session: AsyncSession) -> IngestBeats | None:
    """The last beat of the front door, and whether a process that has not ended wrote one. None in a new installation."""
    rows = (await session.execute(_API_BEATS)).all()
    if not rows:
        return None
    alive_at = next((row.at for row in rows if not json.loads(row.report).get(ENDED)), None)
    return IngestBeats(last_at=rows[0].at, alive_at=alive_at)


async def forget_stale(session: AsyncSession, now: datetime) -> int:
    """Delete the beats of processes silent for 10 minutes; how many. The API's last one stays: the outage credit needs it."""
    is_stale = BEATS.c.at < now - FORGOTTEN_AFTER
    last_api = select(func.max(BEATS.c.at)).where(BEATS.c.role == "api").scalar_subquery()
    is_last_api = (BEATS.c.role == "api") & (BEATS.c.at == last_api)
    gone = await session.execute(delete(BEATS).where(is_stale, ~is_last_api).returning(BEATS.c.process))
    return len(gone.all())


async def read_fact(session: AsyncSession, name: str) -> str | None:
    value: str | None = await session.scalar(select(FACTS.c.value).where(FACTS.c.name == name))
    return value


async def name_fact(session: AsyncSession, name: str, value: str) -> None:
    """Keep a fact, unless there is one already."""
    await session.execute(
        text("INSERT INTO facts (name, value) VALUES (:name, :value) ON CONFLICT DO NOTHING"), {"name": name, "value": value}
    )


async def hold_fact(session: AsyncSession, name: str) -> None:
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
        age_seconds=(now - row.at).total_seconds(),
        report=json.loads(row.report),
    )
