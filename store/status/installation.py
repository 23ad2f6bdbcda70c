"""Which installation this store is, and which Temporal namespace works for it.

Both are facts in the store. The id is made once and travels with a backup. The namespace is one row, so that of two workers that
start at the same moment on different namespaces one alone is let in. Called by `worker.membership` and `worker.loops.reconcile`.
"""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from sqlalchemy import delete, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId
from store.status.heartbeats import FACTS, NAMESPACE_FACT, Beat, name_fact, read_beats, read_fact, write_fact

INSTALLATION_FACT = "installation_id"
# While it is there, Temporal has not been given every open receipt yet: the namespace's id, and the last one that it was given.
RESTART_FACT = "temporal_restart"
# In a worker's report: the id of the namespace that it works in, and its name for people.
NAMESPACE_ID, NAMESPACE = "namespace_id", "namespace"
# A worker writes every 2 s.
LIVE_SECONDS = 10.0
# Where the store itself may have been away: its workers have not had the time to write.
UNSURE_SECONDS = 60.0


class Adoption(Enum):
    """What a worker that meets a namespace does."""

    KNOWN = "work: the store knows this namespace"
    NEW = "work, and start every open receipt in it"
    ELSEWHERE = "do not work: live workers of this store work in another namespace"


@dataclass(frozen=True, slots=True)
class Adopted:
    """The answer, and for `ELSEWHERE` one of the workers that are in the other namespace."""

    adoption: Adoption
    other: Beat | None = None


@dataclass(frozen=True, slots=True)
class Restart:
    """Every open receipt is started in a new Temporal database, in the order of their ids; `after`: up to there it is done."""

    namespace_id: str
    after: EventId | None = None


async def installation_id(session: AsyncSession) -> str:
    """The id of this store, made at the first call; the session must be one that may write."""
    if (known := await read_fact(session, INSTALLATION_FACT)) is not None:
        return known
    await name_fact(session, INSTALLATION_FACT, f"ins_{secrets.token_hex(12)}")
    made = await read_fact(session, INSTALLATION_FACT)
    assert made is not None
    return made


async def adopt_namespace(
    session: AsyncSession, namespace_id: str, *, process: str, now: datetime, live_seconds: float = LIVE_SECONDS
) -> Adopted:
    """Whether the worker named `process` may work in the namespace; the answer holds for all others once this is committed.

    Another namespace than the one before is another Temporal database, which knows of no receipt. A worker that is alive there
    says that it is not: then two would start every open receipt again and again. `live_seconds`: how old its heartbeat may be.
    """
    await name_fact(session, NAMESPACE_FACT, namespace_id)
    known = await session.scalar(select(FACTS.c.value).where(FACTS.c.name == NAMESPACE_FACT).with_for_update())
    if known == namespace_id:
        return Adopted(Adoption.KNOWN)
    if (other := _live_in(known, await read_beats(session, now), process, live_seconds)) is not None:
        return Adopted(Adoption.ELSEWHERE, other)
    await write_fact(session, NAMESPACE_FACT, namespace_id)
    await write_fact(session, RESTART_FACT, namespace_id)
    return Adopted(Adoption.NEW)


async def read_restart(session: AsyncSession) -> Restart | None:
    """What is still to be started in a new Temporal database; None when nothing is."""
    return _restart_from(await read_fact(session, RESTART_FACT))


async def advance_restart(session: AsyncSession, namespace_id: str, after: EventId) -> None:
    """Record how far a restart in that namespace is; several workers may do it at once, and the furthest counts."""
    restart = await _locked_restart(session, namespace_id)
    if restart is not None and (restart.after is None or restart.after < after):
        await write_fact(session, RESTART_FACT, f"{namespace_id} {after}")


async def end_restart(session: AsyncSession, namespace_id: str) -> None:
    """Every open receipt was started in that namespace; if another one was adopted meanwhile, that one is still to be done."""
    if await _locked_restart(session, namespace_id) is not None:
        await session.execute(delete(FACTS).where(FACTS.c.name == RESTART_FACT))


async def _locked_restart(session: AsyncSession, namespace_id: str) -> Restart | None:
    """The restart, if it is of that namespace; nobody else changes it until the transaction ends."""
    value = await session.scalar(select(FACTS.c.value).where(FACTS.c.name == RESTART_FACT).with_for_update())
    restart = _restart_from(value)
    return restart if restart is not None and restart.namespace_id == namespace_id else None


def _restart_from(value: str | None) -> Restart | None:
    if value is None:
        return None
    namespace_id, _, after = value.partition(" ")
    return Restart(namespace_id, EventId(after) if after else None)


def _live_in(namespace_id: str | None, beats: Sequence[Beat], process: str, live_seconds: float) -> Beat | None:
    for beat in beats:
        is_live = beat.role == "worker" and beat.process != process and beat.age_seconds <= live_seconds
        if is_live and beat.report.get(NAMESPACE_ID) == namespace_id:
            return beat
    return None
