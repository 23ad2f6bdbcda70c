"""The FastAPI dependencies of the REST routes: the operations, the caller and the parsed body.

FastAPI does not parse bodies here: its parser accepts repeated names and echoes input. `create_app`
stores one `RestContext` on the application. So the routes, and the OpenAPI document generated from
them, exist without opened dependencies.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from pydantic_core import from_json
from starlette.requests import Request

from api.auth.api_keys import Authenticator
from api.http.request_body import RawMember, read_body, read_object
from api.http.request_headers import (
    MAXIMUM_BODY_BYTES,
    MAXIMUM_LIST_BYTES,
    check_content_type,
    read_request_head,
)
from api.rest.query_names import check_query, query_names
from domain.errors import FieldError, ValidationFailed
from domain.projects import AuthenticatedKey, Scope
from operations.composition import Operations
from operations.validation import Json


@dataclass(frozen=True, slots=True)
class RestContext:
    """The objects that all REST requests share."""

    operations: Operations
    authenticator: Authenticator


def _context(request: Request) -> RestContext:
    context: RestContext = request.app.state.shared
    return context


def _operations(request: Request) -> Operations:
    return _context(request).operations


def _caller_with(scope: Scope) -> Callable[[Request], Awaitable[AuthenticatedKey]]:
    async def authorize(request: Request) -> AuthenticatedKey:
        head = read_request_head(request.scope["headers"])
        caller = await _context(request).authenticator.authorize(head.authorization, scope)
        if query := request.scope["query_string"]:
            check_query(query, known=query_names(request.scope["route"]))
        return caller

    return authorize


OperationsParameter = Annotated[Operations, Depends(_operations)]
Reader = Annotated[AuthenticatedKey, Depends(_caller_with(Scope.READ))]
Operator = Annotated[AuthenticatedKey, Depends(_caller_with(Scope.OPERATE))]
Admin = Annotated[AuthenticatedKey, Depends(_caller_with(Scope.ADMIN))]


async def json_body(request: Request) -> Json:
    """The JSON object in the request's body.

    Raises: UnsupportedMediaType, PayloadTooLarge, ValidationFailed, TooManyFields.
    """
    head = read_request_head(request.scope["headers"])
    check_content_type(head.content_type, head.content_encoding)
    return read_object(await read_body(head, request.receive))


async def json_body_or_none(request: Request) -> Json:
    """The JSON object in the request's body, empty without a body.

    Raises: as `json_body`. Without a body, no Content-Type is needed.
    """
    head = read_request_head(request.scope["headers"])
    body = await read_body(head, request.receive)
    if not body.strip():
        return {}
    check_content_type(head.content_type, head.content_encoding)
    return read_object(body)


async def json_body_with_list(request: Request, name: str) -> Json:
    """The JSON object in the body, whose member `name` may be large: at most 512 KiB in all.

    Raises: UnsupportedMediaType, PayloadTooLarge, ValidationFailed, TooManyFields.
    """
    head = read_request_head(request.scope["headers"])
    check_content_type(head.content_type, head.content_encoding)
    body = await read_body(head, request.receive, most=MAXIMUM_LIST_BYTES)
    if len(body) <= MAXIMUM_BODY_BYTES:
        return read_object(body)
    content = read_object(body, tolerated=frozenset({name}))
    if isinstance(member := content.get(name), RawMember):
        try:
            content[name] = from_json(member.raw, allow_inf_nan=False)
        except ValueError:
            error = FieldError(f"/{name}", "invalid_json", "Must be well-formed JSON.")
            raise ValidationFailed(errors=(error,)) from None
    return content
