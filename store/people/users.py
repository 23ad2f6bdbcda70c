"""Users of the console: one-time links and passwords. Tokens are stored as digests, passwords as
argon2id hashes.

Called by the console's sign-in pages, and by `makegood up` and `makegood user`, which print links.
Hashing takes about 26 ms and 64 MiB and runs in a thread. Call it before the transaction's first
statement, while no lock is held.
"""

import asyncio
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import ColumnElement, Row, Select, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import UserId
from domain.users import User
from store.crypto.tokens import new_token, new_user_id, token_digest
from store.db.paging import LISTED_AT_MOST
from store.people.email_addresses import (
    AddressRefused,
    canonical_address,
    sign_in_address,
    spellings,
)
from store.schema.mappers import user_from
from store.schema.tables import ADMINISTRATORS, LOGIN_LINKS, USERS

LINK_LIFETIME = timedelta(hours=24)
# The hash of a discarded random password, with the library's own parameters.
NOBODYS_HASH = (
    ""
    "$argon2id$v=19$m=65536,t=3,p=4$73RrtEGre5VaBMG+0pqTww$UecFH1yljV5FEMvPmdoBIg+DqoNhSfcrF8zT/6QAv4I"
)


async def list_users(session: AsyncSession) -> list[User]:
    """The newest 1,000 users, oldest first."""
    newest = select(USERS).order_by(USERS.c.id.desc()).limit(LISTED_AT_MOST)
    return [user_from(row) for row in reversed((await session.execute(newest)).all())]


async def read_users(session: AsyncSession, user_ids: Collection[str]) -> list[User]:
    """The users with these ids, at most 1,000, oldest first."""
    wanted = sorted(user_ids)[:LISTED_AT_MOST]
    return [
        user_from(row)
        for row in await session.execute(
            select(USERS).where(USERS.c.id.in_(wanted)).order_by(USERS.c.id)
        )
    ]


async def find_user(session: AsyncSession, email_or_id: str) -> User:
    """The user with this address or id. Raises: NotFound."""
    is_meant = or_(USERS.c.id == email_or_id, USERS.c.email.in_(spellings(email_or_id)))
    row = (await session.execute(select(USERS).where(is_meant))).first()
    if row is None:
        raise NotFound("There is no such user: `makegood user list` shows all.")
    return user_from(row)


async def create_user(session: AsyncSession, *, email: str, now: datetime) -> User:
    """Create a user without password and memberships.

    Raises: ValidationFailed: the address is invalid, or another user has it.
    """
    if problem := address_problem(email):
        raise ValidationFailed(errors=(FieldError("/email", "invalid", problem),))
    user_id = new_user_id()
    try:
        await session.execute(
            insert(USERS).values(id=user_id, email=sign_in_address(email), created_at=now)
        )
    except IntegrityError as error:
        raise _address_taken() from error
    return user_from(await _user(session, user_id))


def address_problem(email: str) -> str:
    """The problem with an e-mail address; empty when it is valid."""
    try:
        canonical_address(email.strip())
    except AddressRefused as refused:
        return str(refused)
    return ""


async def create_login_link(
    session: AsyncSession, *, now: datetime, user_id: UserId | None = None
) -> str:
    """Create a link; returns its token, which signs in once within 24 hours, as the user or the
    first administrator.

    If there is no user yet, using the link creates the first one as administrator.
    """
    token = new_token()
    whose = user_id or await _first_administrator(session)
    await session.execute(
        insert(LOGIN_LINKS).values(
            digest=token_digest(token), user_id=whose, expires_at=now + LINK_LIFETIME
        )
    )
    return token


async def is_login_link_good(session: AsyncSession, *, token: str, now: datetime) -> bool:
    """Whether the link would sign somebody in. It stays as it is."""
    found = select(LOGIN_LINKS.c.digest).where(*_is_good(token, now))
    return (await session.execute(found)).first() is not None


