"""People who sign in to the console: one-time links, passwords, sessions. Tokens are stored as digests, passwords by argon2id.

Called by the console's sign-in pages and by `makegood up` and `makegood user`, which print links. Hashing takes some 26 ms and
64 MiB, and is done in a thread: best before the transaction's first statement, while no lock is held.
"""

import asyncio
from datetime import datetime, timedelta
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import Row, delete, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import UserId
from domain.users import User
from store import tables
from store.conversions import user_from
from store.minting import new_token, new_user_id, token_digest

USERS = tables.User.metadata.tables["users"]
LINKS = tables.LoginLink.metadata.tables["login_links"]
SESSIONS = tables.Session.metadata.tables["sessions"]
LINK_LIFETIME = timedelta(hours=24)
SESSION_LIFETIME = timedelta(days=14)


async def list_users(session: AsyncSession) -> list[User]:
    """Everyone, the first one first."""
    return [user_from(row) for row in await session.execute(select(USERS).order_by(USERS.c.id))]


async def create_login_link(session: AsyncSession, *, now: datetime) -> str:
    """The token of a link that signs in once, within 24 hours: as the first user, who is made if there is none."""
    token = new_token()
    link = {"digest": token_digest(token), "user_id": await _first_user_id(session), "expires_at": now + LINK_LIFETIME}
    await session.execute(insert(LINKS).values(link))
    return token


async def redeem_login_link(session: AsyncSession, *, token: str, now: datetime) -> User | None:
    """Whom the link signs in; None when it is unknown, used or too old."""
    is_good = (LINKS.c.digest == token_digest(token), LINKS.c.used_at.is_(None), LINKS.c.expires_at > now)
    link = (await session.execute(update(LINKS).where(*is_good).values(used_at=now).returning(LINKS.c.user_id))).first()
    if link is None:
        return None
    user_id = link.user_id or await _first_user_id(session)
    if user_id is None:
        user_id = new_user_id()
        await session.execute(insert(USERS).values(id=user_id, created_at=now))
    return user_from(await _user(session, UserId(user_id)))


async def set_password(session: AsyncSession, *, user_id: UserId, email: str, password: str, now: datetime) -> User:
    """The user, who signs in with these from now on; links that were waiting to be used sign in no more.

    Raises:
        NotFound: no such user.
        ValidationFailed: another user has this address.
    """
    password_hash = await asyncio.to_thread(PasswordHasher().hash, password)
    values = {"email": _spelled(email), "password_hash": password_hash}
    try:
        await session.execute(update(USERS).where(USERS.c.id == user_id).values(values))
    except IntegrityError as error:
        raise ValidationFailed(errors=(FieldError("/email", "taken", "Another user has this address."),)) from error
    is_waiting = (or_(LINKS.c.user_id == user_id, LINKS.c.user_id.is_(None)), LINKS.c.used_at.is_(None))
    await session.execute(update(LINKS).where(*is_waiting).values(used_at=now))
    return user_from(await _user(session, user_id))


async def check_password(session: AsyncSession, *, email: str, password: str) -> User | None:
    """Whose address and password these are; None when they do not go together. Both answers take the same time."""
    row = (await session.execute(select(USERS).where(USERS.c.email == _spelled(email)))).first()
    password_hash = None if row is None else row.password_hash
    if row is None or password_hash is None:
        await asyncio.to_thread(PasswordHasher().hash, password)
        return None
    return user_from(row) if await asyncio.to_thread(_fits, password_hash, password) else None


async def find_user_id(session: AsyncSession, email: str) -> UserId | None:
    """Whose address this is; None when it is nobody's."""
    found = await session.scalar(select(USERS.c.id).where(USERS.c.email == _spelled(email)))
    return None if found is None else UserId(found)


async def open_session(session: AsyncSession, *, user_id: UserId, now: datetime) -> str:
    """The token of a new session, good for 14 days."""
    token = new_token()
    times = {"created_at": now, "seen_at": now, "expires_at": now + SESSION_LIFETIME}
    await session.execute(insert(SESSIONS).values(digest=token_digest(token), user_id=user_id, **times))
    return token


async def read_session(session: AsyncSession, *, token: str, now: datetime) -> User | None:
    """Whose session this is; None when it is unknown, closed or too old."""
    of_session = (SESSIONS.c.digest == token_digest(token), SESSIONS.c.expires_at > now)
    query = select(USERS).join(SESSIONS, SESSIONS.c.user_id == USERS.c.id).where(*of_session)
    row = (await session.execute(query)).first()
    return None if row is None else user_from(row)


async def close_session(session: AsyncSession, *, token: str) -> None:
    """Sign out; nothing happens when the session is closed already."""
    await session.execute(delete(SESSIONS).where(SESSIONS.c.digest == token_digest(token)))


async def _first_user_id(session: AsyncSession) -> UserId | None:
    found = await session.scalar(select(USERS.c.id).order_by(USERS.c.id).limit(1))
    return None if found is None else UserId(found)


async def _user(session: AsyncSession, user_id: UserId) -> Row[Any]:
    row: Row[Any] | None = (await session.execute(select(USERS).where(USERS.c.id == user_id))).first()
    if row is None:
        raise NotFound("There is no such user.")
    return row


def _spelled(email: str) -> str:
    return email.strip().lower()


def _fits(password_hash: str, password: str) -> bool:
    try:
        return PasswordHasher().verify(password_hash, password)
    except VerificationError:
        return False
