"""The account page: the sessions of the user, and forms that end them."""

from starlette.requests import Request
from starlette.responses import Response

from api.console.base import Console
from api.console.dependencies import CurrentActor, CurrentViewer
from api.console.sign_in.cookies import Notice


class AccountPages:
    """Shows and ends the sessions of the viewer only."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._people = console.people

    async def sessions(self, request: Request, viewer: CurrentViewer) -> Response:
        listed = await self._people.sessions.list_sessions(viewer.user_id, token=viewer.token)
        values = {"sessions": listed}
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
