"""What follows the first factor, whichever it was: the second one if the person has it, then a session.

Password, one-time link and identity provider all come through here, so that none of them goes around the second factor. Between
the two the browser keeps, sealed, who it is; nothing is stored, and nothing is shown.
"""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from api.console.composition import ConsoleParts
from api.console.sign_in.login_attempts import LoginAttempts
from api.console.sign_in.self_service_audit import SelfServiceAudit
from api.console.sign_in.sessions import Sessions
from domain.audit import AuditAction
from domain.users import User
from store.people import second_factor as factors

HALFWAY = "halfway"
HALFWAY_SECONDS = 600


@dataclass(frozen=True, slots=True)
class PendingSecondFactor:
    """Who has given the first factor, `by` which, and where he goes with the second."""

    user: User
    to: str
    by: str


class SignInFlow:
    """Lets people in; made once per process."""

    def __init__(self, parts: ConsoleParts, sessions: Sessions, own_acts: SelfServiceAudit) -> None:
        self._parts = parts
        self._sessions = sessions
        self._own_acts = own_acts
        self.tries = LoginAttempts(parts, sessions)

    async def admit(self, request: Request, user: User, *, to: str, by: str) -> Response:
        """The answer to a right first factor: in, or on to the second."""
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            if not await factors.has_totp(session, user.user_id):
                token = await self._sessions.open(session, request, user_id=user.user_id, now=now)
                await self._own_acts.record(session, request, AuditAction.SIGNED_IN, user.user_id, now=now, by=by)
                return self._begin(user, token, to)
        halfway = {"user_id": user.user_id, "email": user.email, "has_password": user.has_password, "to": to, "by": by}
        response = self._sessions.redirect("/login/code")
        return self._sessions.keep_state(response, HALFWAY, halfway, now=now, seconds=HALFWAY_SECONDS)

    async def halfway(self, request: Request) -> PendingSecondFactor | None:
        """Who has given the first factor, and where he goes then; None when nobody has, or too long ago."""
        async with self._parts.database.reading() as session:
            state = self._sessions.state(request, HALFWAY, now=await self._parts.database.now(session))
        if state is None:
            return None
        user = User(user_id=state["user_id"], email=state["email"], has_password=state["has_password"])
        return PendingSecondFactor(user, state["to"], state["by"])

    async def admit_with_code(self, request: Request, halfway: PendingSecondFactor, *, code: str) -> Response | None:
        """The answer to a right code; None when it is wrong or used up."""
        user_id = halfway.user.user_id
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            accepted = await factors.accept_code(session, self._parts.sealer, user_id, code=code, now=now)
            if accepted is None:
                return None
            token = await self._sessions.open(session, request, user_id=user_id, now=now)
            await self._own_acts.record_code(session, request, accepted, user_id, now=now)
            told = {"by": accepted.value, "after": halfway.by}
            await self._own_acts.record(session, request, AuditAction.SIGNED_IN, user_id, now=now, **told)
        return self._sessions.drop_state(self._begin(halfway.user, token, halfway.to), HALFWAY)

    def _begin(self, user: User, token: str, to: str) -> Response:
        return self.tries.remember_device(self._sessions.begin(self._sessions.redirect(to), token), user)
