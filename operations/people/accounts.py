"""The operations on accounts: list, create, delete, links, administrators, second factor."""

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.ids import ProjectId, UserId
from domain.users import Role, User
from domain.values.text import sanitize
from operations.audit_writer import AuditWriter
from store.db.database import Database
from store.people import members, preferences, second_factor, users


@dataclass(frozen=True, slots=True)
class Account:
    """A user with their rights."""

    user: User
    is_administrator: bool
    roles: Mapping[ProjectId, Role | str]


@dataclass(frozen=True, slots=True)
class CreatedAccount:
    """A new user. `token` is that of their first sign-in link, returned only here."""

    user: User
    token: str


@dataclass(frozen=True, slots=True)
class TotpReset:
    """A user without an authenticator app. `was_on`: they had one."""

    user: User
    was_on: bool


class AccountOperations:
    """Accounts of an opened store."""

    def __init__(self, database: Database, audit: AuditWriter) -> None:
        self._database, self._audit = database, audit

    async def list_users(self) -> list[Account]:
        """The newest 1,000 users, with their role in each project."""
        async with self._database.reading() as session:
            administrators = await members.list_administrators(session)
            found = await users.list_users(session)
            roles = await members.read_roles(session, [user.user_id for user in found])
        return [
            Account(user, user.user_id in administrators, roles[user.user_id]) for user in found
        ]

    async def create_user(
        self, email: str, *, is_administrator: bool, actor: Actor
    ) -> CreatedAccount:
        """Create an account and its first sign-in link.

        Raises: ValidationFailed.
        """
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            user = await users.create_user(session, email=email, now=now)
            actions = [AuditAction.USER_CREATED, AuditAction.LOGIN_LINK_CREATED]
            if is_administrator:
                await members.promote(session, user.user_id, now=now)
                actions.insert(1, AuditAction.ADMINISTRATOR_GRANTED)
            token = await users.create_login_link(session, now=now, user_id=user.user_id)
            subject = user_subject(user.user_id)
            for action in actions:
                await self._audit.record(session, actor, action, subject, now=now)
        return CreatedAccount(user, token)

    async def create_link(self, email_or_id: str | None, *, actor: Actor) -> str:
        """Create a sign-in link that works once, and return its token.

        It signs in as this user. None means the first administrator.

        Raises: NotFound.
        """
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            user_id: UserId | None = None
            if email_or_id is not None:
                user_id = (await find_user(session, email_or_id)).user_id
            token = await users.create_login_link(session, now=now, user_id=user_id)
            action, subject = AuditAction.LOGIN_LINK_CREATED, user_subject(user_id)
            await self._audit.record(session, actor, action, subject, now=now)
        return token

    async def delete_user(self, email_or_id: str, *, actor: Actor) -> User:
        """Delete the account.

        Raises: NotFound; ValidationFailed for the last administrator, or the last owner of a
            project.
        """
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            user = await find_user(session, email_or_id)
            subject = user_subject(user.user_id)
            roles = await members.delete_user(session, user.user_id)
            for project_id, role in roles.items():
                await self._audit.record(
                    session,
                    actor,
                    AuditAction.ROLE_REVOKED,
                    subject,
                    now=now,
                    project_id=project_id,
                    details={"role": str(role)},
                )
            await self._audit.record(session, actor, AuditAction.USER_DELETED, subject, now=now)
        return user

    async def set_administrator(
        self, email_or_id: str, *, is_administrator: bool, actor: Actor
    ) -> User:
        """Make the user an administrator, or remove that right.

        Raises: NotFound; ValidationFailed for the last administrator.
        """
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            user = await find_user(session, email_or_id)
            if is_administrator:
                action = AuditAction.ADMINISTRATOR_GRANTED
                is_change = await members.promote(session, user.user_id, now=now)
            else:
                action = AuditAction.ADMINISTRATOR_REVOKED
                is_change = await members.demote(session, user.user_id)
            if is_change:
                subject = user_subject(user.user_id)
                await self._audit.record(session, actor, action, subject, now=now)
        return user

    async def set_dates(self, user_id: UserId, *, time_zone: str, date_language: str) -> None:
        """Save how the user sees dates and times.

        Raises: ValidationFailed: the zone or the language is unknown.
        """
        async with self._database.transaction() as session:
            await preferences.set_preferences(
                session, user_id, time_zone=time_zone, date_language=date_language
            )

    async def reset_totp(self, email_or_id: str, *, actor: Actor) -> TotpReset:
        """Remove the user's authenticator app. Their passkeys stay. Raises: NotFound."""
        async with self._database.transaction() as session:
            user = await find_user(session, email_or_id)
            was_on = await second_factor.remove_totp(session, user.user_id)
            if was_on:
                action, subject = AuditAction.SECOND_FACTOR_RESET, user_subject(user.user_id)
                await self._audit.record(session, actor, action, subject)
        return TotpReset(user, was_on)


def user_subject(user_id: UserId | None) -> Subject:
    """The user that an action was done to, for the audit log."""
    return Subject(SubjectType.USER, user_id)


async def find_user(session: AsyncSession, email_or_id: str) -> User:
    """The user with this address or id. Raises: NotFound."""
    return await users.find_user(session, sanitize(email_or_id))
