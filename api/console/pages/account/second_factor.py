"""The second factor: checked at sign-in, and set up, renewed and removed on the user's account
pages.

The QR code is served as a separate image, because the content security policy allows nothing
inline. Recovery codes are shown once, in a notice.
"""

import io

import pyotp
import segno
from starlette.requests import Request
from starlette.responses import Response

from api.console.access import ANYONE, SIGNED_IN, RouteSpec
from api.console.base import Console
from api.console.dependencies import AnonymousFields, CurrentViewer, FormFields
from api.console.sign_in.cookies import Notice
from api.console.sign_in.flow import PendingSecondFactor
from api.console.sign_in.login_attempts import LoginAttempt
from api.console.sign_in.passkeys import MAY_BE_COPIED
from api.console.sign_in.sessions import Viewer
from api.console.sign_in.webauthn_verifier import NEEDS_SCRIPT, PasskeyRefused
from api.console.ui.recovery_codes import codes_notice
from api.console.ui.rendering import HEADERS, passkey_prompt, passkey_refused
from domain.audit import AuditAction
from domain.errors import NotFound
from domain.security.passkeys import Ceremony
from store.people import second_factor as factors

ISSUER_NAME = "Makegood"
WRONG_CODE = (
    "This code is incorrect or was already used. Codes change every 30 seconds: enter the next one."
)
NO_SECOND_FACTOR = (
    "Add a passkey or set up an authenticator app first. Recovery codes are created with it."
)
SECURITY = "/account/security"


