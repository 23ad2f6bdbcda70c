"""The second factor of a user: a TOTP secret (RFC 6238), passkeys (`store.people.passkeys`) and
recovery codes; and the last step-up proof of a session.

The secret is sealed with a data key of its own, which the master key wraps, and is bound to the
user's row. A code is accepted once: the newest accepted time step is stored by compare-and-set.
Recovery codes have 80 random bits, so a plain digest is enough. Called by the console's sign-in
pages and `makegood user`.
"""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any

import pyotp
from pyotp.utils import strings_equal
from sqlalchemy import CursorResult, Row, delete, func, insert, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import UserId
from domain.values.timestamps import to_unix_ms
from store.crypto.encryption import SealBroken, Sealer
from store.crypto.root_secret import root_of_new_data_key
from store.crypto.tokens import token_digest
from store.schema.tables import PASSKEYS, RECOVERY_CODES, SESSIONS, TOTP_FACTORS

STEP_SECONDS = 30
STEPS_AROUND = (0, -1, 1)
RECOVERY_CODE_COUNT = 10
RECOVERY_CODE_BYTES = 10


class Accepted(StrEnum):
    """Which kind of second-factor code was accepted: the app's, or a recovery code."""

    CODE = "code"
    RECOVERY_CODE = "recovery_code"


async def begin_totp(
    session: AsyncSession, sealer: Sealer, user_id: UserId, *, now: datetime
) -> str:
    """The base32 secret that the user must confirm: the unconfirmed one, or a new one. Empty when
    TOTP is on.

    Raises: SecretUnknown.
    """
    row = await _row(session, user_id)
    if row is None or (row.confirmed_at is None and _open_secret(sealer, row) is None):
        await _begin_again(session, sealer, user_id, now)
        row = await _row(session, user_id)
    return "" if row is None or row.confirmed_at is not None else _open_secret(sealer, row) or ""


async def read_begun_secret(session: AsyncSession, sealer: Sealer, user_id: UserId) -> str | None:
    """The unconfirmed secret; None without one, or when it cannot be opened. A confirmed one is
    never returned.
    """
    row = await _row(session, user_id)
    return None if row is None or row.confirmed_at is not None else _open_secret(sealer, row)


async def confirm_totp(
    session: AsyncSession, sealer: Sealer, user_id: UserId, *, code: str, now: datetime
) -> tuple[str, ...] | None:
    """Confirm the secret with a code from the user's device. Returns the recovery codes, shown
    once; else None.
    """
    if await read_begun_secret(session, sealer, user_id) is None or not await _accept_step(
        session, sealer, user_id, code, now
    ):
        return None
    await session.execute(
        update(TOTP_FACTORS).where(TOTP_FACTORS.c.user_id == user_id).values(confirmed_at=now)
    )
    return await renew_recovery_codes(session, user_id, now=now)


async def has_totp(session: AsyncSession, user_id: UserId) -> bool:
    """Whether the user has an authenticator app."""
    confirmed = select(TOTP_FACTORS.c.user_id).where(
        TOTP_FACTORS.c.user_id == user_id, TOTP_FACTORS.c.confirmed_at.is_not(None)
    )
    return (await session.scalar(confirmed)) is not None


async def has_second_factor(session: AsyncSession, user_id: UserId) -> bool:
    """Whether the user needs more than a password, a link or an identity to sign in: they have an
    authenticator app or a passkey.
    """
    of_user = select(PASSKEYS.c.id).where(PASSKEYS.c.user_id == user_id).limit(1)
    return await has_totp(session, user_id) or await session.scalar(of_user) is not None


async def accept_code(
    session: AsyncSession, sealer: Sealer, user_id: UserId, *, code: str, now: datetime
) -> Accepted | None:
    """Accept a current TOTP code or a recovery code, and use it up; None when it is neither."""
    if not await has_second_factor(session, user_id):
        return None
    has_app = await has_totp(session, user_id)
    if has_app and await _accept_step(session, sealer, user_id, code, now):
        return Accepted.CODE
    return (
        Accepted.RECOVERY_CODE if await _accept_recovery_code(session, user_id, code, now) else None
    )


async def renew_recovery_codes(
    session: AsyncSession, user_id: UserId, *, now: datetime
) -> tuple[str, ...]:
    """Replace the recovery codes by ten new ones, each valid once."""
    codes = tuple(_new_recovery_code() for _ in range(RECOVERY_CODE_COUNT))
    await session.execute(delete(RECOVERY_CODES).where(RECOVERY_CODES.c.user_id == user_id))
    rows = [
        {"user_id": user_id, "digest": _recovery_digest(user_id, code), "created_at": now}
        for code in codes
    ]
    await session.execute(insert(RECOVERY_CODES), rows)
    return codes


async def count_recovery_codes(session: AsyncSession, user_id: UserId) -> int:
    """The number of unused recovery codes."""
    left = (
        select(func.count())
        .select_from(RECOVERY_CODES)
        .where(RECOVERY_CODES.c.user_id == user_id, RECOVERY_CODES.c.used_at.is_(None))
    )
    return int(await session.scalar(left) or 0)


