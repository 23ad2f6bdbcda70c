"""Counts failed attempts to sign in and enforces their backoff, for all API processes.

An attempt is counted as failed before anything is checked, in a transaction of its own, so that
concurrent attempts cannot outrun the count. A correct attempt is taken back. The names of counters
are digests, so that they reveal no address or user. Called by the console.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from hashlib import sha256

from sqlalchemy import delete, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.security.login_backoff import Limit, wait_after
from domain.values.timestamps import to_unix_ms
from store.schema.tables import THROTTLES


@dataclass(frozen=True, slots=True)
class Counter:
    """The counter of one subject. A correct attempt deletes it, or takes back only itself when
    `kept`.
    """

    name: str
    limit: Limit
    kept: bool = False


def counter(kind: str, of: str, limit: Limit, *, kept: bool = False) -> Counter:
    """The counter of an e-mail address, a network address or a user."""
    return Counter(f"{kind}:{sha256(of.encode()).hexdigest()}", limit, kept)


async def charge(
    session: AsyncSession, counters: Sequence[Counter], *, now: datetime
) -> int | None:
    """Count an attempt as failed and return None; or return the seconds to wait, with nothing
    counted.
    """
    rows = {
        one.name: await _lock_counter(session, one, now)
        for one in sorted(counters, key=lambda one: one.name)
    }
    waits = [until - now for _, until in rows.values() if until > now]
    if waits:
        return math.ceil(max(waits) / timedelta(seconds=1))
    for one in counters:
        failures = rows[one.name][0] + 1
        until = now + wait_after(failures, one.limit)
        values = {
            "failures": failures,
            "open_at": until,
            "forgotten_at": now + timedelta(hours=one.limit.forgotten_hours),
        }
        await session.execute(update(THROTTLES).where(THROTTLES.c.name == one.name).values(values))
    return None


async def is_first_refusal(
    session: AsyncSession, counters: Sequence[Counter], *, now: datetime
) -> bool:
    """Whether a refused attempt is the first one of the current wait; further ones are not.

    Only a counted attempt begins a wait. So this is true at most once for each counted attempt,
    however many are refused.
    """
    is_unreported = or_(
        THROTTLES.c.told_until.is_(None), THROTTLES.c.told_until != THROTTLES.c.open_at
    )
    waiting = (
        THROTTLES.c.name.in_([one.name for one in counters]),
        THROTTLES.c.open_at > now,
        is_unreported,
    )
    reported = (
        update(THROTTLES)
        .where(*waiting)
        .values(told_until=THROTTLES.c.open_at)
        .returning(THROTTLES.c.name)
    )
    return bool((await session.execute(reported)).all())


async def take_back(session: AsyncSession, counters: Sequence[Counter], *, now: datetime) -> None:
    """Take a correct attempt back, and with it the earlier failures unless the counter is
    `kept`.
    """
    for one in sorted(counters, key=lambda one: one.name):
        if one.kept:
            fewer = {"failures": THROTTLES.c.failures - 1, "open_at": now}
            await session.execute(
                update(THROTTLES).where(THROTTLES.c.name == one.name).values(fewer)
            )
        else:
            await session.execute(delete(THROTTLES).where(THROTTLES.c.name == one.name))


async def _lock_counter(session: AsyncSession, one: Counter, now: datetime) -> tuple[int, datetime]:
    """The failures so far, and when the next attempt is allowed; locks the row until the
    transaction ends.
    """
    made = (
        "INSERT INTO throttles (name, failures, open_at, forgotten_at) VALUES (:name, 0, :at, :at)"
        " ON CONFLICT DO NOTHING"
    )
    await session.execute(text(made), {"name": one.name, "at": to_unix_ms(now)})
    row = (
        await session.execute(
            select(THROTTLES).where(THROTTLES.c.name == one.name).with_for_update()
        )
    ).one()
    return (0, now) if row.forgotten_at <= now else (row.failures, row.open_at)