async def redeem_login_link(session: AsyncSession, *, token: str, now: datetime) -> User | None:
    """The user whom the link signs in; None when it is unknown, used or expired."""
    redeemed = update(LOGIN_LINKS).where(*_is_good(token, now)).values(used_at=now)
    link = (await session.execute(redeemed.returning(LOGIN_LINKS.c.user_id))).first()
    if link is None:
        return None
    user_id = link.user_id or await _first_administrator(session)
    if user_id is None:
        user_id = new_user_id()
        await session.execute(insert(USERS).values(id=user_id, created_at=now))
        await session.execute(insert(ADMINISTRATORS).values(user_id=user_id, since=now))
    return user_from(await _user(session, UserId(user_id)))


async def set_password(
    session: AsyncSession, *, user_id: UserId, email: str, password: str, now: datetime
) -> User:
    """Set the user's address and password; their unused links become invalid.

    Raises:
        NotFound: no such user.
        ValidationFailed: another user has this address.
    """
    password_hash = await asyncio.to_thread(PasswordHasher().hash, password)
    values = {"email": sign_in_address(email), "password_hash": password_hash}
    try:
        await session.execute(update(USERS).where(USERS.c.id == user_id).values(values))
    except IntegrityError as error:
        raise _address_taken() from error
    await spend_links(session, user_id, now=now)
    return user_from(await _user(session, user_id))


async def spend_links(session: AsyncSession, user_id: UserId, *, now: datetime) -> None:
    """Invalidate the user's unused links."""
    is_waiting = (
        or_(LOGIN_LINKS.c.user_id == user_id, LOGIN_LINKS.c.user_id.is_(None)),
        LOGIN_LINKS.c.used_at.is_(None),
    )
    await session.execute(update(LOGIN_LINKS).where(*is_waiting).values(used_at=now))


async def check_password(session: AsyncSession, *, email: str, password: str) -> User | None:
    """The user with this address and password, or None. Both answers take the same time."""
    row = (await session.execute(_by_address(email))).first()
    password_hash = None if row is None else row.password_hash
    if row is None or password_hash is None:
        # Verified against a hash anyway, so that the time does not reveal which accounts exist.
        await asyncio.to_thread(_fits, NOBODYS_HASH, password)
        return None
    return user_from(row) if await asyncio.to_thread(_fits, password_hash, password) else None


async def find_user_id(session: AsyncSession, email: str) -> UserId | None:
    """The id of the user with this address; None without one."""
    found = await session.scalar(_by_address(email))
    return None if found is None else UserId(found)


def _is_good(token: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    return (
        LOGIN_LINKS.c.digest == token_digest(token),
        LOGIN_LINKS.c.used_at.is_(None),
        LOGIN_LINKS.c.expires_at > now,
    )


async def _first_administrator(session: AsyncSession) -> UserId | None:
    found = await session.scalar(
        select(ADMINISTRATORS.c.user_id).order_by(ADMINISTRATORS.c.user_id).limit(1)
    )
    return None if found is None else UserId(found)


async def _user(session: AsyncSession, user_id: UserId) -> Row[Any]:
    row: Row[Any] | None = (
        await session.execute(select(USERS).where(USERS.c.id == user_id))
    ).first()
    if row is None:
        raise NotFound("There is no such user.")
    return row


def _address_taken() -> ValidationFailed:
    return ValidationFailed(
        errors=(FieldError("/email", "taken", "Another user has this address."),)
    )


def _by_address(email: str) -> Select[Any]:
    """The users with the address, the canonical spelling first."""
    known = spellings(email)
    return (
        select(USERS)
        .where(USERS.c.email.in_(known))
        .order_by(USERS.c.email != known[0], USERS.c.id)
    )


def _fits(password_hash: str, password: str) -> bool:
    try:
        return PasswordHasher().verify(password_hash, password)
    except VerificationError:
        return False
