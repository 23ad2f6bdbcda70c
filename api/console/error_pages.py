"""Turns errors into pages, never into the problem documents of the API.

FastAPI has exception handlers for a whole application only. `ConsoleRoute` is its documented way to
handle the errors of one router.
"""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import urlencode

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from api.console.access import AccessRule
from api.console.base import Console
from api.console.dependencies import SAFE_METHODS, console_of
from api.console.sign_in.forms import FormRejected
from api.console.sign_in.login_attempts import TooManyLoginAttempts
from api.console.sign_in.return_path import sign_in_path
from api.console.sign_in.sessions import SignInNeeded, Viewer
from api.console.sign_in.step_up import ProofNeeded
from api.console.ui.rendering import Pages, Values, is_htmx_request
from api.http.problems import status_of
from domain.errors import (
    Code,
    Forbidden,
    IncidentAlreadyResolved,
    NotFound,
    NotWaiting,
    RateLimited,
    Refusal,
    RepairUrlMissing,
    TooSlow,
    Unavailable,
    ValidationFailed,
)

FORM_REJECTED = (
    "It expired or came from another site, and nothing was changed. Reload the page and repeat."
)
DATABASE_DOWN = "Makegood cannot show or change anything right now. Try again in a moment."
NO_SUCH_PART = (
    "The address of this page is incomplete, or belongs to another list. "
    "Begin again with the newest entries."
)
TOO_MANY = "Several lists and searches of yours are running. Try again in a moment."
NOT_ACCEPTED = "A part of the address or of the form is not valid. Go back and repeat."
# The parameters that name a part of a list or of a timeline.
PART_NAMES = ("cursor", "older")

TITLES = {
    Code.NOT_FOUND: "Not found",
    Code.METHOD_NOT_ALLOWED: "This address has no page",
    Code.INTERNAL_ERROR: "Something went wrong",
}
# Problem documents advise programs. People need another advice.
BROWSER_DETAILS = {
    Code.NOT_FOUND: "There is no page at this address. Check the link for missing characters.",
    Code.METHOD_NOT_ALLOWED: "It accepts forms only. Nothing was changed.",
    Code.INTERNAL_ERROR: "Report the request id if the error persists: {request_id}",
    Code.PAYLOAD_TOO_LARGE: "The form is too large. Shorten its texts and send it again.",
    Code.UNAVAILABLE: DATABASE_DOWN,
}

ConsoleError = SignInNeeded | FormRejected | ProofNeeded | TooManyLoginAttempts | Refusal
CONSOLE_ERRORS = (SignInNeeded, FormRejected, ProofNeeded, TooManyLoginAttempts, Refusal)
# The type that FastAPI declares for a route's handler.
RouteHandler = Callable[[Request], Coroutine[Any, Any, Response]]


class ConsoleRoute(APIRoute):
    """A route with an access rule, whose errors are answered with pages."""

    # The options are those of FastAPI.
    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        """Raises: LookupError: the route has no access rule."""
        super().__init__(path, endpoint, **options)
        if not any(isinstance(dependency, AccessRule) for dependency in self.dependencies):
            raise LookupError(f"{path} has no access rule: see api.console.access")

    def get_route_handler(self) -> RouteHandler:
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            try:
                return await handler(request)
            except CONSOLE_ERRORS as error:
                return await error_page(request, error)

        return handle


async def error_page(request: Request, error: ConsoleError) -> Response:
    """The response to an error of a dependency or a handler. A signed-in user keeps the frame,
    except after a form that was not accepted.
    """
    match error:
        case SignInNeeded():
            return _to_sign_in(request)
        case ProofNeeded():
            return error.page
        case TooManyLoginAttempts():
            return _too_many(console_of(request).pages, error.wait_seconds)
        case ValidationFailed() if any(name in request.query_params for name in PART_NAMES):
            return await _framed(console_of(request), request, _no_such_part(request), status=400)
    status, title, detail = _problem_of(error)
    if isinstance(error, FormRejected):
        # Another site may have sent it: the page has nothing of the session, such as its token.
        return _problem(console_of(request).pages, status, title, detail)
    values = {"title": title, "detail": detail}
    return await _framed(console_of(request), request, values, status=status)


