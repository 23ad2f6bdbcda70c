"""Sessions of the console: opened at sign-in, read with each request, ended by time, by their user
or by a change of rights.

Only the browser has the token. The store has its digest, and the first digits of the digest are the
session's id. The caller passes the time. Called by the console's `Sessions` and by `makegood user`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import UserId
from domain.users import OpenSession, User
from domain.values.text import sanitize
from domain.wording.dates import UTC_DATES, ReaderDates
from store.crypto.tokens import new_token, token_digest
from store.db.paging import LISTED_AT_MOST
from store.people.preferences import dates_from
from store.schema.mappers import user_from
from store.schema.tables import SESSIONS, USERS

SESSION_LIFETIME = timedelta(days=7)
IDLE_LIFETIME = timedelta(hours=12)
# `seen_at` is written at most this often, so that reading pages rarely writes.
SEEN_EVERY = timedelta(minutes=1)
ID_DIGITS = 16
LONGEST_USER_AGENT = 300


@dataclass(frozen=True, slots=True)
class LiveSession:
    """A session that has not ended. `proved_at` is when its user last proved their identity, and
    `dates` is how they see times.
    """

    user: User
    seen_at: datetime
    proved_at: datetime | None
    dates: ReaderDates = UTC_DATES


async def open_session(
    session: AsyncSession,
    *,
    user_id: UserId,
    now: datetime,
    address: str = "",
    user_agent: str = "",
    proved_at: datetime | None = None,
) -> str:
    """Open a session; returns its token, valid for 7 days and for 12 hours without a request.

    `proved_at` is when the user last proved their identity; None means now.
    """
    token = new_token()
    times = {
        "created_at": now,
        "seen_at": now,
        "expires_at": now + SESSION_LIFETIME,
        "proved_at": proved_at or now,
    }
    origin = {"address": sanitize(address), "user_agent": sanitize(user_agent)[:LONGEST_USER_AGENT]}
    await session.execute(
        insert(SESSIONS).values(digest=token_digest(token), user_id=user_id, **times, **origin)
    )
    return token


async def read_session(session: AsyncSession, *, token: str, now: datetime) -> LiveSession | None:
    """The session with its user. None if it is unknown, ended, idle or expired."""
    of_session = (SESSIONS.c.digest == token_digest(token), *_is_alive(now))
    query = (
        select(USERS, SESSIONS.c.seen_at, SESSIONS.c.proved_at)
        .join(SESSIONS, SESSIONS.c.user_id == USERS.c.id)
        .where(*of_session)
    )
    row = (await session.execute(query)).first()
    if row is None:
        return None
    return LiveSession(user_from(row), row.seen_at, row.proved_at, dates_from(row))


async def see_session(session: AsyncSession, *, token: str, now: datetime) -> None:
    """Reset the idle time; an ended session stays ended."""
    of_session = (SESSIONS.c.digest == token_digest(token), *_is_alive(now))
    await session.execute(update(SESSIONS).where(*of_session).values(seen_at=now))


async def list_sessions(
    session: AsyncSession, user_id: UserId, *, now: datetime, token: str = ""
) -> list[OpenSession]:
    """The user's 1,000 sessions last seen, newest first; `token` is that of the current session."""
    of_user = select(SESSIONS).where(SESSIONS.c.user_id == user_id, *_is_alive(now))
    rows = await session.execute(
        of_user.order_by(SESSIONS.c.seen_at.desc(), SESSIONS.c.digest).limit(LISTED_AT_MOST)
    )
    return [_open_session(row, digest=token_digest(token)) for row in rows]


async def close_session(session: AsyncSession, *, token: str) -> None:
    """Close the session; nothing happens when it is closed already."""
    await session.execute(delete(SESSIONS).where(SESSIONS.c.digest == token_digest(token)))


async def end_session(session: AsyncSession, user_id: UserId, *, session_id: str) -> bool:
    """End one session of the user; False when they have none with that id."""
    is_meant = (
        SESSIONS.c.user_id == user_id,
        SESSIONS.c.digest.startswith(session_id, autoescape=True),
    )
    if len(session_id) != ID_DIGITS:
        return False
    return (
        await session.execute(delete(SESSIONS).where(*is_meant).returning(SESSIONS.c.digest))
    ).first() is not None


async def end_sessions(session: AsyncSession, user_id: UserId, *, but_for: str = "") -> int:
    """End every session of the user except that of the token; returns how many."""
    are_meant = (SESSIONS.c.user_id == user_id, SESSIONS.c.digest != token_digest(but_for))
    return len(
        (
            await session.execute(delete(SESSIONS).where(*are_meant).returning(SESSIONS.c.digest))
        ).all()
    )


def _is_alive(now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (SESSIONS.c.expires_at > now, SESSIONS.c.seen_at > now - IDLE_LIFETIME)


def _open_session(row: Row[Any], *, digest: str) -> OpenSession:
    return OpenSession(
        id=row.digest[:ID_DIGITS],
        created_at=row.created_at,
        seen_at=row.seen_at,
        address=row.address,
        user_agent=row.user_agent,
        is_this=row.digest == digest,
    )