class SecondFactorPages:
    """The second step of the sign-in, and the pages of the user's own second factor."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._parts = console.parts
        self._sessions = console.sessions
        self._sign_in_flow = console.sign_in_flow
        self._attempts = console.sign_in_flow.attempts
        self._self_service_audit = console.self_service_audit

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (
            ("GET", "/login/code", self.ask_code, ANYONE),
            ("GET", "/account/security", self.security, SIGNED_IN),
            ("GET", "/account/totp", self.enrol, SIGNED_IN),
            ("GET", "/account/totp/qr.svg", self.qr, SIGNED_IN),
            ("POST", "/login/code", self.check_code, ANYONE),
            ("POST", "/login/code/options", self.passkey_options, ANYONE),
            ("POST", "/account/totp", self.begin, SIGNED_IN),
            ("POST", "/account/totp/confirm", self.confirm, SIGNED_IN),
            ("POST", "/account/totp/remove", self.remove, SIGNED_IN),
            ("POST", "/account/recovery-codes", self.renew_codes, SIGNED_IN),
        )

    async def ask_code(self, request: Request) -> Response:
        pending = await self._sign_in_flow.pending(request)
        if pending is None:
            return self._sessions.redirect("/login")
        return await self._code_page(request, pending, "")

    async def check_code(self, request: Request, fields: AnonymousFields) -> Response:
        """The second factor: a code, or the answer of a passkey."""
        pending = await self._sign_in_flow.pending(request)
        if pending is None:
            return self._sessions.redirect("/login")
        if "passkey" in fields and not fields.get("code"):
            return await self._check_passkey(request, pending, fields["passkey"])
        attempt = self._attempt(request, pending, by="code")
        await self._attempts.count(attempt)
        response = await self._sign_in_flow.complete_second_factor(
            request, pending, code=fields.get("code", "")
        )
        if response is None:
            await self._attempts.record_failure(attempt)
            return await self._code_page(request, pending, WRONG_CODE)
        await self._attempts.record_success(attempt)
        return response

    async def passkey_options(self, request: Request, fields: AnonymousFields) -> Response:
        """The options of the prompt for the second factor."""
        del fields  # its token was checked
        pending = await self._sign_in_flow.pending(request)
        if pending is None:
            return passkey_refused("The sign-in took too long. Start again.")
        await self._attempts.count(self._attempts.begin_passkey(request))
        try:
            options = await self._console.passkeys.begin(
                Ceremony.SECOND_FACTOR,
                browser=self._sessions.anonymous_form_token(request),
                user_id=pending.user.user_id,
            )
        except PasskeyRefused as refused:
            return passkey_refused(refused.text)
        return passkey_prompt(options)

    async def _check_passkey(
        self, request: Request, pending: PendingSecondFactor, answer: str
    ) -> Response:
        if not answer:
            return await self._code_page(request, pending, NEEDS_SCRIPT)
        attempt = self._attempt(request, pending, by="passkey")
        await self._attempts.count(attempt)
        try:
            used = await self._console.passkeys.verify(
                answer,
                Ceremony.SECOND_FACTOR,
                browser=self._sessions.anonymous_form_token(request),
                user_id=pending.user.user_id,
            )
        except PasskeyRefused as refused:
            await self._attempts.record_failure(attempt)
            return await self._code_page(request, pending, refused.text)
        response = await self._sign_in_flow.complete_passkey(
            request, used, to=pending.to, pending=pending
        )
        if response is None:
            await self._attempts.record_failure(attempt)
            return await self._code_page(request, pending, MAY_BE_COPIED)
        await self._attempts.record_success(attempt)
        await self._attempts.record_success(self._attempts.begin_passkey(request))
        return response

    def _attempt(self, request: Request, pending: PendingSecondFactor, *, by: str) -> LoginAttempt:
        user_id = pending.user.user_id
        return self._attempts.by_second_factor(request, user_id, by=by, after=pending.by)

    async def security(self, request: Request, viewer: CurrentViewer) -> Response:
        async with self._parts.database.reading() as session:
            values = {
                "has_totp": await factors.has_totp(session, viewer.user_id),
                "has_second_factor": await factors.has_second_factor(session, viewer.user_id),
                "codes_left": await factors.count_recovery_codes(session, viewer.user_id),
            }
        return await self._console.render_page(
            request, viewer, page="security.html", section="account", values=values
        )

    async def begin(self, viewer: CurrentViewer) -> Response:
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            secret = await factors.begin_totp(session, self._parts.sealer, viewer.user_id, now=now)
        if not secret:
            return self._back(viewer, Notice("bad", "Your authenticator app is already set up."))
        return self._sessions.redirect("/account/totp")

    async def enrol(self, request: Request, viewer: CurrentViewer) -> Response:
        return await self._enrol_page(request, viewer, "")

    async def qr(self, viewer: CurrentViewer) -> Response:
        name = viewer.email or "console"
        address = pyotp.TOTP(await self._pending_secret(viewer)).provisioning_uri(
            name=name, issuer_name=ISSUER_NAME
        )
        image = io.BytesIO()
        # Always on white: scanners cannot read a code that is light on dark.
        segno.make(address, error="m", micro=False).save(
            image, kind="svg", scale=5, border=4, light="#fff", svgclass=None
        )
        return Response(image.getvalue(), media_type="image/svg+xml", headers=HEADERS)

    async def confirm(
        self, request: Request, viewer: CurrentViewer, fields: FormFields
    ) -> Response:
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            code = fields.get("code", "")
            codes = await factors.confirm_totp(
                session, self._parts.sealer, viewer.user_id, code=code, now=now
            )
            if codes is not None:
                await self._self_service_audit.record(
                    session, request, AuditAction.SECOND_FACTOR_ENABLED, viewer.user_id, now=now
                )
        if codes is None:
            return await self._enrol_page(request, viewer, WRONG_CODE)
        return self._back(
            viewer,
            codes_notice("Authenticator app turned on. Every sign-in now asks for a code.", codes),
        )

    async def renew_codes(self, request: Request, viewer: CurrentViewer) -> Response:
        async with self._parts.database.transaction() as session:
            if not await factors.has_second_factor(session, viewer.user_id):
                return self._back(viewer, Notice("bad", NO_SECOND_FACTOR))
            now = await self._parts.database.now(session)
            codes = await factors.renew_recovery_codes(session, viewer.user_id, now=now)
            await self._self_service_audit.record(
                session, request, AuditAction.RECOVERY_CODES_RENEWED, viewer.user_id, now=now
            )
        return self._back(
            viewer,
            codes_notice("New recovery codes created. The old codes no longer work.", codes),
        )

    async def remove(self, request: Request, viewer: CurrentViewer, fields: FormFields) -> Response:
        """Turn off the user's authenticator app.

        It always needs a code, because an unattended session must not be enough.
        """
        attempt = self._attempts.for_step_up(request, viewer.user_id, by="code")
        await self._attempts.count(attempt)
        if not await self._remove(request, viewer, fields.get("code", "")):
            await self._attempts.record_failure(attempt)
            return self._back(viewer, Notice("bad", WRONG_CODE))
        await self._attempts.record_success(attempt)
        return self._back(viewer, Notice("good", "Authenticator app turned off."))

    async def _remove(self, request: Request, viewer: Viewer, code: str) -> bool:
        """Remove the second factor if the code is correct. Returns whether it was."""
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            accepted = await factors.accept_code(
                session, self._parts.sealer, viewer.user_id, code=code, now=now
            )
            if accepted is None:
                return False
            await factors.remove_totp(session, viewer.user_id)
            await self._self_service_audit.record_code(
                session, request, accepted, viewer.user_id, now=now
            )
            await self._self_service_audit.record(
                session, request, AuditAction.SECOND_FACTOR_REMOVED, viewer.user_id, now=now
            )
        return True

    async def _pending_secret(self, viewer: Viewer) -> str:
        async with self._parts.database.reading() as session:
            secret = await factors.read_begun_secret(session, self._parts.sealer, viewer.user_id)
        if secret is None:
            raise NotFound("No setup is in progress. Start it on the page “Sign-in security”.")
        return secret

    async def _enrol_page(self, request: Request, viewer: Viewer, problem: str) -> Response:
        secret = await self._pending_secret(viewer)
        spaced = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
        values = {"secret": secret, "spaced": spaced, "problems": {"code": problem}}
        status = 422 if problem else 200
        return await self._console.render_page(
            request, viewer, page="totp.html", section="account", values=values, status=status
        )

    async def _code_page(
        self, request: Request, pending: PendingSecondFactor, problem: str
    ) -> Response:
        form_token, user_id = self._sessions.anonymous_form_token(request), pending.user.user_id
        async with self._parts.database.reading() as session:
            has_app = await factors.has_totp(session, user_id)
        values = {
            "form_token": form_token,
            "problem": problem,
            "has_app": has_app,
            "passkeys": await self._console.passkeys.usable(user_id),
        }
        response = self._console.pages.page("code.html", values, status=422 if problem else 200)
        return self._sessions.set_anonymous_form_token(response, form_token)

    def _back(self, viewer: Viewer, notice: Notice) -> Response:
        return self._sessions.redirect(SECURITY, viewer=viewer, notice=notice)
