"""What follows the first factor, whichever it was: the second one if the person has it, then a session.

Password, one-time link and identity provider all come through here, so that none of them goes around the second factor. Between
the two the browser keeps, sealed, who it is; nothing is stored, and nothing is shown.
"""

from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from api.actors import actor_of
from api.console.parts import ConsoleParts
from api.console.sessions import Sessions
from api.console.tries import Tries
from domain.audit import AuditAction, Subject, SubjectType
from domain.ids import UserId
from domain.users import User
from store import audit, factors

HALFWAY = "halfway"
HALFWAY_SECONDS = 600


class Entrance:
    """Lets people in; made once per process."""

    def __init__(self, parts: ConsoleParts, sessions: Sessions) -> None:
        self._parts = parts
        self._sessions = sessions
        self.tries = Tries(parts, sessions)

    async def admit(self, request: Request, user: User, *, to: str, by: str) -> Response:
        """The answer to a right first factor: in, or on to the second."""
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            if not await factors.has_totp(session, user.user_id):
                token = await self._sessions.open(session, request, user_id=user.user_id, now=now)
                await self._record(session, request, user.user_id, now=now, by=by)
                return self._begin(user, token, to)
        halfway = {"user_id": user.user_id, "email": user.email, "has_password": user.has_password, "to": to}
        response = self._sessions.redirect("/login/code")
        return self._sessions.keep_state(response, HALFWAY, halfway, now=now, seconds=HALFWAY_SECONDS)

    async def halfway(self, request: Request) -> tuple[User, str] | None:
        """Who has given the first factor, and where he goes then; None when nobody has, or too long ago."""
        async with self._parts.database.reading() as session:
            state = self._sessions.state(request, HALFWAY, now=await self._parts.database.now(session))
        if state is None:
            return None
        return User(user_id=state["user_id"], email=state["email"], has_password=state["has_password"]), state["to"]

    async def admit_with_code(self, request: Request, user: User, *, code: str, to: str) -> Response | None:
        """The answer to a right code; None when it is wrong or used up."""
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            if not await factors.accept_code(session, self._parts.sealer, user.user_id, code=code, now=now):
                return None
            token = await self._sessions.open(session, request, user_id=user.user_id, now=now)
            await self._record(session, request, user.user_id, now=now, by="code")
        return self._sessions.drop_state(self._begin(user, token, to), HALFWAY)

    async def _record(self, session: AsyncSession, request: Request, user_id: UserId, *, now: datetime, by: str) -> None:
        subject, actor = Subject(SubjectType.USER, user_id), actor_of(request, user_id)
        await audit.record(
            session, self._parts.sealer, actor, AuditAction.SIGNED_IN, now=now, subject=subject, details={"by": by}
        )

    def _begin(self, user: User, token: str, to: str) -> Response:
        return self.tries.know_device(self._sessions.begin(self._sessions.redirect(to), token), user)
