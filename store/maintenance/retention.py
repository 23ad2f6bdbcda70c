"""Deletes expired data: stored responses and early results after 24 h, payloads after 30 days, what
sources saw after 40 days, removed sources, used links, old sessions.

Expired login attempts and challenges are deleted too; receipts are kept. Called by the worker's
retention loop, in batches, so that no transaction holds SQLite's write lock for long.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Select, Table, delete, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from store.ingest.idempotency_keys import RESPONSE_RETENTION
from store.people.sessions import IDLE_LIFETIME
from store.receipts.early_results.hold import HELD_FOR
from store.schema.tables import (
    EARLY_RESULTS,
    IDEMPOTENCY,
    INVITATIONS,
    LOGIN_LINKS,
    PASSKEY_CHALLENGES,
    RECEIPTS,
    SESSIONS,
    THROTTLES,
)
from store.sources.removal import purge_source_events, purge_source_gaps, purge_sources

PAYLOAD_RETENTION = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class Purged:
    """How many rows of each kind one batch deleted."""

    answers: int
    payloads: int
    early_results: int
    source_events: int
    source_gaps: int
    sources: int
    login_links: int
    invitations: int
    sessions: int
    throttles: int
    passkey_challenges: int

    @property
    def total(self) -> int:
        of_sign_in = self.login_links + self.invitations + self.sessions + self.throttles
        of_sign_in += self.passkey_challenges
        of_sources = self.source_events + self.source_gaps + self.sources
        return self.answers + self.payloads + self.early_results + of_sources + of_sign_in


async def purge(session: AsyncSession, now: datetime, *, limit: int = 1_000) -> Purged:
    """Delete one batch of at most `limit` rows of each kind.

    If a count reaches `limit`, there may be more.
    """
    return Purged(**{kind: await purge_kind(session, kind, now, limit=limit) for kind in KINDS})


async def purge_kind(
    session: AsyncSession, kind: str, now: datetime, *, limit: int = 1_000, skip: int | None = None
) -> int:
    """Delete one batch of at most `limit` rows of `kind`, one of `KINDS`. Return how many.

    `skip`: leave out so many rows, oldest first, because they cannot be deleted.
    """
    return await KINDS[kind](session, now, limit, skip or 0)


async def _purge_answers(session: AsyncSession, now: datetime, limit: int, skip: int) -> int:
    columns = (IDEMPOTENCY.c.project_id, IDEMPOTENCY.c.endpoint, IDEMPOTENCY.c.key)
    is_old = IDEMPOTENCY.c.created_at <= now - RESPONSE_RETENTION
    old = _locked(
        select(*columns).where(is_old).order_by(IDEMPOTENCY.c.created_at).limit(limit).offset(skip)
    )
    # The age is checked again: a key used again meanwhile has a new row.
    purged = delete(IDEMPOTENCY).where(tuple_(*columns).in_(old), is_old)
    return len((await session.execute(purged.returning(IDEMPOTENCY.c.key))).all())


async def _purge_payloads(session: AsyncSession, now: datetime, limit: int, skip: int) -> int:
    is_old = (RECEIPTS.c.payload.is_not(None), RECEIPTS.c.accepted_at <= now - PAYLOAD_RETENTION)
    old = _locked(
        select(RECEIPTS.c.event_id)
        .where(*is_old)
        .order_by(RECEIPTS.c.accepted_at)
        .limit(limit)
        .offset(skip)
    )
    purged = update(RECEIPTS).where(RECEIPTS.c.event_id.in_(old)).values(payload=None)
    return len((await session.execute(purged.returning(RECEIPTS.c.event_id))).all())


async def _purge_early_results(session: AsyncSession, now: datetime, limit: int, skip: int) -> int:
    columns = EARLY_RESULTS.c
    old = _locked(
        select(columns.id)
        .where(columns.received_at <= now - HELD_FOR)
        .order_by(columns.received_at)
        .limit(limit)
        .offset(skip)
    )
    purged = delete(EARLY_RESULTS).where(columns.id.in_(old))
    return len((await session.execute(purged.returning(columns.id))).all())


async def _purge_links(
    session: AsyncSession, table: Table, now: datetime, limit: int, skip: int
) -> int:
    is_spent = or_(table.c.expires_at <= now, table.c.used_at.is_not(None))
    spent = _locked(
        select(table.c.digest).where(is_spent).order_by(table.c.digest).limit(limit).offset(skip)
    )
    return len(
        (
            await session.execute(
                delete(table).where(table.c.digest.in_(spent)).returning(table.c.digest)
            )
        ).all()
    )


async def _purge_sessions(session: AsyncSession, now: datetime, limit: int, skip: int) -> int:
    is_over = or_(SESSIONS.c.expires_at <= now, SESSIONS.c.seen_at <= now - IDLE_LIFETIME)
    old = _locked(
        select(SESSIONS.c.digest)
        .where(is_over)
        .order_by(SESSIONS.c.digest)
        .limit(limit)
        .offset(skip)
    )
    purged = delete(SESSIONS).where(SESSIONS.c.digest.in_(old))
    return len((await session.execute(purged.returning(SESSIONS.c.digest))).all())


async def _purge_throttles(session: AsyncSession, now: datetime, limit: int, skip: int) -> int:
    is_old = THROTTLES.c.forgotten_at <= now
    old = _locked(
        select(THROTTLES.c.name)
        .where(is_old)
        .order_by(THROTTLES.c.forgotten_at)
        .limit(limit)
        .offset(skip)
    )
    # The age is checked again: a new login attempt may have refreshed the row meanwhile.
    purged = delete(THROTTLES).where(THROTTLES.c.name.in_(old), is_old)
    return len((await session.execute(purged.returning(THROTTLES.c.name))).all())


async def _purge_challenges(session: AsyncSession, now: datetime, limit: int, skip: int) -> int:
    columns = PASSKEY_CHALLENGES.c
    old = _locked(
        select(columns.challenge)
        .where(columns.expires_at <= now)
        .order_by(columns.expires_at)
        .limit(limit)
        .offset(skip)
    )
    purged = delete(PASSKEY_CHALLENGES).where(columns.challenge.in_(old))
    return len((await session.execute(purged.returning(columns.challenge))).all())


def _locked(chosen: Select[Any]) -> Select[Any]:
    """Lock the rows that no other transaction has locked. It never waits, so it cannot deadlock."""
    # PostgreSQL might run a subquery with a limit twice; a common table expression runs once.
    return select(chosen.with_for_update(skip_locked=True).cte("chosen"))


async def _purge_login_links(session: AsyncSession, now: datetime, limit: int, skip: int) -> int:
    return await _purge_links(session, LOGIN_LINKS, now, limit, skip)


async def _purge_invitations(session: AsyncSession, now: datetime, limit: int, skip: int) -> int:
    return await _purge_links(session, INVITATIONS, now, limit, skip)


# By the names of `Purged`.
KINDS: Mapping[str, Callable[[AsyncSession, datetime, int, int], Awaitable[int]]] = {
    "answers": _purge_answers,
    "payloads": _purge_payloads,
    "early_results": _purge_early_results,
    "source_events": purge_source_events,
    "source_gaps": purge_source_gaps,
    "sources": purge_sources,
    "login_links": _purge_login_links,
    "invitations": _purge_invitations,
    "sessions": _purge_sessions,
    "throttles": _purge_throttles,
    "passkey_challenges": _purge_challenges,
}
