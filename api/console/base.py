"""What all pages share: the frame around a page, who looks at it, and what becomes of an action. Pages are given one `Console`.

An action (a POST) calls one function of `Operations`, as REST does, and answers with a redirect and a notice. Who may come in was
decided before, by `Guard`.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from typing import Any

from fastapi.routing import APIRoute
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from api.console.access import Guard, Needs
from api.console.composition import ConsoleParts
from api.console.sign_in.cookies import Notice
from api.console.sign_in.flow import SignInFlow
from api.console.sign_in.login_attempts import TooManyLoginAttempts
from api.console.sign_in.self_service_audit import SelfServiceAudit
from api.console.sign_in.sessions import FormRejected, Sessions, SignInNeeded, Viewer
from api.console.sign_in.step_up import StepUpAuth
from api.console.ui.rendering import HEADERS, Pages, Values, asked_by_htmx
from domain.errors import Forbidden, NotFound, RateLimited, Refusal, TooSlow, Unavailable
from operations.people.composition import People

# A page or form; what the path names follows the request.
Handler = Callable[..., Awaitable[Response]]
# FastAPI's own annotation of a route's handler.
RouteHandler = Callable[[Request], Coroutine[Any, Any, Response]]


class Console:
    """The parts, the templates and the cookies, in one hand."""

    def __init__(self, parts: ConsoleParts) -> None:
        self.parts = parts
        self.operations = parts.operations
        self.people = People.build(parts.database, parts.sealer)
        self.pages = Pages(parts.now)
        self.sessions = Sessions(parts)
        self.own_acts = SelfServiceAudit(parts)
        self.guard = Guard(parts.database, self.sessions, public_url=parts.public_url)
        self.entrance = SignInFlow(parts, self.sessions, self.own_acts)
        self.proofs = StepUpAuth(parts, self.sessions, self.entrance, self.own_acts, self.pages)

    async def viewer(self, request: Request) -> Viewer:
        """The signed-in person, as the guard let in. Raises: SignInNeeded."""
        viewer: Viewer | None = getattr(request.state, "viewer", None)
        return await self.sessions.viewer(request) if viewer is None else viewer

    async def show(
        self, request: Request, viewer: Viewer, *, page: str, here: str, values: Values, region: str = "", status: int = 200
    ) -> Response:
        """A page in its frame; `region` names the template that htmx asks for again, empty when nothing updates itself.

        `here` is the part of the navigation that is marked; `status` is 422 for a form that comes back with its problems.
        """
        if region and asked_by_htmx(request):
            return self.pages.fragment(request, self.pages.region(region, {**values, "viewer": viewer}))
        frame = await self.frame(request, viewer, here=here)
        if region:
            response = self.pages.answer(request, page=page, region=region, values={**frame, **values})
        else:
            response = self.pages.page(page, {**frame, **values}, status=status)
        self.sessions.forget_notice(request, response)
        return response

    async def frame(self, request: Request, viewer: Viewer, *, here: str) -> Values:
        """What the layout needs around every page."""
        return {
            "viewer": viewer,
            "here": here,
            "notice": self.sessions.notice(request, viewer),
            "rail": await self.rail(viewer, here),
            "address": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        }

    async def rail(self, viewer: Viewer, here: str) -> Markup:
        """The navigation with its count, and the state of the installation."""
        values = {
            "here": here,
            "counts": await self.counts(viewer),
            "checks": await self.parts.readiness(),
            "has_audit": viewer.access.owns_any,
            "has_mailbox": self.parts.mailbox_path is not None and viewer.access.is_administrator,
        }
        return self.pages.region("_rail.html", values)

    async def counts(self, viewer: Viewer, *, project_id: str | None = None) -> Values:
        """How much waits and is open; where counting takes too long no figure is shown, and the page is."""
        try:
            return await self.operations.incidents.counts(project_id, viewer.access.projects, asked_by=viewer.user_id)
        except (Unavailable, RateLimited):
            return dict.fromkeys(("waiting", "open", "repairing", "repaired_this_week"))

    async def act(self, viewer: Viewer, action: Awaitable[object], *, said: str, back: str) -> Response:
        """Does the action and goes back; a refusal is told there instead of `said`."""
        try:
            await action
        except Refusal as refusal:
            return self.sessions.redirect(back, viewer=viewer, notice=Notice("bad", told(refusal)))
        return self.sessions.redirect(back, viewer=viewer, notice=Notice("good", said))


def told(refusal: Refusal) -> str:
    """A refusal in one line: what its fields say, when it has any."""
    return "; ".join(error.message for error in refusal.errors) or refusal.detail


def console_route(console: Console, needs: Mapping[tuple[str, str], Needs]) -> type[APIRoute]:
    """Routes of the console, by (method, path): what is raised becomes a page, never the API's problem document."""

    class ConsoleRoute(APIRoute):
        def get_route_handler(self) -> RouteHandler:
            handler = super().get_route_handler()
            (needed,) = {needs[method, self.path] for method in self.methods or ()}

            async def guarded(request: Request) -> Response:
                try:
                    await console.guard.admit(request, needed)
                    return await console.proofs.ask(request, self.path) or await handler(request)
                except SignInNeeded:
                    return _to_sign_in(request)
                except FormRejected as rejected:
                    return _problem(console, 403, "The form was not accepted", rejected.__doc__ or "")
                except TooManyLoginAttempts as tries:
                    return _too_many(console, tries.wait_seconds)
                except Forbidden as refusal:
                    return _problem(console, 403, "Not allowed", refusal.detail)
                except NotFound as refusal:
                    return _problem(console, 404, "Not found", refusal.detail)
                except TooSlow as refusal:
                    return _problem(console, 503, "That took too long", refusal.detail)
                except RateLimited as refusal:
                    return _problem(console, 429, "Too much at once", refusal.detail)
                except Unavailable:
                    return _problem(console, 503, "The store does not answer", "Nothing can be shown or changed right now.")
                except Refusal as refusal:
                    return _problem(console, 400, "That did not work", refusal.detail)

            return guarded

    return ConsoleRoute


def _to_sign_in(request: Request) -> Response:
    if asked_by_htmx(request):
        return Response(status_code=401, headers={**HEADERS, "HX-Redirect": "/login"})
    return Response(status_code=303, headers={**HEADERS, "Location": "/login"})


def _too_many(console: Console, wait_seconds: int) -> Response:
    when = f"{wait_seconds} seconds" if wait_seconds < 90 else f"{-(-wait_seconds // 60)} minutes"
    detail = f"To keep guessing slow, the next try is possible in {when}. What you just sent was not looked at."
    response = _problem(console, 429, "Too many tries", detail)
    response.headers["Retry-After"] = str(wait_seconds)
    return response


def _problem(console: Console, status: int, title: str, detail: str) -> Response:
    return console.pages.page("problem.html", {"title": title, "detail": detail}, status=status)
