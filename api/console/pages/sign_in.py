"""Sign-in: by a one-time link (printed at start, or by `makegood user link`), by email and
password, or by a passkey.

Opening the link changes nothing, because mail scanners open links too. The button on that page
redeems it.
"""

import asyncio
from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from api.console.access import ANYONE, SIGNED_IN, RouteSpec
from api.console.base import Console
from api.console.dependencies import AnonymousFields, CurrentViewer, FormFields
from api.console.sign_in.cookies import Notice
from api.console.sign_in.passkeys import MAY_BE_COPIED
from api.console.sign_in.return_path import FIRST_PAGE, RETURN_PAGE
from api.console.sign_in.sessions import Viewer
from api.console.sign_in.webauthn_verifier import NEEDS_SCRIPT, PasskeyRefused
from api.console.ui.rendering import Values, passkey_prompt, passkey_refused
from domain.audit import AuditAction
from domain.errors import ValidationFailed
from domain.security.passkeys import Ceremony
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

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (
            ("GET", "/login", self.sign_in, ANYONE),
            ("GET", "/login/link", self.link, ANYONE),
            ("GET", "/login/password", self.choose_password, SIGNED_IN),
            ("POST", "/login", self.check_password, ANYONE),
            ("POST", "/login/link", self.redeem_link, ANYONE),
            ("POST", "/login/passkey", self.check_passkey, ANYONE),
            ("POST", "/login/passkey/options", self.passkey_options, ANYONE),
            ("POST", "/login/password", self.set_password, SIGNED_IN),
            ("POST", "/logout", self.sign_out, SIGNED_IN),
        )

    async def sign_in(self, request: Request) -> Response:
        back = self._console.return_path(request.query_params, otherwise="")
        response = self._sign_in_page(request, back=back)
        return self._keep_return_page(request, response, back)

    async def check_password(self, request: Request, fields: AnonymousFields) -> Response:
        email = fields.get("email", "").strip()
        attempt = self._sign_in_flow.attempts.by_password(request, email)
        await self._sign_in_flow.attempts.count(attempt)
        user = await self._verify_password(email, fields.get("password", ""))
        if user is None:
            await self._sign_in_flow.attempts.record_failure(attempt)
            back, problem = self._console.return_path(fields), "Email or password is incorrect."
            return self._sign_in_page(request, back=back, email=email, problem=problem)
        await self._sign_in_flow.attempts.record_success(attempt)
        response = await self._sign_in_flow.complete_first_factor(
            request, user, to=self._console.return_path(fields), by="password"
        )
        return self._keep_return_page(request, response, "")

    async def passkey_options(self, request: Request, fields: AnonymousFields) -> Response:
        """The options of the prompt of a sign-in. It names no account: the browser offers those
        that it has a passkey of.
        """
        del fields  # its token was checked
        attempts = self._sign_in_flow.attempts
        await attempts.count(attempts.begin_passkey(request))
        browser = self._sessions.anonymous_form_token(request)
        try:
            options = await self._console.passkeys.begin(Ceremony.SIGN_IN, browser=browser)
        except PasskeyRefused as refused:
            return passkey_refused(refused.text)
        return passkey_prompt(options)

    async def check_passkey(self, request: Request, fields: AnonymousFields) -> Response:
        """Sign in by a passkey, which counts as both factors."""
        answer, back = fields.get("passkey", ""), self._console.return_path(fields)
        if not answer:
            return self._sign_in_page(request, back=back, problem=NEEDS_SCRIPT)
        attempts = self._sign_in_flow.attempts
        attempt, browser = (
            attempts.by_passkey(request),
            self._sessions.anonymous_form_token(request),
        )
        await attempts.count(attempt)
        try:
            used = await self._console.passkeys.verify(answer, Ceremony.SIGN_IN, browser=browser)
        except PasskeyRefused as refused:
            await attempts.record_failure(replace(attempt, user_id=refused.user_id))
            return self._sign_in_page(request, back=back, problem=refused.text)
        response = await self._sign_in_flow.complete_passkey(request, used, to=back, pending=None)
        if response is None:
            await attempts.record_failure(replace(attempt, user_id=used.user.user_id))
            return self._sign_in_page(request, back=back, problem=MAY_BE_COPIED)
        await attempts.record_success(attempt)
        await attempts.record_success(attempts.begin_passkey(request))
        return self._keep_return_page(request, response, "")

    async def link(self, request: Request) -> Response:
        token = request.query_params.get("token", "")
        async with self._parts.database.reading() as session:
            now = await self._parts.database.now(session)
            is_good = await users.is_login_link_good(session, token=token, now=now)
        return self._anonymous_page(
            request, "sign_in_link.html", {"token": token, "is_good": is_good}
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
            back = self._return_page(request, otherwise="")
            return self._sign_in_page(request, back=back, problem=USED_LINK)
        await self._sign_in_flow.attempts.record_success(attempt)
        return await self._sign_in_flow.complete_first_factor(
            request, user, to="/login/password", by="link"
        )

    async def choose_password(self, request: Request, viewer: CurrentViewer) -> Response:
        return self._password_page(request, viewer, email=viewer.email)

    async def set_password(
        self, request: Request, viewer: CurrentViewer, fields: FormFields
    ) -> Response:
        email, password = fields.get("email", "").strip(), fields.get("password", "")
        problem = _password_problem(email, password)
        if problem:
            return self._password_page(request, viewer, email=email, problem=problem)
        try:
            renewed = await self._save_password(request, viewer, email, password)
        except ValidationFailed as refusal:
            problem = refusal.errors[0].message
            return self._password_page(request, viewer, email=email, problem=problem)
        notice = Notice("good", "Your password is set. All other browsers are signed out.")
        to = self._return_page(request)
        response = self._sessions.redirect(to, viewer=renewed, notice=notice)
        self._keep_return_page(request, response, "")
        return self._sessions.set_session(response, renewed.token)

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

    def _sign_in_page(
        self, request: Request, *, back: str = "", email: str = "", problem: str = ""
    ) -> Response:
        """The sign-in form. `back` is the page after signing in, empty for the first page."""
        values = {"back": back, "email": email, "problem": problem}
        status = 422 if problem else 200
        return self._anonymous_page(request, "sign_in.html", values, status=status)

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

    def _return_page(self, request: Request, *, otherwise: str = FIRST_PAGE) -> str:
        """The page that the visitor asked for before they signed in by a link."""
        state = self._sessions.read_state(request, RETURN_PAGE, now=self._parts.now())
        return otherwise if state is None else str(state["back"])

    def _keep_return_page(self, request: Request, response: Response, back: str) -> Response:
        """Keep the page for a sign-in by a link, which opens a new address. Empty forgets it."""
        if back:
            now = self._parts.now()
            return self._sessions.set_state(response, RETURN_PAGE, {"back": back}, now=now)
        if self._return_page(request, otherwise=""):
            return self._sessions.clear_state(response, RETURN_PAGE)
        return response

    def _password_page(
        self, request: Request, viewer: Viewer, *, email: str, problem: str = ""
    ) -> Response:
        values = {
            "viewer": viewer,
            "back": self._return_page(request),
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
