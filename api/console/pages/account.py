"""One's own account: where one is signed in, and how to end that."""

from starlette.requests import Request
from starlette.responses import Response

from api.auth.audit_actor import actor_of
from api.console.base import Console
from api.console.sign_in.cookies import Notice


class AccountPages:
    """The page of one's own sessions. It shows and ends nobody else's."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._people = console.people

    async def sessions(self, request: Request) -> Response:
        viewer = await self._console.viewer(request)
        answer = await self._people.sessions.list_sessions(viewer.user_id, token=viewer.token)
        values = {"sessions": answer["data"]}
        return await self._console.show(request, viewer, page="account.html", here="account", values=values)

    async def end_one(self, request: Request, session_id: str) -> Response:
        viewer = await self._console.viewer(request)
        await self._console.sessions.form(request, viewer)
        action = self._people.sessions.end_session(viewer.user_id, session_id, actor=actor_of(request, viewer.user_id))
        return await self._console.act(viewer, action, said="That browser is signed out.", back="/account")

    async def end_others(self, request: Request) -> Response:
        viewer = await self._console.viewer(request)
        await self._console.sessions.form(request, viewer)
        ended = await self._people.sessions.end_sessions(
            viewer.user_id, but_for=viewer.token, actor=actor_of(request, viewer.user_id)
        )
        text = "You were signed in nowhere else." if not ended else "You are signed out everywhere else."
        return self._console.sessions.redirect("/account", viewer=viewer, notice=Notice("good", text))
