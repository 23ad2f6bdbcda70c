"""Answers refusals and framework errors: a page for a browser, a problem document for a program.

`api.middleware` answers bugs in the same way, and errors that are raised before any route. Routes
of the console answer their own errors (`api.console.error_pages`).
"""

from collections.abc import Sequence

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute

from api.http.metrics import OTHER, Counts
from api.http.problems import Header, Problems, RenderFramedPage, headers_of, status_of
from api.http.request_headers import accepts_page, error_media_type
from domain.errors import Code, NotFound, Refusal, ValidationFailed
from operations.validation import field_error


def add_problem_handlers(
    app: FastAPI,
    problems: Problems,
    counts: Counts,
    *,
    routes: Sequence[BaseRoute],
    page: RenderFramedPage,
) -> None:
    """Answer the errors of all routes outside the console, and of addresses without a route."""

    async def problem(request: Request, refusal: Refusal) -> Response:
        body = problems.body_of(refusal, request_id=request.state.request_id)
        return await respond(request, refusal.code, body, headers_of(refusal))

    async def respond(request: Request, code: Code, body: bytes, headers: list[Header]) -> Response:
        counts.refused.labels(OTHER, code.value).inc()
        given = request.headers.get("accept")
        accept = None if given is None else given.encode("latin-1")
        if accepts_page(request.url.path, accept):
            response = await page(request, code, request.state.request_id)
        else:
            response = Response(body, status_code=status_of(code))
            response.raw_headers.append((b"content-type", error_media_type(accept)))
        response.raw_headers.extend(headers)
        return response

    @app.exception_handler(Refusal)
    async def refused(request: Request, refusal: Refusal) -> Response:
        return await problem(request, refusal)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        # The first path step is "query" or "path".
        errors = tuple(field_error(one, skip=1) for one in error.errors())
        return await problem(request, ValidationFailed(errors=errors))

    @app.exception_handler(HTTPException)
    async def framework(request: Request, error: HTTPException) -> Response:
        if error.status_code != 405:
            return await problem(request, NotFound("This URL path does not exist. See /docs."))
        code, request_id = Code.METHOD_NOT_ALLOWED, request.state.request_id
        detail = "This path does not support the method. Use one in the Allow header."
        body = problems.body(code, request_id=request_id, detail=detail)
        allow = (b"allow", _methods_at(routes, request).encode())
        return await respond(request, code, body, [allow])


def _methods_at(routes: Sequence[BaseRoute], request: Request) -> str:
    """The methods of all routes with this path; the framework has only those of the first one."""
    path = request.url.path
    matching = (
        route for route in routes if isinstance(route, APIRoute) and route.path_regex.match(path)
    )
    methods = {method for route in matching for method in route.methods or ()}
    # `api.middleware` answers HEAD like GET.
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))
