"""Signing in: by a one-time link (printed at start, or by `makegood user`), then by e-mail and password.

Opening the link changes nothing: mail and link scanners open links too. The button on that page redeems it.
"""

import asyncio

from starlette.requests import Request
from starlette.responses import Response

from api.console.base import Console
from api.console.sign_in.cookies import Notice
from api.console.sign_in.sessions import Viewer
from api.console.ui.rendering import Values
from domain.audit import AuditAction
from domain.errors import ValidationFailed
from domain.users import User
from store.people import members, sessions, users

PASSWORD_CHARACTERS = 12
PASSWORD_CHARACTERS_MOST = 256
HASHED_AT_ONCE = 1


class SignInPages:
    """The pages before and around a session."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._parts = console.parts
        self._sessions = console.sessions
        self._entrance = console.entrance
        self._own_acts = console.own_acts
        self._hashing = asyncio.Semaphore(HASHED_AT_ONCE)

    async def sign_in(self, request: Request) -> Response:
        return self._early_page(request, "sign_in.html", {"email": "", "problem": ""})

    async def check_password(self, request: Request) -> Response:
        fields = await self._sessions.anonymous_form(request)
        email = fields.get("email", "").strip()
        one = self._entrance.tries.with_password(request, email)
        await self._entrance.tries.begin(one)
        user = await self._who(email, fields.get("password", ""))
        if user is None:
            await self._entrance.tries.record_failure(one)
            values = {"email": email, "problem": "This e-mail and password do not go together."}
            return self._early_page(request, "sign_in.html", values, status=422)
        await self._entrance.tries.was_right(one)
        return await self._entrance.admit(request, user, to="/incidents", by="password")

    async def link(self, request: Request) -> Response:
        return self._early_page(request, "sign_in_link.html", {"token": request.query_params.get("token", "")})

    async def redeem_link(self, request: Request) -> Response:
        fields = await self._sessions.anonymous_form(request)
        one = self._entrance.tries.with_link(request)
        await self._entrance.tries.begin(one)
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            is_first = not await members.has_administrator(session)
            user = await users.redeem_login_link(session, token=fields.get("token", ""), now=now)
            # Somebody who has an account is signed in by a link, and made administrator by none.
            if user is not None and is_first and await members.has_administrator(session):
                await self._own_acts.record(session, request, AuditAction.USER_CREATED, user.user_id, now=now, by="link")
        if user is None:
            await self._entrance.tries.record_failure(one)
            values = {"email": "", "problem": "This link was used before or is too old. `makegood user link` prints a new one."}
            return self._early_page(request, "sign_in.html", values, status=422)
        await self._entrance.tries.was_right(one)
        return await self._entrance.admit(request, user, to="/login/password", by="link")

    async def choose_password(self, request: Request) -> Response:
        viewer = await self._console.viewer(request)
        return self._password_page(viewer, email=viewer.email)

    async def set_password(self, request: Request) -> Response:
        viewer = await self._console.viewer(request)
        fields = await self._sessions.form(request, viewer)
        email, password = fields.get("email", "").strip(), fields.get("password", "")
        problem = _password_problem(email, password)
        if problem:
            return self._password_page(viewer, email=email, problem=problem)
        try:
            renewed = await self._keep_password(request, viewer, email, password)
        except ValidationFailed as refusal:
            return self._password_page(viewer, email=email, problem=refusal.errors[0].message)
        notice = Notice("good", "Your password is set. Next time, sign in with it. Other browsers are signed out.")
        return self._sessions.begin(self._sessions.redirect("/incidents", viewer=renewed, notice=notice), renewed.token)

    async def sign_out(self, request: Request) -> Response:
        viewer = await self._console.viewer(request)
        await self._sessions.form(request, viewer)
        async with self._parts.database.transaction() as session:
            await sessions.close_session(session, token=viewer.token)
            now = await self._parts.database.now(session)
            await self._own_acts.record(session, request, AuditAction.SIGNED_OUT, viewer.user_id, now=now)
        return self._sessions.end(self._sessions.redirect("/login"))

    async def _who(self, email: str, password: str) -> User | None:
        # Hashing takes long and much memory: no transaction that writes is open, and a flood of guesses waits in line.
        async with self._hashing, self._parts.database.reading() as session:
            return await users.check_password(session, email=email, password=password)

    async def _keep_password(self, request: Request, viewer: Viewer, email: str, password: str) -> Viewer:
        """The person under a new session; all that he had are over."""
        async with self._hashing, self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            await users.set_password(session, user_id=viewer.user_id, email=email, password=password, now=now)
            await sessions.end_sessions(session, viewer.user_id)
            token = await self._sessions.open(session, request, user_id=viewer.user_id, now=now)
            await self._own_acts.record(session, request, AuditAction.PASSWORD_SET, viewer.user_id, now=now)
        return self._sessions.under(viewer, token)

    def _early_page(self, request: Request, template: str, values: Values, *, status: int = 200) -> Response:
        form_token = self._sessions.early_form_token(request)
        issuer = self._parts.issuer
        values = {**values, "form_token": form_token, "issuer_host": "" if issuer is None else issuer.host}
        response = self._console.pages.page(template, values, status=status)
        return self._sessions.keep_early_form_token(response, form_token)

    def _password_page(self, viewer: Viewer, *, email: str, problem: str = "") -> Response:
        values = {"viewer": viewer, "email": email, "problem": problem, "least": PASSWORD_CHARACTERS}
        return self._console.pages.page("password.html", values, status=422 if problem else 200)


def _password_problem(email: str, password: str) -> str:
    """What is wrong with the pair, or nothing."""
    if problem := users.address_problem(email):
        return problem
    if not PASSWORD_CHARACTERS <= len(password) <= PASSWORD_CHARACTERS_MOST:
        return f"A password here has {PASSWORD_CHARACTERS} to {PASSWORD_CHARACTERS_MOST} characters."
    return ""
