"""The second factor: asked for at sign-in, and set up, renewed and removed on one's own account page.

The QR code is an image of its own, since the console's policy allows nothing inline. Codes are shown once, by a notice.
"""

import io

import pyotp
import segno
from starlette.requests import Request
from starlette.responses import Response

from api.console.base import Console
from api.console.sign_in.cookies import Notice, Secret
from api.console.sign_in.sessions import Viewer
from api.console.ui.rendering import HEADERS
from domain.audit import AuditAction
from domain.errors import NotFound
from store.people import second_factor as factors

ISSUER_NAME = "Makegood"
WRONG_CODE = "This code is not right, or was used before. Codes of an app change every 30 seconds: take the next one."
SECURITY = "/account/security"


class FactorPages:
    """The step between password and session, and the pages of one's own second factor."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._parts = console.parts
        self._sessions = console.sessions
        self._entrance = console.entrance
        self._tries = console.entrance.tries
        self._own_acts = console.own_acts

    async def ask_code(self, request: Request) -> Response:
        if await self._entrance.halfway(request) is None:
            return self._sessions.redirect("/login")
        return self._code_page(request, "")

    async def check_code(self, request: Request) -> Response:
        fields = await self._sessions.anonymous_form(request)
        halfway = await self._entrance.halfway(request)
        if halfway is None:
            return self._sessions.redirect("/login")
        one = self._tries.with_code(request, halfway.user.user_id, after=halfway.by)
        await self._tries.begin(one)
        response = await self._entrance.admit_with_code(request, halfway, code=fields.get("code", ""))
        if response is None:
            await self._tries.record_failure(one)
            return self._code_page(request, WRONG_CODE)
        await self._tries.was_right(one)
        return response

    async def security(self, request: Request) -> Response:
        viewer = await self._console.viewer(request)
        async with self._parts.database.reading() as session:
            values = {
                "has_totp": await factors.has_totp(session, viewer.user_id),
                "codes_left": await factors.count_recovery_codes(session, viewer.user_id),
            }
        return await self._console.show(request, viewer, page="security.html", here="account", values=values)

    async def begin(self, request: Request) -> Response:
        viewer = await self._console.viewer(request)
        await self._sessions.form(request, viewer)
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            secret = await factors.begin_totp(session, self._parts.sealer, viewer.user_id, now=now)
        if not secret:
            return self._back(viewer, Notice("bad", "Your authenticator app is set up already."))
        return self._sessions.redirect("/account/totp")

    async def enrol(self, request: Request) -> Response:
        viewer = await self._console.viewer(request)
        return await self._enrol_page(request, viewer, "")

    async def qr(self, request: Request) -> Response:
        viewer = await self._console.viewer(request)
        name = viewer.email or "console"
        address = pyotp.TOTP(await self._begun_secret(viewer)).provisioning_uri(name=name, issuer_name=ISSUER_NAME)
        image = io.BytesIO()
        # On white in any case: readers of dark pages cannot read a code drawn light on dark.
        segno.make(address, error="m", micro=False).save(image, kind="svg", scale=5, border=4, light="#fff", svgclass=None)
        return Response(image.getvalue(), media_type="image/svg+xml", headers=HEADERS)

    async def confirm(self, request: Request) -> Response:
        viewer = await self._console.viewer(request)
        fields = await self._sessions.form(request, viewer)
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            code = fields.get("code", "")
            codes = await factors.confirm_totp(session, self._parts.sealer, viewer.user_id, code=code, now=now)
            if codes is not None:
                await self._own_acts.record(session, request, AuditAction.SECOND_FACTOR_ENABLED, viewer.user_id, now=now)
        if codes is None:
            return await self._enrol_page(request, viewer, WRONG_CODE)
        return self._back(viewer, _codes_notice("Your authenticator app is asked for at sign-in from now on.", codes))

    async def renew_codes(self, request: Request) -> Response:
        viewer = await self._console.viewer(request)
        await self._sessions.form(request, viewer)
        async with self._parts.database.transaction() as session:
            if not await factors.has_totp(session, viewer.user_id):
                return self._back(viewer, Notice("bad", "Recovery codes come with an authenticator app: set it up first."))
            now = await self._parts.database.now(session)
            codes = await factors.renew_recovery_codes(session, viewer.user_id, now=now)
            await self._own_acts.record(session, request, AuditAction.RECOVERY_CODES_RENEWED, viewer.user_id, now=now)
        return self._back(viewer, _codes_notice("The old recovery codes work no more.", codes))

    async def remove(self, request: Request) -> Response:
        """Takes a code whenever one was last given: a session that was left open is not enough."""
        viewer = await self._console.viewer(request)
        fields = await self._sessions.form(request, viewer)
        one = self._tries.to_prove(request, viewer.user_id, by="code")
        await self._tries.begin(one)
        if not await self._remove(request, viewer, fields.get("code", "")):
            await self._tries.record_failure(one)
            return self._back(viewer, Notice("bad", WRONG_CODE))
        await self._tries.was_right(one)
        return self._back(viewer, Notice("good", "Your authenticator app is no longer asked for."))

    async def _remove(self, request: Request, viewer: Viewer, code: str) -> bool:
        """Whether the code was right, which takes the app away."""
        async with self._parts.database.transaction() as session:
            now = await self._parts.database.now(session)
            accepted = await factors.accept_code(session, self._parts.sealer, viewer.user_id, code=code, now=now)
            if accepted is None:
                return False
            await factors.remove_totp(session, viewer.user_id)
            await self._own_acts.record_code(session, request, accepted, viewer.user_id, now=now)
            await self._own_acts.record(session, request, AuditAction.SECOND_FACTOR_REMOVED, viewer.user_id, now=now)
        return True

    async def _begun_secret(self, viewer: Viewer) -> str:
        async with self._parts.database.reading() as session:
            secret = await factors.read_begun_secret(session, self._parts.sealer, viewer.user_id)
        if secret is None:
            raise NotFound("No authenticator app waits to be set up: begin on your account's page.")
        return secret

    async def _enrol_page(self, request: Request, viewer: Viewer, problem: str) -> Response:
        secret = await self._begun_secret(viewer)
        spaced = " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))
        values = {"secret": secret, "spaced": spaced, "problems": {"code": problem}}
        status = 422 if problem else 200
        return await self._console.show(request, viewer, page="totp.html", here="account", values=values, status=status)

    def _code_page(self, request: Request, problem: str) -> Response:
        form_token = self._sessions.early_form_token(request)
        values = {"form_token": form_token, "problem": problem}
        response = self._console.pages.page("code.html", values, status=422 if problem else 200)
        return self._sessions.keep_early_form_token(response, form_token)

    def _back(self, viewer: Viewer, notice: Notice) -> Response:
        return self._sessions.redirect(SECURITY, viewer=viewer, notice=notice)


def _codes_notice(text: str, codes: tuple[str, ...]) -> Notice:
    told = (
        f"{text} Keep these recovery codes where you find them without your phone: each works once, and they are not shown again."
    )
    return Notice("good", told, tuple(Secret(f"Recovery code {number}", code) for number, code in enumerate(codes, start=1)))
