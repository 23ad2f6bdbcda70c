"""Sessions of the console: opened at a sign-in, read with each request, ended by time, by their owner or by a change of rights.

The token is the browser's alone; what is stored is its digest, whose first digits name the session to its owner. Time is always
passed in. Called by the console's `Sessions` and by `makegood user`.
"""

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import UserId
from domain.users import OpenSession, User
from domain.values.text import sanitize
from store.crypto.tokens import new_token, token_digest
from store.db.paging import LISTED_AT_MOST
from store.schema import tables
from store.schema.mappers import user_from

USERS = tables.User.metadata.tables["users"]
SESSIONS = tables.Session.metadata.tables["sessions"]
SESSION_LIFETIME = timedelta(days=7)
IDLE_LIFETIME = timedelta(hours=12)
# A request writes no more often than this, so that reading pages costs no writes.
SEEN_EVERY = timedelta(minutes=1)
ID_DIGITS = 16
LONGEST_USER_AGENT = 300


async def open_session(
    session: AsyncSession,
    *,
    user_id: UserId,
    now: datetime,
    address: str = "",
    user_agent: str = "",
    proved_at: datetime | None = None,
) -> str:
    """The token of a new session, good for 7 days and for no longer than 12 hours without a request.

    `proved_at` is when the person last proved who he is; None when he has just done so.
    """
    token = new_token()
    times = {"created_at": now, "seen_at": now, "expires_at": now + SESSION_LIFETIME, "proved_at": proved_at or now}
    origin = {"address": sanitize(address), "user_agent": sanitize(user_agent)[:LONGEST_USER_AGENT]}
    await session.execute(insert(SESSIONS).values(digest=token_digest(token), user_id=user_id, **times, **origin))
    return token


async def read_session(session: AsyncSession, *, token: str, now: datetime) -> tuple[User, datetime] | None:
    """Whose session this is, and when it was last seen; None when it is unknown, ended, idle or too old."""
    of_session = (SESSIONS.c.digest == token_digest(token), *_is_alive(now))
    query = select(USERS, SESSIONS.c.seen_at).join(SESSIONS, SESSIONS.c.user_id == USERS.c.id).where(*of_session)
    row = (await session.execute(query)).first()
    return None if row is None else (user_from(row), row.seen_at)


async def see_session(session: AsyncSession, *, token: str, now: datetime) -> None:
    """Its idle time begins anew; an ended session stays ended."""
    of_session = (SESSIONS.c.digest == token_digest(token), *_is_alive(now))
    await session.execute(update(SESSIONS).where(*of_session).values(seen_at=now))


async def list_sessions(session: AsyncSession, user_id: UserId, *, now: datetime, token: str = "") -> list[OpenSession]:
    """The person's sessions, the last 1,000 seen, newest first; `token` is that of the one who asks."""
    of_user = select(SESSIONS).where(SESSIONS.c.user_id == user_id, *_is_alive(now))
    rows = await session.execute(of_user.order_by(SESSIONS.c.seen_at.desc(), SESSIONS.c.digest).limit(LISTED_AT_MOST))
    return [_open_session(row, digest=token_digest(token)) for row in rows]


async def close_session(session: AsyncSession, *, token: str) -> None:
    """Sign out; nothing happens when the session is closed already."""
    await session.execute(delete(SESSIONS).where(SESSIONS.c.digest == token_digest(token)))


async def end_session(session: AsyncSession, user_id: UserId, *, session_id: str) -> bool:
    """End one session of this person; False when he has none of that id."""
    is_meant = (SESSIONS.c.user_id == user_id, SESSIONS.c.digest.startswith(session_id, autoescape=True))
    if len(session_id) != ID_DIGITS:
        return False
    return (await session.execute(delete(SESSIONS).where(*is_meant).returning(SESSIONS.c.digest))).first() is not None


async def end_sessions(session: AsyncSession, user_id: UserId, *, but_for: str = "") -> int:
    """End every session of this person, apart from that of the token; how many there were."""
    are_meant = (SESSIONS.c.user_id == user_id, SESSIONS.c.digest != token_digest(but_for))
    return len((await session.execute(delete(SESSIONS).where(*are_meant).returning(SESSIONS.c.digest))).all())


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
