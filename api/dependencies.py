"""What REST routes are given: the caller, once the gate let it in, and the body, read as strictly as the front door reads.

FastAPI never reads a body here: its own reader has no cap, takes repeated names, and echoes what was sent.
"""

from collections.abc import Awaitable, Callable

from starlette.requests import Request

from api.auth import Gate
from api.bodies import Json, read_body, read_object
from api.headers import check_content_type, read_headers
from domain.projects import AuthenticatedKey, Scope


def caller_with(gate: Gate, scope: Scope) -> Callable[[Request], Awaitable[AuthenticatedKey]]:
    """A dependency that lets a key with this scope in."""

    async def admit(request: Request) -> AuthenticatedKey:
        return await gate.admit(read_headers(request.scope["headers"]), scope)

    return admit


async def json_body(request: Request) -> Json:
    """The JSON object that the request carries.

    Raises: UnsupportedMediaType, PayloadTooLarge, ValidationFailed, TooManyFields.
    """
    headers = read_headers(request.scope["headers"])
    check_content_type(headers.get(b"content-type"), headers.get(b"content-encoding"))
    return read_object(await read_body(headers, request.receive))
