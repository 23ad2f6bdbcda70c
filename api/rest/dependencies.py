"""What REST routes are given: the operations, the caller once the gate let it in, and the body, strictly read.

FastAPI never reads a body here: its own reader takes repeated names and echoes what was sent. What is shared by all requests
hangs on the application as one `Shared`, so that routes, and the document made from them, need nothing to exist.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends
from starlette.requests import Request

from api.auth.api_keys import Authenticator
from api.http.request_body import read_body, read_object
from api.http.request_headers import check_content_type, read_headers
from domain.projects import AuthenticatedKey, Scope
from operations.incidents import Operations
from operations.validation import Json


@dataclass(frozen=True, slots=True)
class Shared:
    """What `create_app` hangs on the application for the routes."""

    operations: Operations
    gate: Authenticator


def _shared(request: Request) -> Shared:
    shared: Shared = request.app.state.shared
    return shared


def _operations(request: Request) -> Operations:
    return _shared(request).operations


def _caller_with(scope: Scope) -> Callable[[Request], Awaitable[AuthenticatedKey]]:
    async def admit(request: Request) -> AuthenticatedKey:
        return await _shared(request).gate.admit(read_headers(request.scope["headers"]), scope)

    return admit


TheOperations = Annotated[Operations, Depends(_operations)]
Reader = Annotated[AuthenticatedKey, Depends(_caller_with(Scope.READ))]
Operator = Annotated[AuthenticatedKey, Depends(_caller_with(Scope.OPERATE))]
Admin = Annotated[AuthenticatedKey, Depends(_caller_with(Scope.ADMIN))]


async def json_body(request: Request) -> Json:
    """The JSON object that the request carries.

    Raises: UnsupportedMediaType, PayloadTooLarge, ValidationFailed, TooManyFields.
    """
    headers = read_headers(request.scope["headers"])
    check_content_type(headers.get(b"content-type"), headers.get(b"content-encoding"))
    return read_object(await read_body(headers, request.receive))
