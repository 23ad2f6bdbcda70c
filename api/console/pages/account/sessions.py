"""The account page: password, passkeys, time zone and sessions; and forms that end sessions."""

from starlette.requests import Request
from starlette.responses import Response

from api.console.access import SIGNED_IN, RouteSpec
from api.console.base import Console
from api.console.dependencies import CurrentActor, CurrentViewer
from api.console.sign_in.cookies import Notice
from domain.security.passkeys import LONGEST_NAME, MOST_PASSKEYS
from domain.wording.dates import LANGUAGE_NAMES
from store.people.preferences import zone_names


class AccountPages:
    """Shows the account of the viewer, and ends sessions of theirs."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._people = console.people

    def routes(self) -> tuple[RouteSpec, ...]:
        """The addresses, each with its access rule."""
        return (
            ("GET", "/account", self.account, SIGNED_IN),
            ("POST", "/account/sessions/end-others", self.end_others, SIGNED_IN),
            ("POST", "/account/sessions/{session_id}/end", self.end_one, SIGNED_IN),
        )

    async def account(self, request: Request, viewer: CurrentViewer) -> Response:
        listed = await self._people.sessions.list_sessions(viewer.user_id, token=viewer.token)
        party = self._console.passkeys.party
        values = {
            "sessions": listed,
            "passkeys": await self._people.passkeys.list_passkeys(viewer.user_id),
            "most_passkeys": MOST_PASSKEYS,
            "longest_name": LONGEST_NAME,
            "unavailable": self._console.passkeys.unavailable,
            "rp_id": None if party is None else party.id,
            "zones": zone_names(),
            "languages": LANGUAGE_NAMES,
        }
        return await self._console.render_page(
            request, viewer, page="account.html", section="account", values=values
        )

    async def end_one(
        self, viewer: CurrentViewer, actor: CurrentActor, session_id: str
    ) -> Response:
        action = self._people.sessions.end_session(viewer.user_id, session_id, actor=actor)
        return await self._console.perform(
            viewer, action, success="The browser is signed out.", back="/account"
        )

    async def end_others(self, viewer: CurrentViewer, actor: CurrentActor) -> Response:
        ended = await self._people.sessions.end_sessions(
            viewer.user_id, but_for=viewer.token, actor=actor
        )
        text = (
            "You were not signed in to any other browser."
            if not ended
            else "All other browsers are signed out."
        )
        return self._console.sessions.redirect(
            "/account", viewer=viewer, notice=Notice("good", text)
        )
