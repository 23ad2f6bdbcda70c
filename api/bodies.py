"""Reads a request's body: whole, once, at most 64 KiB; and its JSON, strictly. Knows no fields.

What JSON leaves open is refused here, so that nothing behind can stumble over it: a name given twice, half a surrogate pair,
numbers without end, NaN, nesting deeper than 200.
"""

import json
import re
from collections.abc import Sequence
from math import isinf
from typing import Any

from pydantic_core import from_json
from starlette.types import Receive

from api.headers import MAXIMUM_BODY_BYTES, Headers, check_content_length
from domain.errors import FieldError, PayloadTooLarge, TooManyFields, ValidationFailed

MAXIMUM_FIELDS = 50

# JSON of any shape: what it is, the models say.
Json = dict[str, Any]

_NAME_END = re.compile(rb'"[ \t\r\n]*:')


class ClientGone(Exception):
    """The client closed the connection before its body was there: nobody waits for an answer."""


async def read_body(headers: Headers, receive: Receive) -> bytes:
    """The raw body.

    Raises: PayloadTooLarge, ClientGone.
    """
    check_content_length(headers.get(b"content-length"))
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body"):
        return _capped(body)
    chunks = [body]
    received_bytes = len(body)
    while message.get("more_body"):
        message = await receive()
        chunk: bytes = message.get("body", b"")
        received_bytes += len(chunk)
        if received_bytes > MAXIMUM_BODY_BYTES:
            raise PayloadTooLarge
        chunks.append(chunk)
    if message["type"] != "http.request":
        raise ClientGone
    return _capped(b"".join(chunks))


def read_object(body: bytes) -> Json:
    """The JSON object that the body is.

    Raises: ValidationFailed when it is malformed or no object; TooManyFields.
    """
    try:
        content = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise _malformed("invalid_json", "The body must be one well-formed JSON object in UTF-8.") from None
    if not isinstance(content, dict):
        raise _malformed("wrong_type", "The body must be a JSON object.")
    if _holds_infinity(content):
        raise _malformed("out_of_range", "A number is too large to be read.")
    # A name ends in a quote and a colon. Text inside values can only add to their number, so equal numbers prove that no
    # name was given twice; otherwise the slow decoder tells.
    if len(_NAME_END.findall(body)) != _count_names(content):
        _refuse_repeated_names(body)
    if len(content) > MAXIMUM_FIELDS:
        raise TooManyFields
    return content


def _capped(body: bytes) -> bytes:
    if len(body) > MAXIMUM_BODY_BYTES:
        raise PayloadTooLarge
    return body


def _malformed(code: str, message: str) -> ValidationFailed:
    return ValidationFailed(errors=(FieldError("", code, message),))


def _holds_infinity(value: object) -> bool:
    """Whether a number is too large for a float, such as 1e400: the reader makes infinity of it."""
    if isinstance(value, float):
        return isinf(value)
    if isinstance(value, dict | list):
        return any(_holds_infinity(inner) for inner in (value.values() if isinstance(value, dict) else value))
    return False


def _count_names(value: object) -> int:
    if not isinstance(value, dict | list):
        return 0
    count = len(value) if isinstance(value, dict) else 0
    for inner in value.values() if isinstance(value, dict) else value:
        if isinstance(inner, dict | list):
            count += _count_names(inner)
    return count


def _refuse_repeated_names(body: bytes) -> None:
    json.loads(body, object_pairs_hook=_without_repeats)


def _without_repeats(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    names = dict(pairs)
    if len(names) != len(pairs):
        raise _malformed("duplicate_name", "A name is given twice in one object.")
    return names
