"""The operations on sessions: list where a user is signed in, and end sessions."""

from dataclasses import dataclass

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction
from domain.errors import NotFound
from domain.ids import UserId
from domain.users import OpenSession, User
from operations.audit_writer import AuditWriter
from operations.people.accounts import find_user, user_subject
from operations.validation import known_id
from store.db.database import Database
from store.people import sessions, users


@dataclass(frozen=True, slots=True)
class EndedSessions:
    """A user and the number of their sessions that were ended."""

    user: User
    count: int


class SessionOperations:
    """Sessions of an opened store's users."""

    def __init__(self, database: Database, audit: AuditWriter) -> None:
        self._database, self._audit = database, audit

    async def list_sessions(self, user_id: UserId, *, token: str = "") -> list[OpenSession]:
        """The user's open sessions; `token` is that of the session that makes this request."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            return await sessions.list_sessions(session, user_id, now=now, token=token)

    async def list_sessions_of(self, email_or_id: str) -> list[OpenSession]:
        """The open sessions of the user with this address or id. Raises: NotFound."""
        async with self._database.reading() as session:
            user = await find_user(session, email_or_id)
        return await self.list_sessions(user.user_id)

    async def end_session(self, user_id: UserId, session_id: str, *, actor: Actor) -> None:
        """End one of the user's sessions. Raises: NotFound."""
        async with self._database.transaction() as session:
            ended_id = known_id(session_id)
            if not await sessions.end_session(session, user_id, session_id=ended_id):
                raise NotFound("This session does not exist. It may have ended already.")
            await self._record(session, actor, user_id, which="one", ended=1)

    async def end_sessions(self, user_id: UserId, *, but_for: str, actor: Actor) -> int:
        """End all of the user's sessions except the one with the token `but_for`.

        Returns the number of ended sessions.
        """
        async with self._database.transaction() as session:
            ended = await sessions.end_sessions(session, user_id, but_for=but_for)
            await self._record(session, actor, user_id, which="others", ended=ended)
        return ended

    async def end_sessions_of(self, email_or_id: str, *, actor: Actor) -> EndedSessions:
        """End all of the user's sessions and invalidate their unused links. Raises: NotFound."""
        async with self._database.transaction() as session:
            user = await find_user(session, email_or_id)
            await users.spend_links(session, user.user_id, now=await self._database.now(session))
            ended = await sessions.end_sessions(session, user.user_id)
            await self._record(session, actor, user.user_id, which="all", ended=ended)
        return EndedSessions(user, ended)

    async def _record(
        self, session: AsyncSession, actor: Actor, user_id: UserId, *, which: str, ended: int
    ) -> None:
        await self._audit.record(
            session,
            actor,
            AuditAction.SESSIONS_ENDED,
            user_subject(user_id),
            details={"which": which, "ended": ended},
        )
