"""The front page, the static files and the navigation's own refresh."""

from starlette.requests import Request
from starlette.responses import Response

from api.console.base import Console


class SitePages:
    """What belongs to no page in particular."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def home(self, request: Request) -> Response:
        await self._console.viewer(request)
        return self._console.sessions.redirect("/incidents")

    async def static_file(self, request: Request, name: str) -> Response:
        return self._console.pages.static_file(name, version=request.query_params.get("v", ""))

    async def rail(self, request: Request) -> Response:
        """The navigation again, for htmx; 204 when nothing in it changed."""
        viewer = await self._console.viewer(request)
        fresh = await self._console.rail(viewer, request.query_params.get("here", ""))
        return self._console.pages.fragment(request, fresh)