async def remove_totp(session: AsyncSession, user_id: UserId) -> bool:
    """Remove the authenticator app; False when the user had none.

    With the last second factor, the recovery codes go too.
    """
    was_on = await has_totp(session, user_id)
    await session.execute(delete(TOTP_FACTORS).where(TOTP_FACTORS.c.user_id == user_id))
    await drop_unused_recovery_codes(session, user_id)
    return was_on


async def drop_unused_recovery_codes(session: AsyncSession, user_id: UserId) -> None:
    """Delete the recovery codes of a user without any second factor that they could replace."""
    if not await has_second_factor(session, user_id):
        await session.execute(delete(RECOVERY_CODES).where(RECOVERY_CODES.c.user_id == user_id))


async def mark_proved(session: AsyncSession, *, token: str, now: datetime) -> None:
    """Record that the user of the session has just proved their identity."""
    await session.execute(
        update(SESSIONS).where(SESSIONS.c.digest == token_digest(token)).values(proved_at=now)
    )


async def read_proved_at(session: AsyncSession, *, token: str) -> datetime | None:
    """When the user of the session last proved their identity; None when the session is unknown."""
    found: datetime | None = await session.scalar(
        select(SESSIONS.c.proved_at).where(SESSIONS.c.digest == token_digest(token))
    )
    return found


async def _begin_again(
    session: AsyncSession, sealer: Sealer, user_id: UserId, now: datetime
) -> None:
    # Locked first, in the same order as a rotation of the root secret.
    root = await root_of_new_data_key(session, sealer)
    secret, data_key = pyotp.random_base32(), root.new_data_key(user_id)
    sealed = sealer.seal(data_key, **_sealed_location(user_id), plaintext=secret.encode())
    await session.execute(
        delete(TOTP_FACTORS).where(
            TOTP_FACTORS.c.user_id == user_id, TOTP_FACTORS.c.confirmed_at.is_(None)
        )
    )
    # A form that was sent twice inserts one row.
    begun = (
        "INSERT INTO totp_factors (user_id, data_key, sealed, created_at) "
        "VALUES (:user_id, :data_key, :sealed, :at) "
        "ON CONFLICT DO NOTHING"
    )
    values = {"user_id": user_id, "data_key": data_key, "sealed": sealed, "at": to_unix_ms(now)}
    await session.execute(text(begun), values)


async def _accept_step(
    session: AsyncSession, sealer: Sealer, user_id: UserId, code: str, now: datetime
) -> bool:
    row = await _row(session, user_id)
    secret = None if row is None else _open_secret(sealer, row)
    if secret is None:
        return False
    totp = pyotp.TOTP(secret, interval=STEP_SECONDS)
    this_step, digits = int(now.timestamp()) // STEP_SECONDS, "".join(code.split())
    step = next(
        (s for s in _around(this_step) if strings_equal(totp.generate_otp(s), digits)), None
    )
    if step is None:
        return False
    is_newer = or_(TOTP_FACTORS.c.last_step.is_(None), TOTP_FACTORS.c.last_step < step)
    taken = (
        update(TOTP_FACTORS)
        .where(TOTP_FACTORS.c.user_id == user_id, is_newer)
        .values(last_step=step)
    )
    return await _changed_one(session, taken)


def _around(step: int) -> Sequence[int]:
    return [step + offset for offset in STEPS_AROUND]


async def _accept_recovery_code(
    session: AsyncSession, user_id: UserId, code: str, now: datetime
) -> bool:
    is_meant = (
        RECOVERY_CODES.c.user_id == user_id,
        RECOVERY_CODES.c.digest == _recovery_digest(user_id, code),
        RECOVERY_CODES.c.used_at.is_(None),
    )
    return await _changed_one(session, update(RECOVERY_CODES).where(*is_meant).values(used_at=now))


# Any statement that changes rows; SQLAlchemy types them apart.
async def _changed_one(session: AsyncSession, statement: object) -> bool:
    result = await session.execute(statement)  # type: ignore[call-overload]
    assert isinstance(result, CursorResult)
    return result.rowcount == 1


def _new_recovery_code() -> str:
    letters = base64.b32encode(secrets.token_bytes(RECOVERY_CODE_BYTES)).decode().lower()
    return "-".join(letters[start : start + 4] for start in range(0, len(letters), 4))


def _recovery_digest(user_id: UserId, code: str) -> str:
    letters = "".join(character for character in code.lower() if character.isalnum())
    return sha256(f"{user_id}\0{letters}".encode()).hexdigest()


async def _row(session: AsyncSession, user_id: UserId) -> Row[Any] | None:
    return (
        await session.execute(select(TOTP_FACTORS).where(TOTP_FACTORS.c.user_id == user_id))
    ).first()


def _open_secret(sealer: Sealer, row: Row[Any]) -> str | None:
    """The secret; None when no known root secret opens it.

    Then only recovery codes are accepted.
    """
    try:
        return sealer.open(
            row.data_key, **_sealed_location(row.user_id), sealed=row.sealed
        ).decode()
    except SealBroken:
        return None


def _sealed_location(user_id: UserId) -> dict[str, str]:
    """The row to which the secret is sealed; a user has a data key as a project does."""
    return {"project_id": user_id, "table": "totp_factors", "column": "sealed", "row": user_id}
