"""The account page: the sessions of the user, and forms that end them."""

from starlette.requests import Request
from starlette.responses import Response

from api.auth.audit_actor import actor_of
from api.console.base import Console
from api.console.sign_in.cookies import Notice


class AccountPages:
    """Shows and ends the sessions of the viewer only."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._people = console.people

    async def sessions(self, request: Request) -> Response:
        viewer = await self._console.viewer(request)
        listed = await self._people.sessions.list_sessions(viewer.user_id, token=viewer.token)
        values = {"sessions": listed}
        return await self._console.render_page(
            request, viewer, page="account.html", section="account", values=values
        )

    async def end_one(self, request: Request, session_id: str) -> Response:
        viewer = await self._console.viewer(request)
        await self._console.sessions.form(request, viewer)
        action = self._people.sessions.end_session(
            viewer.user_id, session_id, actor=actor_of(request, viewer.user_id)
        )
        return await self._console.perform(
            viewer, action, success="The browser is signed out.", back="/account"
        )

    async def end_others(self, request: Request) -> Response:
        viewer = await self._console.viewer(request)
        await self._console.sessions.form(request, viewer)
        ended = await self._people.sessions.end_sessions(
            viewer.user_id, but_for=viewer.token, actor=actor_of(request, viewer.user_id)
        )
        text = (
            "You were not signed in to any other browser."
            if not ended
            else "All other browsers are signed out."
        )
        return self._console.sessions.redirect(
            "/account", viewer=viewer, notice=Notice("good", text)
        )
