"""The sign-in flow after the first factor: ask for the second factor if there is one, then open a
session.

Password, one-time link, invitation and identity provider all use it, so that none bypasses the
second factor. Between the two factors the browser keeps the state in an encrypted cookie.

A passkey that signs in by itself counts as both factors: the authenticator has verified the user.
"""

from dataclasses import dataclass

from starlette.requests import Request
from starlette.responses import Response

from api.console.composition import ConsoleDependencies
from api.console.sign_in.cookies import StateCookie
from api.console.sign_in.login_attempts import LoginAttempts
from api.console.sign_in.passkeys import PasskeyCeremonies, UsedPasskey
from api.console.sign_in.self_service_audit import SelfServiceAudit
from api.console.sign_in.sessions import Sessions
from domain.audit import AuditAction
from domain.users import User
from store.people import second_factor as factors

PENDING = StateCookie("pending_second_factor", seconds=600)


@dataclass(frozen=True, slots=True)
class PendingSecondFactor:
    """A user who has passed the first factor `by`. `to` is the page after the second factor."""

    user: User
    to: str
    by: str


class SignInFlow:
    """Completes sign-ins. Created once per process."""

    def __init__(
        self,
        parts: ConsoleDependencies,
        sessions: Sessions,
        passkeys: PasskeyCeremonies,
        self_service_audit: SelfServiceAudit,
    ) -> None:
        self._parts = parts
        self._passkeys = passkeys
        self._sessions = sessions
        self._self_service_audit = self_service_audit
        self.attempts = LoginAttempts(parts, sessions)

    async def complete_first_factor(
        self, request: Request, user: User, *, to: str, by: str
    ) -> Response:
        """The response to a correct first factor: a session, or a redirect to the second factor."""
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            if not await factors.has_second_factor(session, user.user_id):
                token = await self._sessions.open(session, request, user_id=user.user_id, now=now)
                await self._self_service_audit.record(
                    session, request, AuditAction.SIGNED_IN, user.user_id, now=now, by=by
                )
                return self._start_session(user, token, to)
        pending = {
            "user_id": user.user_id,
            "email": user.email,
            "has_password": user.has_password,
            "to": to,
            "by": by,
        }
        response = self._sessions.redirect("/login/code")
        return self._sessions.set_state(response, PENDING, pending, now=now)

    async def pending(self, request: Request) -> PendingSecondFactor | None:
        """The sign-in that waits for its second factor. None if there is none or it has expired."""
        async with self._parts.database.reading() as session:
            state = self._sessions.read_state(
                request, PENDING, now=await self._parts.database.now(session)
            )
        if state is None:
            return None
        user = User(
            user_id=state["user_id"], email=state["email"], has_password=state["has_password"]
        )
        return PendingSecondFactor(user, state["to"], state["by"])

    async def complete_second_factor(
        self, request: Request, pending: PendingSecondFactor, *, code: str
    ) -> Response | None:
        """The response to a correct code. None if the code is wrong or was used before."""
        user_id = pending.user.user_id
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            accepted = await factors.accept_code(
                session, self._parts.sealer, user_id, code=code, now=now
            )
            if accepted is None:
                return None
            token = await self._sessions.open(session, request, user_id=user_id, now=now)
            await self._self_service_audit.record_code(session, request, accepted, user_id, now=now)
            details = {"by": accepted.value, "after": pending.by}
            await self._self_service_audit.record(
                session, request, AuditAction.SIGNED_IN, user_id, now=now, **details
            )
        return self._sessions.clear_state(
            self._start_session(pending.user, token, pending.to), PENDING
        )

    async def complete_passkey(
        self, request: Request, used: UsedPasskey, *, to: str, pending: PendingSecondFactor | None
    ) -> Response | None:
        """The response to a verified passkey, alone or as the second factor of `pending`.

        None if the passkey was removed, or its counter did not grow.
        """
        user = used.user
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            if not await self._passkeys.record_use(session, request, used, now=now):
                return None
            token = await self._sessions.open(session, request, user_id=user.user_id, now=now)
            after = {} if pending is None else {"after": pending.by}
            details = {"by": "passkey", "passkey": used.passkey.name, **after}
            await self._self_service_audit.record(
                session, request, AuditAction.SIGNED_IN, user.user_id, now=now, **details
            )
        return self._sessions.clear_state(self._start_session(user, token, to), PENDING)

    def _start_session(self, user: User, token: str, to: str) -> Response:
        return self.attempts.remember_device(
            self._sessions.set_session(self._sessions.redirect(to), token), user
        )
