"""One operation of the REST API, declared by a decorator on its handler.

The files of `api.rest.endpoints` declare the routes. `api.rest.routes` gives them to FastAPI, and
`api.rest.openapi` describes their bodies.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from fastapi.datastructures import Default
from pydantic import BaseModel
from starlette.responses import JSONResponse, StreamingResponse

from api.rest.response_models import problem_responses
from domain.errors import Code

EVERY_CALL = (
    Code.UNAUTHORIZED,
    Code.SUBSCRIPTION_REQUIRED,
    Code.FORBIDDEN,
    Code.RATE_LIMITED,
    Code.VALIDATION_ERROR,
    Code.METHOD_NOT_ALLOWED,
    Code.INTERNAL_ERROR,
    Code.UNAVAILABLE,
)
WITH_BODY = (
    Code.UNSUPPORTED_MEDIA_TYPE,
    Code.PAYLOAD_TOO_LARGE,
    Code.TOO_MANY_FIELDS,
)
# Any: each handler has the parameters that its route needs. Its return type is the response model.
Handler = Callable[..., Any]


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API.

    `refusals` are those in addition to `EVERY_CALL` and, with a `body`, to `WITH_BODY`. `answer` is
    the model of a response that the handler writes itself. None: it returns the model. A request
    may omit the body if not `needs_body`. A response that is no JSON has one of the `media_types`.
    `dry_answer` is the model of the 200 to a dry run.
    """

    method: str
    path: str
    summary: str
    handler: Handler
    refusals: tuple[Code, ...]
    status: int
    body: type[BaseModel] | None
    answer: type[BaseModel] | None
    needs_body: bool = True
    media_types: tuple[str, ...] = ()
    dry_answer: type[BaseModel] | None = None


def route(
    method: str,
    path: str,
    summary: str,
    *refusals: Code,
    status: int = 200,
    body: type[BaseModel] | None = None,
    answer: type[BaseModel] | None = None,
    needs_body: bool = True,
    media_types: tuple[str, ...] = (),
    dry_answer: type[BaseModel] | None = None,
) -> Callable[[Handler], Route]:
    """Declare the decorated handler as the route of this method and path."""

    def declare(handler: Handler) -> Route:
        return Route(
            *(method, path, summary, handler, refusals, status, body, answer),
            needs_body=needs_body,
            media_types=media_types,
            dry_answer=dry_answer,
        )

    return declare


def add_route(router: APIRouter, added: Route) -> None:
    """Give the route to FastAPI. Its handler's docstring is the text of the API reference."""
    body_refusals = () if added.body is None else WITH_BODY
    responses = problem_responses(*EVERY_CALL, *added.refusals, *body_refusals)
    if added.media_types:
        content = {name: {"schema": {"type": "string"}} for name in added.media_types}
        responses[added.status] = {"description": "The file.", "content": content}
    if added.dry_answer is not None:
        responses[200] = {"model": added.dry_answer, "description": "The answer to a dry run."}
    router.add_api_route(
        added.path,
        added.handler,
        methods=[added.method],
        summary=added.summary,
        tags=[added.path.split("/")[1]],
        operation_id=added.handler.__name__,
        response_model=_model_of(added),
        status_code=added.status,
        responses=responses,
        response_class=StreamingResponse if added.media_types else Default(JSONResponse),
        openapi_extra=None if added.body is None else _request_body(added.body, added.needs_body),
    )


def _model_of(added: Route) -> Any:
    """The model of the response; FastAPI reads it from the handler without `answer`."""
    if added.media_types:
        return None
    return Default(None) if added.answer is None else added.answer


def _request_body(model: type[BaseModel], is_required: bool) -> dict[str, Any]:
    """The OpenAPI entry of a body, which FastAPI does not parse and so does not describe."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": is_required, "content": content}}
