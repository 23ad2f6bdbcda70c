"""The front page, static files, and the navigation that refreshes itself."""

from starlette.requests import Request
from starlette.responses import Response

from api.console.base import Console
from api.console.dependencies import CurrentViewer


class HomePages:
    """Addresses that belong to no other page."""

    def __init__(self, console: Console) -> None:
        self._console = console

    async def home(self) -> Response:
        return self._console.sessions.redirect("/incidents")

    async def static_file(self, request: Request, name: str) -> Response:
        return self._console.pages.static_file(name, version=request.query_params.get("v", ""))

    async def rail(self, request: Request, viewer: CurrentViewer) -> Response:
        """The navigation for htmx, or 204 if it has not changed."""
        rendered = await self._console.rail(viewer, request.query_params.get("section", ""))
        return self._console.pages.fragment(request, rendered)
