"""What is done about accounts and their sessions, once: the functions that console and command line share. They answer with JSON.

The base of `operations.people`, with the same rules: each is one short transaction, and what it did is in the audit log, which it
writes last. Whether the one who asks may do it is the console's to judge before; the command line belongs to whoever has the
store.
"""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import NotFound
from domain.ids import ProjectId, UserId
from domain.users import OpenSession, User
from domain.values.text import sanitize
from domain.values.timestamps import to_iso
from operations.validation import Json, known_id
from store.audit import log as audit
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import members, sessions, users
from store.people import second_factor as factors


class Accounts:
    """Users, administrators and sessions, on an opened store."""

    def __init__(self, database: Database, sealer: Sealer) -> None:
        self._database, self._sealer = database, sealer

    async def list_users(self) -> Json:
        """The newest 1,000 people with an account, with the role in each project."""
        async with self._database.reading() as session:
            administrators = await members.list_administrators(session)
            found = await users.list_users(session)
            roles = await members.read_roles(session, [user.user_id for user in found])
        rows = [
            {**user_view(user), "administrator": user.user_id in administrators, "roles": dict(roles[user.user_id])}
            for user in found
        ]
        return {"data": rows}

    async def create_user(self, email: str, *, is_administrator: bool, actor: Actor) -> Json:
        """A new account, and the token of the link that signs it in first. Raises: ValidationFailed."""
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            user = await users.create_user(session, email=email, now=now)
            acts = [AuditAction.USER_CREATED, AuditAction.LOGIN_LINK_CREATED]
            if is_administrator:
                await members.promote(session, user.user_id, now=now)
                acts.insert(1, AuditAction.ADMINISTRATOR_GRANTED)
            token = await users.create_login_link(session, now=now, user_id=user.user_id)
            for act in acts:
                await self._record(session, actor, act, person(user.user_id), now=now)
        return {**user_view(user), "administrator": is_administrator, "token": token}

    async def create_link(self, email_or_id: str | None, *, actor: Actor) -> str:
        """The token of a link that signs in once, as this person or the first administrator. Raises: NotFound."""
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            user_id = None if email_or_id is None else (await find_person(session, email_or_id)).user_id
            token = await users.create_login_link(session, now=now, user_id=user_id)
            await self._record(session, actor, AuditAction.LOGIN_LINK_CREATED, person(user_id), now=now)
        return token

    async def delete_user(self, email_or_id: str, *, actor: Actor) -> Json:
        """The account, gone. Raises: NotFound; ValidationFailed for the last administrator or owner."""
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            user = await find_person(session, email_or_id)
            roles = await members.delete_user(session, user.user_id)
            for project_id, role in roles.items():
                act = AuditAction.ROLE_REVOKED
                await self._record(session, actor, act, person(user.user_id), now=now, project_id=project_id, role=role.value)
            await self._record(session, actor, AuditAction.USER_DELETED, person(user.user_id), now=now)
        return user_view(user)

    async def set_administrator(self, email_or_id: str, *, is_administrator: bool, actor: Actor) -> Json:
        """The person, administrator or not. Raises: NotFound; ValidationFailed for the last one."""
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            user = await find_person(session, email_or_id)
            if is_administrator:
                act, is_change = AuditAction.ADMINISTRATOR_GRANTED, await members.promote(session, user.user_id, now=now)
            else:
                act, is_change = AuditAction.ADMINISTRATOR_REVOKED, await members.demote(session, user.user_id)
            if is_change:
                await self._record(session, actor, act, person(user.user_id), now=now)
        return {**user_view(user), "administrator": is_administrator}

    async def reset_totp(self, email_or_id: str, *, actor: Actor) -> Json:
        """The person signs in without a code from now on. Raises: NotFound."""
        async with self._database.transaction() as session:
            user = await find_person(session, email_or_id)
            was_on = await factors.remove_totp(session, user.user_id)
            if was_on:
                now = await self._database.now(session)
                await self._record(session, actor, AuditAction.SECOND_FACTOR_RESET, person(user.user_id), now=now)
        return {**user_view(user), "totp_removed": was_on}

    async def list_sessions(self, user_id: UserId, *, token: str = "") -> Json:
        """Where the person is signed in; `token` is that of the session that asks."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            found = await sessions.list_sessions(session, user_id, now=now, token=token)
        return {"data": [_session(one) for one in found]}

    async def list_sessions_of(self, email_or_id: str) -> Json:
        """The same for somebody that is named. Raises: NotFound."""
        async with self._database.reading() as session:
            user = await find_person(session, email_or_id)
        return await self.list_sessions(user.user_id)

    async def end_session(self, user_id: UserId, session_id: str, *, actor: Actor) -> None:
        """One of the person's sessions is over. Raises: NotFound."""
        async with self._database.transaction() as session:
            if not await sessions.end_session(session, user_id, session_id=known_id(session_id)):
                raise NotFound("There is no such session: it may have ended by itself.")
            await self._record_ended(session, actor, user_id, which="one", ended=1)

    async def end_sessions(self, user_id: UserId, *, but_for: str, actor: Actor) -> int:
        """All of the person's sessions are over but that of this token; how many there were."""
        async with self._database.transaction() as session:
            ended = await sessions.end_sessions(session, user_id, but_for=but_for)
            await self._record_ended(session, actor, user_id, which="others", ended=ended)
        return ended

    async def end_sessions_of(self, email_or_id: str, *, actor: Actor) -> Json:
        """All sessions of somebody are over, and his waiting links lead nowhere. Raises: NotFound."""
        async with self._database.transaction() as session:
            user = await find_person(session, email_or_id)
            await users.spend_links(session, user.user_id, now=await self._database.now(session))
            ended = await sessions.end_sessions(session, user.user_id)
            await self._record_ended(session, actor, user.user_id, which="all", ended=ended)
        return {**user_view(user), "ended": ended}

    async def _record_ended(self, session: AsyncSession, actor: Actor, user_id: UserId, *, which: str, ended: int) -> None:
        now = await self._database.now(session)
        await self._record(session, actor, AuditAction.SESSIONS_ENDED, person(user_id), now=now, which=which, ended=ended)

    async def _record(
        self,
        session: AsyncSession,
        actor: Actor,
        action: AuditAction,
        subject: Subject,
        *,
        now: datetime,
        project_id: ProjectId | None = None,
        **details: object,
    ) -> None:
        """Tell of the act in its own transaction, last."""
        await audit.record(session, self._sealer, actor, action, now=now, subject=subject, project_id=project_id, details=details)


def person(user_id: UserId | None) -> Subject:
    """The person that an act was done to."""
    return Subject(SubjectType.USER, user_id)


async def find_person(session: AsyncSession, email_or_id: str) -> User:
    """Whom somebody named. Raises: NotFound."""
    return await users.find_user(session, sanitize(email_or_id))


def user_view(user: User) -> Json:
    return {"user_id": user.user_id, "email": user.email, "has_password": user.has_password}


def _session(one: OpenSession) -> Json:
    times: dict[str, datetime] = {"created_at": one.created_at, "seen_at": one.seen_at}
    return {
        "id": one.id,
        **{name: to_iso(at) for name, at in times.items()},
        "address": one.address,
        "user_agent": one.user_agent,
        "is_this": one.is_this,
    }