def _problem_of(error: FormRejected | Refusal) -> tuple[int, str, str]:
    """Status, title and text of the page."""
    match error:
        case FormRejected():
            return 403, "This form was not accepted", FORM_REJECTED
        case Forbidden():
            return 403, "Not allowed", error.detail
        case NotFound():
            return 404, "Not found", error.detail
        case TooSlow():
            return 503, "This took too long", error.detail
        case RateLimited():
            return 429, "Too many requests", TOO_MANY
        case Unavailable():
            return 503, "The database is not responding", DATABASE_DOWN
        case IncidentAlreadyResolved() | NotWaiting() | RepairUrlMissing():
            return 400, "The request failed", error.detail
        case Refusal():
            return 400, "The request failed", NOT_ACCEPTED


def problem_page(pages: Pages, code: Code, request_id: str) -> Response:
    """The page of an error before any route."""
    return pages.page("problem.html", _browser_values(code, request_id), status=status_of(code))


async def framed_problem_page(
    console: Console, request: Request, code: Code, request_id: str
) -> Response:
    """The page of an error outside the console's routes, such as an unknown address.

    A signed-in user keeps the navigation.
    """
    values = _browser_values(code, request_id)
    return await _framed(console, request, values, status=status_of(code))


def _browser_values(code: Code, request_id: str) -> Values:
    detail = BROWSER_DETAILS.get(code, NOT_ACCEPTED).replace("{request_id}", request_id)
    return {"title": TITLES.get(code, "The request failed"), "detail": detail}


async def _framed(console: Console, request: Request, values: Values, *, status: int) -> Response:
    """The page in the frame of the signed-in user; without a frame if nobody is signed in. While
    the database does not respond, the frame has no names and counts, and the page tries again.
    """
    if not is_htmx_request(request):
        try:
            read: Viewer | None = getattr(request.state, "viewer", None)
            viewer = read or await console.sessions.viewer(request)
            values = {**await console.frame(request, viewer, section=""), **values}
        except SignInNeeded:
            pass
        except Refusal:
            # There is a session, and the store cannot say whose. Only a page tries again by itself.
            values = {**values, "is_away": True, "is_repeated": request.method in SAFE_METHODS}
    return console.pages.page("problem.html", values, status=status)


def _to_sign_in(request: Request) -> Response:
    console = console_of(request)
    path = sign_in_path(request, public_url=console.parts.public_url)
    response = console.sessions.redirect(path)
    if is_htmx_request(request):
        response.headers["HX-Redirect"] = response.headers["Location"]
        del response.headers["Location"]
        response.status_code = 401
    return response


def _no_such_part(request: Request) -> Values:
    """A cursor is not valid. Links to the newest part of the same list or timeline."""
    given = request.query_params.multi_items()
    query = urlencode([(name, value) for name, value in given if name not in PART_NAMES])
    return {
        "title": "There is no such part of this list",
        "detail": NO_SUCH_PART,
        "back": f"{request.url.path}?{query}" if query else request.url.path,
        "link_text": "Show the newest entries",
    }


def _too_many(pages: Pages, wait_seconds: int) -> Response:
    when = f"{wait_seconds} seconds" if wait_seconds < 90 else f"{-(-wait_seconds // 60)} minutes"
    detail = f"Try again in {when}. The attempt that you just made was not checked."
    response = _problem(pages, 429, "Too many attempts", detail)
    response.headers["Retry-After"] = str(wait_seconds)
    return response


def _problem(pages: Pages, status: int, title: str, detail: str) -> Response:
    return pages.page("problem.html", {"title": title, "detail": detail}, status=status)
