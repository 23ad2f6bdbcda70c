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

from api.console.base import Console
from api.console.dependencies import AnonymousFields, CurrentViewer, FormFields
from api.console.sign_in.cookies import Notice, Secret
from api.console.sign_in.sessions import Viewer
from api.console.ui.rendering import HEADERS
from domain.audit import AuditAction
from domain.errors import NotFound
from store.people import second_factor as factors

ISSUER_NAME = "Makegood"
WRONG_CODE = (
    "This code is incorrect or was already used. Codes change every 30 seconds: enter the next one."
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

    async def ask_code(self, request: Request) -> Response:
        if await self._sign_in_flow.pending(request) is None:
            return self._sessions.redirect("/login")
        return self._code_page(request, "")

    async def check_code(self, request: Request, fields: AnonymousFields) -> Response:
        pending = await self._sign_in_flow.pending(request)
        if pending is None:
            return self._sessions.redirect("/login")
        attempt = self._attempts.by_code(request, pending.user.user_id, after=pending.by)
        await self._attempts.count(attempt)
        response = await self._sign_in_flow.complete_second_factor(
            request, pending, code=fields.get("code", "")
        )
        if response is None:
            await self._attempts.record_failure(attempt)
            return self._code_page(request, WRONG_CODE)
        await self._attempts.record_success(attempt)
        return response

    async def security(self, request: Request, viewer: CurrentViewer) -> Response:
        async with self._parts.database.reading() as session:
            values = {
                "has_totp": await factors.has_totp(session, viewer.user_id),
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
            _codes_notice("Authenticator app turned on. Every sign-in now asks for a code.", codes),
        )

    async def renew_codes(self, request: Request, viewer: CurrentViewer) -> Response:
        async with self._parts.database.transaction() as session:
            if not await factors.has_totp(session, viewer.user_id):
                return self._back(
                    viewer,
                    Notice(
                        "bad",
                        "Set up an authenticator app first. Recovery codes are created with it.",
                    ),
                )
            now = await self._parts.database.now(session)
            codes = await factors.renew_recovery_codes(session, viewer.user_id, now=now)
            await self._self_service_audit.record(
                session, request, AuditAction.RECOVERY_CODES_RENEWED, viewer.user_id, now=now
            )
        return self._back(
            viewer,
            _codes_notice("New recovery codes created. The old codes no longer work.", codes),
        )

    async def remove(self, request: Request, viewer: CurrentViewer, fields: FormFields) -> Response:
        """Turn it off. Always needs a code, because an unattended session must not be enough."""
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

    def _code_page(self, request: Request, problem: str) -> Response:
        form_token = self._sessions.anonymous_form_token(request)
        values = {"form_token": form_token, "problem": problem}
        response = self._console.pages.page("code.html", values, status=422 if problem else 200)
        return self._sessions.set_anonymous_form_token(response, form_token)

    def _back(self, viewer: Viewer, notice: Notice) -> Response:
        return self._sessions.redirect(SECURITY, viewer=viewer, notice=notice)


def _codes_notice(text: str, codes: tuple[str, ...]) -> Notice:
    advice = "Store these recovery codes safely: each works once, and they are not shown again."
    secrets = tuple(
        Secret(f"Recovery code {number}", code) for number, code in enumerate(codes, start=1)
    )
    return Notice("good", f"{text} {advice}", secrets)
