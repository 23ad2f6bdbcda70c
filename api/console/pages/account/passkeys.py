"""The user's own passkeys: add, rename and remove them; and the prompt of a step-up by passkey.

Adding one has three requests. The form on the account page stores a challenge, after a proof of
identity. The next page asks the browser for the passkey. Its form brings the answer.
"""

from starlette.requests import Request
from starlette.responses import Response

from api.console.access import SIGNED_IN, RouteSpec
from api.console.base import Console, error_message
from api.console.dependencies import CurrentActor, CurrentViewer, FormFields
from api.console.sign_in.cookies import Notice
from api.console.sign_in.sessions import Viewer
from api.console.sign_in.webauthn_verifier import PasskeyRefused
from api.console.ui import labels
from api.console.ui.recovery_codes import codes_notice
from api.console.ui.rendering import passkey_prompt, passkey_refused
from domain.errors import NotFound, Refusal
from domain.security.passkeys import LONGEST_NAME, Ceremony

ACCOUNT = "/account"
NOT_BEGUN = "No setup is in progress, or it took too long. Start it on the page of your account."
FIRST_ADDED = "Passkey added. Signing in with your password now asks for it too."


class PasskeyPages:
    """Forms of the account page that change passkeys."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._passkeys = console.passkeys
        self._people = console.people

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        passkey = "/account/passkeys/{passkey_id}"
        return (
            ("GET", "/account/passkeys/new", self.prompt, SIGNED_IN),
            ("POST", "/account/passkeys/begin", self.begin, SIGNED_IN),
            ("POST", "/account/passkeys", self.add, SIGNED_IN),
            ("POST", f"{passkey}/rename", self.rename, SIGNED_IN),
            ("POST", f"{passkey}/remove", self.remove, SIGNED_IN),
            ("POST", "/account/proof/options", self.proof_options, SIGNED_IN),
        )

    async def begin(self, viewer: CurrentViewer) -> Response:
        try:
            await self._passkeys.begin_registration(viewer)
        except PasskeyRefused as refused:
            return self._back(viewer, Notice("bad", refused.text))
        return self._console.sessions.redirect("/account/passkeys/new")

    async def prompt(self, request: Request, viewer: CurrentViewer) -> Response:
        """The page that asks the browser for a new passkey."""
        options = await self._passkeys.registration_options(viewer)
        if options is None:
            raise NotFound(NOT_BEGUN)
        values = {
            "options": options,
            "name": labels.browser_name(request.headers.get("User-Agent", "")),
            "longest": LONGEST_NAME,
        }
        return await self._console.render_page(
            request, viewer, page="passkey_new.html", section="account", values=values
        )

    async def add(self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor) -> Response:
        """Store the new passkey. The first second factor comes with recovery codes."""
        try:
            made = await self._passkeys.verify_new(viewer, fields.get("passkey", ""))
            added = await self._people.passkeys.add_passkey(
                viewer.user_id, made, name=fields.get("name", ""), actor=actor
            )
        except PasskeyRefused as refused:
            return self._back(viewer, Notice("bad", refused.text))
        except Refusal as refusal:
            return self._back(viewer, Notice("bad", error_message(refusal)))
        if not added.recovery_codes:
            return self._back(viewer, Notice("good", f"Passkey “{added.passkey.name}” added."))
        return self._back(viewer, codes_notice(FIRST_ADDED, added.recovery_codes))

    async def rename(
        self, viewer: CurrentViewer, fields: FormFields, actor: CurrentActor, passkey_id: str
    ) -> Response:
        action = self._people.passkeys.rename_passkey(
            viewer.user_id, passkey_id, name=fields.get("name", ""), actor=actor
        )
        return await self._console.perform(viewer, action, success="Passkey renamed.", back=ACCOUNT)

    async def remove(self, viewer: CurrentViewer, actor: CurrentActor, passkey_id: str) -> Response:
        action = self._people.passkeys.remove_passkey(viewer.user_id, passkey_id, actor=actor)
        return await self._console.perform(
            viewer,
            action,
            success="Passkey removed. Remove it from the device or password manager too.",
            back=ACCOUNT,
        )

    async def proof_options(self, viewer: CurrentViewer) -> Response:
        """The options of the prompt with which the viewer confirms their identity."""
        try:
            options = await self._passkeys.begin(
                Ceremony.STEP_UP, browser=viewer.token, user_id=viewer.user_id
            )
        except PasskeyRefused as refused:
            return passkey_refused(refused.text)
        return passkey_prompt(options)

    def _back(self, viewer: Viewer, notice: Notice) -> Response:
        return self._console.sessions.redirect(ACCOUNT, viewer=viewer, notice=notice)
