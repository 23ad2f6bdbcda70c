"""Deletes what has served: stored answers after 24 h, payloads after 30 days, spent links and sessions.

Tries to sign in that count no more go too. Receipts are kept. Called by the worker's purge loop, in batches, so that no
transaction holds SQLite's one write lock for long.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, Table, delete, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from store.ingest.batch import ANSWERS_KEPT_FOR
from store.people.sessions import IDLE_LIFETIME
from store.schema import tables
from store.schema.mappers import RECEIPTS

IDEMPOTENCY = tables.Idempotency.metadata.tables["idempotency"]
LINKS = tables.LoginLink.metadata.tables["login_links"]
INVITATIONS = tables.Invitation.metadata.tables["invitations"]
SESSIONS = tables.Session.metadata.tables["sessions"]
THROTTLES = tables.Throttle.metadata.tables["throttles"]
PAYLOADS_KEPT_FOR = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Purged:
    """How many of each were purged in one batch."""

    answers: int
    payloads: int
    login_links: int
    invitations: int
    sessions: int
    throttles: int

    @property
    def total(self) -> int:
        of_sign_in = self.login_links + self.invitations + self.sessions + self.throttles
        return self.answers + self.payloads + of_sign_in


async def purge(session: AsyncSession, now: datetime, *, limit: int = 1_000) -> Purged:
    """One batch of at most `limit` of each kind; there may be more when one of the counts reaches it."""
    return Purged(**{kind: await purge_kind(session, kind, now, limit=limit) for kind in KINDS})


async def purge_kind(session: AsyncSession, kind: str, now: datetime, *, limit: int = 1_000) -> int:
    """One batch of at most `limit` of that kind, one of `KINDS`; how many."""
    return await KINDS[kind](session, now, limit)


async def _purge_answers(session: AsyncSession, now: datetime, limit: int) -> int:
    columns = (IDEMPOTENCY.c.project_id, IDEMPOTENCY.c.endpoint, IDEMPOTENCY.c.key)
    is_old = IDEMPOTENCY.c.created_at <= now - ANSWERS_KEPT_FOR
    old = _held(select(*columns).where(is_old).order_by(IDEMPOTENCY.c.created_at).limit(limit))
    # The age once more: a key used again meanwhile has a young row in the old one's place.
    purged = delete(IDEMPOTENCY).where(tuple_(*columns).in_(old), is_old)
    return len((await session.execute(purged.returning(IDEMPOTENCY.c.key))).all())


async def _purge_payloads(session: AsyncSession, now: datetime, limit: int) -> int:
    is_old = (RECEIPTS.c.payload.is_not(None), RECEIPTS.c.accepted_at <= now - PAYLOADS_KEPT_FOR)
    old = _held(select(RECEIPTS.c.event_id).where(*is_old).order_by(RECEIPTS.c.accepted_at).limit(limit))
    purged = update(RECEIPTS).where(RECEIPTS.c.event_id.in_(old)).values(payload=None)
    return len((await session.execute(purged.returning(RECEIPTS.c.event_id))).all())


async def _purge_links(session: AsyncSession, table: Table, now: datetime, limit: int) -> int:
    is_spent = or_(table.c.expires_at <= now, table.c.used_at.is_not(None))
    spent = _held(select(table.c.digest).where(is_spent).order_by(table.c.digest).limit(limit))
    return len((await session.execute(delete(table).where(table.c.digest.in_(spent)).returning(table.c.digest))).all())


async def _purge_sessions(session: AsyncSession, now: datetime, limit: int) -> int:
    is_over = or_(SESSIONS.c.expires_at <= now, SESSIONS.c.seen_at <= now - IDLE_LIFETIME)
    old = _held(select(SESSIONS.c.digest).where(is_over).order_by(SESSIONS.c.digest).limit(limit))
    purged = delete(SESSIONS).where(SESSIONS.c.digest.in_(old))
    return len((await session.execute(purged.returning(SESSIONS.c.digest))).all())


async def _purge_throttles(session: AsyncSession, now: datetime, limit: int) -> int:
    is_old = THROTTLES.c.forgotten_at <= now
    old = _held(select(THROTTLES.c.name).where(is_old).order_by(THROTTLES.c.forgotten_at).limit(limit))
    # The age once more: a name tried again meanwhile counts anew.
    purged = delete(THROTTLES).where(THROTTLES.c.name.in_(old), is_old)
    return len((await session.execute(purged.returning(THROTTLES.c.name))).all())


def _held(chosen: Select[Any]) -> Select[Any]:
    """Rows that nobody else holds, held from here on: a purge waits for no row, so that it never waits in a circle."""
    # A common table expression: it is run once, where PostgreSQL might run a subquery with a limit again.
    return select(chosen.with_for_update(skip_locked=True).cte("chosen"))


async def _purge_login_links(session: AsyncSession, now: datetime, limit: int) -> int:
    return await _purge_links(session, LINKS, now, limit)


async def _purge_invitations(session: AsyncSession, now: datetime, limit: int) -> int:
    return await _purge_links(session, INVITATIONS, now, limit)


# By the names of `Purged`.
KINDS: Mapping[str, Callable[[AsyncSession, datetime, int], Awaitable[int]]] = {
    "answers": _purge_answers,
    "payloads": _purge_payloads,
    "login_links": _purge_login_links,
    "invitations": _purge_invitations,
    "sessions": _purge_sessions,
    "throttles": _purge_throttles,
}
