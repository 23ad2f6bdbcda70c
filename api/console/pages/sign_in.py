"""Sign-in: by a one-time link (printed at start, or by `makegood user link`) or by email and
password.

Opening the link changes nothing, because mail scanners open links too. The button on that page
redeems it.
"""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from api.console.base import Console
from api.console.dependencies import AnonymousFields, CurrentViewer, FormFields
from api.console.sign_in.cookies import Notice
from api.console.sign_in.sessions import Viewer
from api.console.ui.rendering import Values
from domain.audit import AuditAction
from domain.errors import ValidationFailed
from domain.users import User
from store.people import members, sessions, users

USED_LINK = "This link has expired or was already used. Ask an administrator for a new one."
PASSWORD_CHARACTERS = 12
PASSWORD_CHARACTERS_MOST = 256
CONCURRENT_HASHES = 1


class SignInPages:
    """The pages of sign-in, sign-out and the password."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._parts = console.parts
        self._sessions = console.sessions
        self._sign_in_flow = console.sign_in_flow
        self._self_service_audit = console.self_service_audit
        self._hashing = asyncio.Semaphore(CONCURRENT_HASHES)

    async def sign_in(self, request: Request) -> Response:
        return self._anonymous_page(request, "sign_in.html", {"email": "", "problem": ""})

    async def check_password(self, request: Request, fields: AnonymousFields) -> Response:
        email = fields.get("email", "").strip()
        attempt = self._sign_in_flow.attempts.by_password(request, email)
        await self._sign_in_flow.attempts.count(attempt)
        user = await self._verify_password(email, fields.get("password", ""))
        if user is None:
            await self._sign_in_flow.attempts.record_failure(attempt)
            values = {"email": email, "problem": "Email or password is incorrect."}
            return self._anonymous_page(request, "sign_in.html", values, status=422)
        await self._sign_in_flow.attempts.record_success(attempt)
        return await self._sign_in_flow.complete_first_factor(
            request, user, to="/incidents", by="password"
        )

    async def link(self, request: Request) -> Response:
        return self._anonymous_page(
            request, "sign_in_link.html", {"token": request.query_params.get("token", "")}
        )

    async def redeem_link(self, request: Request, fields: AnonymousFields) -> Response:
        attempt = self._sign_in_flow.attempts.by_link(request)
        await self._sign_in_flow.attempts.count(attempt)
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            is_first = not await members.has_administrator(session)
            user = await users.redeem_login_link(session, token=fields.get("token", ""), now=now)
            # The very first link creates the administrator. Later links only sign in existing
            # accounts.
            if user is not None and is_first and await members.has_administrator(session):
                await self._self_service_audit.record(
                    session, request, AuditAction.USER_CREATED, user.user_id, now=now, by="link"
                )
        if user is None:
            await self._sign_in_flow.attempts.record_failure(attempt)
            values = {
                "email": "",
                "problem": USED_LINK,
            }
            return self._anonymous_page(request, "sign_in.html", values, status=422)
        await self._sign_in_flow.attempts.record_success(attempt)
        return await self._sign_in_flow.complete_first_factor(
            request, user, to="/login/password", by="link"
        )

    async def choose_password(self, viewer: CurrentViewer) -> Response:
        return self._password_page(viewer, email=viewer.email)

    async def set_password(
        self, request: Request, viewer: CurrentViewer, fields: FormFields
    ) -> Response:
        email, password = fields.get("email", "").strip(), fields.get("password", "")
        problem = _password_problem(email, password)
        if problem:
            return self._password_page(viewer, email=email, problem=problem)
        try:
            renewed = await self._save_password(request, viewer, email, password)
        except ValidationFailed as refusal:
            return self._password_page(viewer, email=email, problem=refusal.errors[0].message)
        notice = Notice("good", "Your password is set. All other browsers are signed out.")
        return self._sessions.set_session(
            self._sessions.redirect("/incidents", viewer=renewed, notice=notice), renewed.token
        )

    async def sign_out(self, request: Request, viewer: CurrentViewer) -> Response:
        async with self._parts.database.transaction() as session:
            await sessions.close_session(session, token=viewer.token)
            now = await self._parts.database.now(session)
            await self._self_service_audit.record(
                session, request, AuditAction.SIGNED_OUT, viewer.user_id, now=now
            )
        return self._sessions.clear_session(self._sessions.redirect("/login"))

    async def _verify_password(self, email: str, password: str) -> User | None:
        # Hashing is slow and needs much memory: no write transaction is open meanwhile, and guesses
        # queue up.
        async with self._hashing, self._parts.database.reading() as session:
            return await users.check_password(session, email=email, password=password)

    async def _save_password(
        self, request: Request, viewer: Viewer, email: str, password: str
    ) -> Viewer:
        """Save the password, end all sessions of the user and open a new one."""
        async with self._hashing, self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            await users.set_password(
                session, user_id=viewer.user_id, email=email, password=password, now=now
            )
            await sessions.end_sessions(session, viewer.user_id)
            token = await self._sessions.open(session, request, user_id=viewer.user_id, now=now)
            await self._self_service_audit.record(
                session, request, AuditAction.PASSWORD_SET, viewer.user_id, now=now
            )
        return self._sessions.with_token(viewer, token)

    def _anonymous_page(
        self, request: Request, template: str, values: Values, *, status: int = 200
    ) -> Response:
        form_token = self._sessions.anonymous_form_token(request)
        provider = self._parts.oidc_provider
        values = {
            **values,
            "form_token": form_token,
            "issuer_host": "" if provider is None else provider.host,
        }
        response = self._console.pages.page(template, values, status=status)
        return self._sessions.set_anonymous_form_token(response, form_token)

    def _password_page(self, viewer: Viewer, *, email: str, problem: str = "") -> Response:
        values = {
            "viewer": viewer,
            "email": email,
            "problem": problem,
            "least": PASSWORD_CHARACTERS,
        }
        return self._console.pages.page("password.html", values, status=422 if problem else 200)


def _password_problem(email: str, password: str) -> str:
    """The problem of the email or password. Empty if there is none."""
    if problem := users.address_problem(email):
        return problem
    if not PASSWORD_CHARACTERS <= len(password) <= PASSWORD_CHARACTERS_MOST:
        limits = f"{PASSWORD_CHARACTERS} to {PASSWORD_CHARACTERS_MOST}"
        return f"The password must have {limits} characters."
    return ""
