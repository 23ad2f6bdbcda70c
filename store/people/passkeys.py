"""Passkeys of users: add, rename, remove and find them, and record their use.

A passkey is a second factor: `store.people.second_factor` counts it. What an authenticator answers
is verified before (`api.console.sign_in.webauthn_verifier`); nothing here judges a signature.
Called by the console and, through `operations.people`, by `makegood user`.
"""

from datetime import datetime
from typing import Any

from sqlalchemy import Row, delete, func, insert, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import PasskeyId, UserId
from domain.security.passkeys import LONGEST_NAME, MOST_PASSKEYS, NewPasskey, Passkey
from domain.users import User
from domain.values.text import one_line
from store.crypto.tokens import new_passkey_id
from store.people import second_factor
from store.schema.mappers import user_from
from store.schema.tables import PASSKEYS, USERS

NO_PASSKEY = "There is no such passkey. It may have been removed already."


async def add_passkey(
    session: AsyncSession, user_id: UserId, made: NewPasskey, *, name: str, now: datetime
) -> Passkey:
    """Store a passkey of the user.

    Raises:
        NotFound: no such user.
        ValidationFailed: the name is empty or too long, the user has `MOST_PASSKEYS`, or the
            passkey is known already.
    """
    checked = _checked_name(name)
    # Locked, so that two forms at once do not exceed the limit.
    user = select(USERS.c.id).where(USERS.c.id == user_id).with_for_update()
    if await session.scalar(user) is None:
        raise NotFound("There is no such user.")
    if await count_passkeys(session, user_id) >= MOST_PASSKEYS:
        message = f"You have {MOST_PASSKEYS} passkeys, which is the limit: remove one first."
        raise ValidationFailed(errors=(FieldError("/name", "too_many", message),))
    passkey = Passkey(
        id=new_passkey_id(),
        user_id=user_id,
        name=checked,
        credential_id=made.credential_id,
        public_key=made.public_key,
        sign_count=made.sign_count,
        rp_id=made.rp_id,
        transports=made.transports,
        created_at=now,
        last_used_at=None,
    )
    columns = {column.name: getattr(passkey, column.name) for column in PASSKEYS.columns}
    try:
        await session.execute(
            insert(PASSKEYS).values({**columns, "transports": " ".join(made.transports)})
        )
    except IntegrityError as error:
        message = "This passkey is already registered."
        raise ValidationFailed(errors=(FieldError("/passkey", "known", message),)) from error
    return passkey


async def list_passkeys(session: AsyncSession, user_id: UserId) -> list[Passkey]:
    """The user's passkeys, the oldest first. There are at most `MOST_PASSKEYS`."""
    of_user = select(PASSKEYS).where(PASSKEYS.c.user_id == user_id).order_by(PASSKEYS.c.id)
    return [_passkey(row) for row in await session.execute(of_user.limit(MOST_PASSKEYS))]


async def count_passkeys(session: AsyncSession, user_id: UserId) -> int:
    of_user = select(func.count()).select_from(PASSKEYS).where(PASSKEYS.c.user_id == user_id)
    return int(await session.scalar(of_user) or 0)


async def count_passkeys_of_other_hosts(session: AsyncSession, host: str) -> int:
    """How many passkeys of all users were made for another host name, and do not work there."""
    others = select(func.count()).select_from(PASSKEYS).where(PASSKEYS.c.rp_id != host)
    return int(await session.scalar(others) or 0)


async def find_passkey(session: AsyncSession, credential_id: str) -> tuple[Passkey, User] | None:
    """The passkey with this credential id, and its user. None if it is not stored."""
    found = select(PASSKEYS).where(PASSKEYS.c.credential_id == credential_id)
    row = (await session.execute(found)).first()
    if row is None:
        return None
    user = (await session.execute(select(USERS).where(USERS.c.id == row.user_id))).first()
    return None if user is None else (_passkey(row), user_from(user))


async def record_use(
    session: AsyncSession, passkey_id: PasskeyId, *, sign_count: int, now: datetime
) -> bool:
    """Store the authenticator's counter. False: the passkey was removed, or the counter did not
    grow (`is_counter_valid`), and nothing is changed.

    One statement compares and sets, so that of two answers with one counter the second is refused.
    """
    grows = PASSKEYS.c.sign_count < sign_count
    # An authenticator without a counter sends 0 each time.
    is_valid = or_(grows, PASSKEYS.c.sign_count == 0) if sign_count == 0 else grows
    used = (
        update(PASSKEYS)
        .where(PASSKEYS.c.id == passkey_id, is_valid)
        .values(sign_count=sign_count, last_used_at=now)
    )
    return (await session.execute(used.returning(PASSKEYS.c.id))).first() is not None


async def read_sign_count(session: AsyncSession, passkey_id: PasskeyId) -> int | None:
    """The stored counter of a passkey. None if it was removed."""
    found: int | None = await session.scalar(
        select(PASSKEYS.c.sign_count).where(PASSKEYS.c.id == passkey_id)
    )
    return found


async def rename_passkey(
    session: AsyncSession, user_id: UserId, passkey_id: str, *, name: str
) -> str:
    """Give a passkey of the user another name. Returns it, as it is stored.

    Raises: NotFound; ValidationFailed: the name is empty or too long.
    """
    checked = _checked_name(name)
    is_meant = (PASSKEYS.c.id == passkey_id, PASSKEYS.c.user_id == user_id)
    renamed = update(PASSKEYS).where(*is_meant).values(name=checked).returning(PASSKEYS.c.id)
    if (await session.execute(renamed)).first() is None:
        raise NotFound(NO_PASSKEY)
    return checked


async def remove_passkey(session: AsyncSession, user_id: UserId, passkey_id: str) -> str:
    """Remove a passkey of the user. Returns its name. Raises: NotFound.

    With the last second factor, the recovery codes go too.
    """
    is_meant = (PASSKEYS.c.id == passkey_id, PASSKEYS.c.user_id == user_id)
    removed = delete(PASSKEYS).where(*is_meant).returning(PASSKEYS.c.name)
    row = (await session.execute(removed)).first()
    if row is None:
        raise NotFound(NO_PASSKEY)
    await second_factor.drop_unused_recovery_codes(session, user_id)
    return str(row.name)


async def remove_passkeys(session: AsyncSession, user_id: UserId) -> int:
    """Remove all passkeys of the user. Returns how many there were."""
    removed = delete(PASSKEYS).where(PASSKEYS.c.user_id == user_id).returning(PASSKEYS.c.id)
    count = len((await session.execute(removed)).all())
    await second_factor.drop_unused_recovery_codes(session, user_id)
    return count


def _checked_name(name: str) -> str:
    text = " ".join(one_line(name).split())
    if not 1 <= len(text) <= LONGEST_NAME:
        message = f"A name has 1 to {LONGEST_NAME} characters."
        raise ValidationFailed(errors=(FieldError("/name", "invalid", message),))
    return text


def _passkey(row: Row[Any]) -> Passkey:
    return Passkey(
        id=PasskeyId(row.id),
        user_id=UserId(row.user_id),
        name=row.name,
        credential_id=row.credential_id,
        public_key=row.public_key,
        sign_count=row.sign_count,
        rp_id=row.rp_id,
        transports=tuple(row.transports.split()),
        created_at=row.created_at,
        last_used_at=row.last_used_at,
    )
