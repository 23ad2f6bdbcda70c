"""Turns errors into pages, never into the problem documents of the API.

FastAPI has exception handlers for a whole application only. `ConsoleRoute` is its documented way to
handle the errors of one router.
"""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.responses import Response

from api.console.access import AccessRule
from api.console.dependencies import console_of
from api.console.sign_in.login_attempts import TooManyLoginAttempts
from api.console.sign_in.sessions import FormRejected, SignInNeeded
from api.console.sign_in.step_up import ProofNeeded
from api.console.ui.rendering import HEADERS, Pages, is_htmx_request
from domain.errors import Forbidden, NotFound, RateLimited, Refusal, TooSlow, Unavailable

FORM_REJECTED = (
    "It expired or came from another site, and nothing was changed. Reload the page and repeat."
)
DATABASE_DOWN = "Makegood cannot show or change anything right now. Try again in a moment."

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
                return error_page(request, error)

        return handle


def error_page(request: Request, error: ConsoleError) -> Response:
    """The response to an error of a dependency or a handler."""
    match error:
        case SignInNeeded():
            return _to_sign_in(request)
        case ProofNeeded():
            return error.page
        case TooManyLoginAttempts():
            return _too_many(console_of(request).pages, error.wait_seconds)
    status, title, detail = _problem_of(error)
    return _problem(console_of(request).pages, status, title, detail)


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
            return 429, "Too many requests", error.detail
        case Unavailable():
            return 503, "The database is not responding", DATABASE_DOWN
        case Refusal():
            return 400, "The request failed", error.detail


def _to_sign_in(request: Request) -> Response:
    if is_htmx_request(request):
        return Response(status_code=401, headers={**HEADERS, "HX-Redirect": "/login"})
    return Response(status_code=303, headers={**HEADERS, "Location": "/login"})


def _too_many(pages: Pages, wait_seconds: int) -> Response:
    when = f"{wait_seconds} seconds" if wait_seconds < 90 else f"{-(-wait_seconds // 60)} minutes"
    detail = f"Try again in {when}. The attempt that you just made was not checked."
    response = _problem(pages, 429, "Too many attempts", detail)
    response.headers["Retry-After"] = str(wait_seconds)
    return response


def _problem(pages: Pages, status: int, title: str, detail: str) -> Response:
    return pages.page("problem.html", {"title": title, "detail": detail}, status=status)
