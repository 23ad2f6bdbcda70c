"""The id of this installation, and the Temporal namespace that belongs to it.

Both are facts in the store. The id is created once and is part of a backup. The namespace is one
row: if two workers start at the same moment in different namespaces, only one of them is accepted.
Called by `worker.membership` and `worker.loops.reconcile`.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId
from store.schema.tables import FACTS
from store.status.heartbeats import (
    NAMESPACE_FACT,
    Heartbeat,
    read_fact,
    read_heartbeats,
    write_fact,
    write_fact_once,
)

INSTALLATION_FACT = "installation_id"
# Exists while open receipts still have to be started in a new namespace. Its value is the id of the
# namespace and of the last receipt that was started.
RESTART_FACT = "temporal_restart"
# In a worker's report: the id and the name of its namespace.
NAMESPACE_ID, NAMESPACE = "namespace_id", "namespace"
# A worker writes a heartbeat every 2 s.
LIVE_SECONDS = 10.0
# After the store itself may have been unavailable: its workers had no time to write a heartbeat.
UNSURE_SECONDS = 60.0


class Adoption(Enum):
    """What a worker does after it has connected to a namespace."""

    KNOWN = "work: the store knows this namespace"
    NEW = "work, and start every open receipt in it"
    ELSEWHERE = "do not work: live workers of this store work in another namespace"


@dataclass(frozen=True, slots=True)
class Adopted:
    """The decision, and for `ELSEWHERE` one of the workers in the other namespace."""

    adoption: Adoption
    other: Heartbeat | None = None


@dataclass(frozen=True, slots=True)
class Restart:
    """The start of every open receipt in a new Temporal database, in the order of their ids.

    `after`: the last receipt that was started. None: none yet.
    """

    namespace_id: str
    after: EventId | None = None


async def read_installation_id(session: AsyncSession) -> str | None:
    """The id of this store; None before it is created."""
    return await read_fact(session, INSTALLATION_FACT)


async def installation_id(session: AsyncSession) -> str:
    """The id of this store, created by the first call. The session must be able to write."""
    if (known := await read_fact(session, INSTALLATION_FACT)) is not None:
        return known
    await write_fact_once(session, INSTALLATION_FACT, f"ins_{secrets.token_hex(12)}")
    made = await read_fact(session, INSTALLATION_FACT)
    assert made is not None
    return made


async def adopt_namespace(
    session: AsyncSession,
    namespace_id: str,
    *,
    process: str,
    now: datetime,
    live_seconds: float = LIVE_SECONDS,
) -> Adopted:
    """Decide whether the worker `process` may work in the namespace. Binding once it is committed.

    A different namespace than before is a new Temporal database without any receipt. It is refused
    while a worker is alive in the old one: otherwise both would start every open receipt again and
    again. `live_seconds`: how old the heartbeat of a live worker may be.
    """
    await write_fact_once(session, NAMESPACE_FACT, namespace_id)
    known = await session.scalar(
        select(FACTS.c.value).where(FACTS.c.name == NAMESPACE_FACT).with_for_update()
    )
    if known == namespace_id:
        return Adopted(Adoption.KNOWN)
    if (
        other := _live_in(known, await read_heartbeats(session, now), process, live_seconds)
    ) is not None:
        return Adopted(Adoption.ELSEWHERE, other)
    await write_fact(session, NAMESPACE_FACT, namespace_id)
    await write_fact(session, RESTART_FACT, namespace_id)
    return Adopted(Adoption.NEW)


async def read_restart(session: AsyncSession) -> Restart | None:
    """The restart that is not finished. None if there is none."""
    return _restart_from(await read_fact(session, RESTART_FACT))


async def advance_restart(session: AsyncSession, namespace_id: str, after: EventId) -> None:
    """Record the progress of a restart. Of several workers, the furthest one counts."""
    restart = await _locked_restart(session, namespace_id)
    if restart is not None and (restart.after is None or restart.after < after):
        await write_fact(session, RESTART_FACT, f"{namespace_id} {after}")


async def end_restart(session: AsyncSession, namespace_id: str) -> None:
    """Record that every open receipt was started in that namespace.

    If another namespace was adopted meanwhile, its restart stays open.
    """
    if await _locked_restart(session, namespace_id) is not None:
        await session.execute(delete(FACTS).where(FACTS.c.name == RESTART_FACT))


async def _locked_restart(session: AsyncSession, namespace_id: str) -> Restart | None:
    """Lock the restart and return it. None if there is none, or if it is of another namespace."""
    value = await session.scalar(
        select(FACTS.c.value).where(FACTS.c.name == RESTART_FACT).with_for_update()
    )
    restart = _restart_from(value)
    return restart if restart is not None and restart.namespace_id == namespace_id else None


def _restart_from(value: str | None) -> Restart | None:
    if value is None:
        return None
    namespace_id, _, after = value.partition(" ")
    return Restart(namespace_id, EventId(after) if after else None)


def _live_in(
    namespace_id: str | None, heartbeats: Sequence[Heartbeat], process: str, live_seconds: float
) -> Heartbeat | None:
    for heartbeat in heartbeats:
        is_live = (
            heartbeat.role == "worker"
            and heartbeat.process != process
            and heartbeat.age_seconds <= live_seconds
        )
        if is_live and heartbeat.report.get(NAMESPACE_ID) == namespace_id:
            return heartbeat
    return None
