"""The operations on passkeys: add, rename and remove those of a user, and remove all of them.

What an authenticator answers is verified before (`api.console.sign_in.passkeys`).
"""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction
from domain.ids import UserId
from domain.security.passkeys import NewPasskey, Passkey
from domain.users import User
from operations.audit_writer import AuditWriter
from operations.people.accounts import find_user, user_subject
from operations.validation import known_id
from store.db.database import Database
from store.people import passkeys, second_factor


@dataclass(frozen=True, slots=True)
class AddedPasskey:
    """A new passkey. `recovery_codes` are those that came with it, returned only here; empty if the
    user had a second factor before.
    """

    passkey: Passkey
    recovery_codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RemovedPasskeys:
    """A user without passkeys, and how many they had."""

    user: User
    count: int


class PasskeyOperations:
    """Passkeys of an opened store's users."""

    def __init__(self, database: Database, audit: AuditWriter) -> None:
        self._database, self._audit = database, audit

    async def list_passkeys(self, user_id: UserId) -> list[Passkey]:
        """The user's passkeys, the oldest first."""
        async with self._database.reading() as session:
            return await passkeys.list_passkeys(session, user_id)

    async def add_passkey(
        self, user_id: UserId, made: NewPasskey, *, name: str, actor: Actor
    ) -> AddedPasskey:
        """Store a verified passkey. The user's first second factor comes with recovery codes.

        Raises:
            NotFound: no such user.
            ValidationFailed: the name, or one passkey too many, or one that is known already.
        """
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            is_first = not await second_factor.has_second_factor(session, user_id)
            passkey = await passkeys.add_passkey(session, user_id, made, name=name, now=now)
            codes: tuple[str, ...] = ()
            if is_first:
                codes = await second_factor.renew_recovery_codes(session, user_id, now=now)
            await self._record(
                session, actor, AuditAction.PASSKEY_ADDED, user_id, passkey=passkey.name
            )
        return AddedPasskey(passkey, codes)

    async def rename_passkey(
        self, user_id: UserId, passkey_id: str, *, name: str, actor: Actor
    ) -> None:
        """Give a passkey of the user another name. Raises: NotFound; ValidationFailed."""
        async with self._database.transaction() as session:
            saved = await passkeys.rename_passkey(session, user_id, known_id(passkey_id), name=name)
            await self._record(session, actor, AuditAction.PASSKEY_RENAMED, user_id, passkey=saved)

    async def remove_passkey(self, user_id: UserId, passkey_id: str, *, actor: Actor) -> None:
        """Remove a passkey of the user. Raises: NotFound."""
        async with self._database.transaction() as session:
            name = await passkeys.remove_passkey(session, user_id, known_id(passkey_id))
            await self._record(session, actor, AuditAction.PASSKEY_REMOVED, user_id, passkey=name)

    async def remove_passkeys(self, email_or_id: str, *, actor: Actor) -> RemovedPasskeys:
        """Remove all passkeys of the user with this address or id. Raises: NotFound."""
        async with self._database.transaction() as session:
            user = await find_user(session, email_or_id)
            count = await passkeys.remove_passkeys(session, user.user_id)
            if count:
                action, user_id = AuditAction.PASSKEYS_RESET, user.user_id
                await self._record(session, actor, action, user_id, removed=count)
        return RemovedPasskeys(user, count)

    async def _record(
        self,
        session: AsyncSession,
        actor: Actor,
        action: AuditAction,
        user_id: UserId,
        **details: object,
    ) -> None:
        await self._audit.record(session, actor, action, user_subject(user_id), details=details)
