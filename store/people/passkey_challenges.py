"""Challenges of passkey ceremonies: stored when one begins, and used up by its answer.

A challenge is valid for one ceremony, one browser and five minutes. A browser has one of each
ceremony: a new one replaces it. Called by the console.
"""

import secrets
from base64 import urlsafe_b64encode
from datetime import datetime

from sqlalchemy import ColumnElement, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import UserId
from domain.security.passkeys import CHALLENGE_LIFETIME, Ceremony
from store.crypto.tokens import token_digest
from store.schema.tables import PASSKEY_CHALLENGES as CHALLENGES

CHALLENGE_BYTES = 32


async def issue_challenge(
    session: AsyncSession,
    ceremony: Ceremony,
    *,
    browser: str,
    now: datetime,
    user_id: UserId | None = None,
) -> str:
    """A new challenge, base64url. `browser` is the secret of its cookie, of which the store has a
    digest. `user_id` None: any user may answer it.
    """
    await session.execute(delete(CHALLENGES).where(*_of(ceremony, browser)))
    challenge = urlsafe_b64encode(secrets.token_bytes(CHALLENGE_BYTES)).rstrip(b"=").decode()
    values = {
        "challenge": challenge,
        "ceremony": ceremony.value,
        "browser": token_digest(browser),
        "user_id": user_id,
        "expires_at": now + CHALLENGE_LIFETIME,
    }
    await session.execute(insert(CHALLENGES).values(values))
    return challenge


async def read_challenge(
    session: AsyncSession, ceremony: Ceremony, *, browser: str, now: datetime
) -> str | None:
    """The challenge that this browser has begun a ceremony with. None if there is none any more."""
    is_begun = (*_of(ceremony, browser), CHALLENGES.c.expires_at > now)
    found: str | None = await session.scalar(select(CHALLENGES.c.challenge).where(*is_begun))
    return found


async def use_challenge(
    session: AsyncSession,
    challenge: str,
    ceremony: Ceremony,
    *,
    browser: str,
    now: datetime,
    user_id: UserId | None = None,
) -> bool:
    """Use the challenge up. False if it is unknown, used, expired, or of another ceremony, browser
    or user.
    """
    is_it = (
        CHALLENGES.c.challenge == challenge,
        *_of(ceremony, browser),
        CHALLENGES.c.user_id.is_(None) if user_id is None else CHALLENGES.c.user_id == user_id,
        CHALLENGES.c.expires_at > now,
    )
    used = delete(CHALLENGES).where(*is_it).returning(CHALLENGES.c.challenge)
    return (await session.execute(used)).first() is not None


def _of(ceremony: Ceremony, browser: str) -> tuple[ColumnElement[bool], ...]:
    return (
        CHALLENGES.c.browser == token_digest(browser),
        CHALLENGES.c.ceremony == ceremony.value,
    )
