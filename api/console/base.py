"""What all pages share: the frame of a page, the viewer, the result of an action, and error pages.

An action (a POST) calls one function of `Operations`, as REST does. It answers with a redirect and
a notice. `Guard` has checked access before.
"""

from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import asdict
from typing import Any

from fastapi.routing import APIRoute
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import Response

from api.console.access import AccessLevel, Guard
from api.console.composition import ConsoleDependencies
from api.console.sign_in.cookies import Notice
from api.console.sign_in.flow import SignInFlow
from api.console.sign_in.login_attempts import TooManyLoginAttempts
from api.console.sign_in.self_service_audit import SelfServiceAudit
from api.console.sign_in.sessions import FormRejected, Sessions, SignInNeeded, Viewer
from api.console.sign_in.step_up import StepUpAuth
from api.console.ui.rendering import HEADERS, Pages, Values, is_htmx_request
from domain.errors import Forbidden, NotFound, RateLimited, Refusal, TooSlow, Unavailable
from operations.people.composition import People

FORM_REJECTED = (
    "It expired or came from another site, and nothing was changed. Reload the page and repeat."
)
DATABASE_DOWN = "Makegood cannot show or change anything right now. Try again in a moment."

# The handler of a page or form. Path parameters follow the request.
Handler = Callable[..., Awaitable[Response]]
# The type that FastAPI declares for a route's handler.
RouteHandler = Callable[[Request], Coroutine[Any, Any, Response]]


class Console:
    """The dependencies, templates, cookies and sign-in of the console.

    All pages share one instance.
    """

    def __init__(self, parts: ConsoleDependencies) -> None:
        self.parts = parts
        self.operations = parts.operations
        self.people = People.build(parts.database, parts.sealer)
        self.pages = Pages(parts.now)
        self.sessions = Sessions(parts)
        self.self_service_audit = SelfServiceAudit(parts)
        self.guard = Guard(parts.database, self.sessions, public_url=parts.public_url)
        self.sign_in_flow = SignInFlow(parts, self.sessions, self.self_service_audit)
        self.step_up = StepUpAuth(
            parts, self.sessions, self.sign_in_flow, self.self_service_audit, self.pages
        )

    async def viewer(self, request: Request) -> Viewer:
        """The signed-in person, as `Guard` has found them. Raises: SignInNeeded."""
        viewer: Viewer | None = getattr(request.state, "viewer", None)
        return await self.sessions.viewer(request) if viewer is None else viewer

    async def render_page(
        self,
        request: Request,
        viewer: Viewer,
        *,
        page: str,
        section: str,
        values: Values,
        region: str = "",
        status: int = 200,
    ) -> Response:
        """Render a page in its frame.

        `section` is the marked entry of the navigation. `region` is the template that htmx polls,
        empty if the page does not update itself. `status` is 422 for a form that is shown again
        with its errors.
        """
        if region and is_htmx_request(request):
            return self.pages.fragment(
                request, self.pages.region(region, {**values, "viewer": viewer})
            )
        frame = await self.frame(request, viewer, section=section)
        if region:
            response = self.pages.page_or_region(
                request, page=page, region=region, values={**frame, **values}
            )
        else:
            response = self.pages.page(page, {**frame, **values}, status=status)
        self.sessions.clear_notice(request, response)
        return response

    async def frame(self, request: Request, viewer: Viewer, *, section: str) -> Values:
        """The values of the layout around every page."""
        return {
            "viewer": viewer,
            "section": section,
            "notice": self.sessions.notice(request, viewer),
            "rail": await self.rail(viewer, section),
            "address": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
        }

    async def rail(self, viewer: Viewer, section: str) -> Markup:
        """The navigation with its counts, and the health of the installation."""
        values = {
            "section": section,
            "counts": await self.counts(viewer),
            "checks": await self.parts.readiness(),
            "has_audit": viewer.access.owns_any,
            "has_mailbox": self.parts.mailbox_path is not None and viewer.access.is_administrator,
        }
        return self.pages.region("_rail.html", values)

    async def counts(self, viewer: Viewer, *, project_id: str | None = None) -> Values:
        """Counts of receipts and incidents.

        All are None if counting takes too long: the page is shown without them.
        """
        try:
            counted = await self.operations.incidents.counts(
                project_id, viewer.access.projects, asked_by=viewer.user_id
            )
            return asdict(counted)
        except (Unavailable, RateLimited):
            return dict.fromkeys(("waiting", "open", "repairing", "repaired_this_week"))

    async def perform(
        self, viewer: Viewer, action: Awaitable[object], *, success: str, back: str
    ) -> Response:
        """Run the action. Redirect to `back` with the notice `success` or the error message."""
        try:
            await action
        except Refusal as refusal:
            return self.sessions.redirect(
                back, viewer=viewer, notice=Notice("bad", error_message(refusal))
            )
        return self.sessions.redirect(back, viewer=viewer, notice=Notice("good", success))


def error_message(refusal: Refusal) -> str:
    """A refusal in one line: the messages of its fields, or its detail."""
    return "; ".join(error.message for error in refusal.errors) or refusal.detail


def console_route(
    console: Console, levels: Mapping[tuple[str, str], AccessLevel]
) -> type[APIRoute]:
    """The route class of the console. `levels` is keyed by (method, path).

    Errors become HTML pages, never the problem documents of the API.
    """

    class ConsoleRoute(APIRoute):
        def get_route_handler(self) -> RouteHandler:
            handler = super().get_route_handler()
            (level,) = {levels[method, self.path] for method in self.methods or ()}

            async def guarded(request: Request) -> Response:
                try:
                    await console.guard.admit(request, level)
                    return await console.step_up.require_proof(request, self.path) or await handler(
                        request
                    )
                except SignInNeeded:
                    return _to_sign_in(request)
                except FormRejected:
                    return _problem(console, 403, "This form was not accepted", FORM_REJECTED)
                except TooManyLoginAttempts as error:
                    return _too_many(console, error.wait_seconds)
                except Forbidden as refusal:
                    return _problem(console, 403, "Not allowed", refusal.detail)
                except NotFound as refusal:
                    return _problem(console, 404, "Not found", refusal.detail)
                except TooSlow as refusal:
                    return _problem(console, 503, "This took too long", refusal.detail)
                except RateLimited as refusal:
                    return _problem(console, 429, "Too many requests", refusal.detail)
                except Unavailable:
                    return _problem(console, 503, "The database is not responding", DATABASE_DOWN)
                except Refusal as refusal:
                    return _problem(console, 400, "The request failed", refusal.detail)

            return guarded

    return ConsoleRoute


def _to_sign_in(request: Request) -> Response:
    if is_htmx_request(request):
        return Response(status_code=401, headers={**HEADERS, "HX-Redirect": "/login"})
    return Response(status_code=303, headers={**HEADERS, "Location": "/login"})


def _too_many(console: Console, wait_seconds: int) -> Response:
    when = f"{wait_seconds} seconds" if wait_seconds < 90 else f"{-(-wait_seconds // 60)} minutes"
    detail = f"Try again in {when}. The attempt that you just made was not checked."
    response = _problem(console, 429, "Too many attempts", detail)
    response.headers["Retry-After"] = str(wait_seconds)
    return response


def _problem(console: Console, status: int, title: str, detail: str) -> Response:
    return console.pages.page("problem.html", {"title": title, "detail": detail}, status=status)
