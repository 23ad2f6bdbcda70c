"""Links users to identities of an OIDC provider: matched by verified e-mail once, and by subject
from then on.

Only known users are linked. Called by the console's OIDC sign-in, which has checked the token and
that the e-mail is verified.
"""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import UserId
from domain.users import User
from store.people.email_addresses import spellings
from store.people.passkeys import remove_passkeys
from store.people.sessions import end_sessions
from store.people.users import spend_links
from store.schema.mappers import user_from
from store.schema.tables import IDENTITIES, USERS


async def find_identity(session: AsyncSession, *, issuer: str, subject: str) -> User | None:
    """The user with this subject; None when unknown."""
    of_subject = (IDENTITIES.c.issuer == issuer, IDENTITIES.c.subject == subject)
    row = (
        await session.execute(
            select(USERS).join(IDENTITIES, IDENTITIES.c.user_id == USERS.c.id).where(*of_subject)
        )
    ).first()
    return None if row is None else user_from(row)


async def adopt_identity(
    session: AsyncSession, *, issuer: str, subject: str, email: str, now: datetime
) -> User | None:
    """Link the subject to the user with this verified address, and return the user.

    Until now nobody had verified the address: another person may have taken the invitation or typed
    it in. Therefore the password, the passkeys, the sessions and the unused links of the account
    become invalid. An authenticator app remains required: alone it signs nobody in.

    Returns None when there is no such user, or when they already have another subject. An address
    may be given to a new person; a subject never is.
    """
    row = (
        await session.execute(
            select(USERS).where(USERS.c.email.in_(spellings(email))).with_for_update()
        )
    ).first()
    if row is None:
        return None
    of_user = (IDENTITIES.c.issuer == issuer, IDENTITIES.c.user_id == row.id)
    if await session.scalar(select(IDENTITIES.c.subject).where(*of_user)) is not None:
        return None
    await session.execute(
        insert(IDENTITIES).values(issuer=issuer, subject=subject, user_id=row.id, created_at=now)
    )
    await session.execute(update(USERS).where(USERS.c.id == row.id).values(password_hash=None))
    await remove_passkeys(session, UserId(row.id))
    await end_sessions(session, UserId(row.id))
    await spend_links(session, UserId(row.id), now=now)
    return replace(user_from(row), has_password=False)


async def has_identity(session: AsyncSession, *, issuer: str, user_id: UserId) -> bool:
    """Whether the user has an identity of this issuer."""
    of_user = (IDENTITIES.c.issuer == issuer, IDENTITIES.c.user_id == user_id)
    return (await session.scalar(select(IDENTITIES.c.subject).where(*of_user))) is not None
