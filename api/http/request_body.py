"""Reads a request's body once, up to a limit, and parses it strictly as one JSON object.

Refused are inputs that JSON allows or leaves undefined, and that later code cannot process:

1. a name that appears twice in one object,
2. a lone surrogate,
3. NaN, infinity, and numbers that overflow a float,
4. nesting deeper than 200.

Members that the caller names as tolerated may be ill-formed. They are returned as they were sent
(`RawMember`), and the rest of the object is parsed strictly. The module knows no fields.
"""

import codecs
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isinf

from pydantic_core import from_json
from starlette.types import Receive

from api.http.request_headers import MAXIMUM_BODY_BYTES, RequestHead, check_content_length
from domain.errors import FieldError, PayloadTooLarge, TooManyFields, ValidationFailed
from operations.validation import Json

MAXIMUM_FIELDS = 50


_NAME_END = re.compile(rb'"[ \t\r\n]*:')
_SPACE = b" \t\r\n"
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_OBJECT = re.compile(rb"[ \t\r\n]*+\{(.*)\}[ \t\r\n]*+", re.DOTALL)
_NAME = re.compile(rb"[ \t\r\n]*+(" + _STRING + rb")[ \t\r\n]*+:", re.DOTALL)
# Strings, and everything without structure: numbers, literals or invalid text. No backtracking.
_PLAIN = rb'[^][{}"]*+(?:' + _STRING + rb'[^][{}"]*+)*+'
_LEAF = rb"\[" + _PLAIN + rb"\]|\{" + _PLAIN + rb"\}"  # a pair of brackets without brackets inside
_TO_BRACKET = re.compile(_PLAIN + rb"(?:(?:" + _LEAF + rb")" + _PLAIN + rb")*+", re.DOTALL)
_UNTIL_COMMA = _PLAIN.replace(rb"{}", rb"{},")
_TO_BRACKET_OR_COMMA = re.compile(
    _UNTIL_COMMA + rb"(?:(?:" + _LEAF + rb")" + _UNTIL_COMMA + rb")*+", re.DOTALL
)
# Bounds the work on any body. Innermost pairs do not count, so only thousands of nested levels in
# 64 KiB exceed it.
_MAXIMUM_BRACKETS = MAXIMUM_BODY_BYTES // 2


class ClientGone(Exception):
    """The client closed the connection before it sent the whole body. No response is sent."""


@dataclass(frozen=True, slots=True)
class RawMember:
    """The value of a tolerated member, as it was sent. It may be neither JSON nor UTF-8."""

    raw: bytes

    def text(self) -> str:
        """A string's content, or any other value as it is spelled. It may have lone surrogates."""
        source = self.raw.decode("utf-8", "replace")
        if not source.startswith('"'):
            return source
        try:
            content = json.loads(source, strict=False)
        except ValueError:  # an invalid escape sequence
            return source.strip('"')
        return str(content)


async def read_body(
    head: RequestHead, receive: Receive, *, most: int = MAXIMUM_BODY_BYTES
) -> bytes:
    """The raw body, of at most `most` bytes.

    Raises: PayloadTooLarge, ClientGone.
    """
    check_content_length(head.content_length, most=most)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message["type"] == "http.request" and not message.get("more_body"):
        return _capped(body, most)
    chunks = [body]
    received_bytes = len(body)
    while message.get("more_body"):
        message = await receive()
        chunk: bytes = message.get("body", b"")
        received_bytes += len(chunk)
        if received_bytes > most:
            raise PayloadTooLarge
        chunks.append(chunk)
    if message["type"] != "http.request":
        raise ClientGone
    return _capped(b"".join(chunks), most)


def read_object(body: bytes, *, tolerated: frozenset[str] = frozenset()) -> Json:
    """Parse the body as a JSON object. If that fails, `tolerated` members are `RawMember`s.

    Raises: ValidationFailed for malformed JSON or another type than an object; TooManyFields;
        PayloadTooLarge for more than 64 KiB without the tolerated members.
    """
    if len(body) <= MAXIMUM_BODY_BYTES:
        try:
            return _read_strictly(body)
        except ValidationFailed as refusal:
            if (content := _read_tolerantly(body, tolerated)) is None:
                raise refusal from None
            return content
    if (content := _read_tolerantly(body, tolerated)) is None:
        raise PayloadTooLarge
    return content


def _read_tolerantly(body: bytes, tolerated: frozenset[str]) -> Json | None:
    """Parse the object with its tolerated members raw; None when it has none or is no object.

    A tolerated name that appears twice is refused, like every other name, because it is ambiguous.
    """
    members = _split_members(body) if tolerated else None
    if members is None:
        return None
    names = [_decode_name(source) for source, _ in members]
    named = list(zip(names, members, strict=True))
    raw = [(name, RawMember(value)) for name, (_, value) in named if name in tolerated]
    if not raw:
        return None
    others = [member for name, member in named if name not in tolerated]
    rest = b"{" + b",".join(b"%s:%s" % member for member in others) + b"}"
    if len(rest) > MAXIMUM_BODY_BYTES:
        return None
    if len({name for name, _ in raw}) != len(raw):
        raise _malformed("duplicate_name", "Each name must appear only once in an object.")
    content = _read_strictly(rest) | dict(raw)
    if len(content) > MAXIMUM_FIELDS:
        raise TooManyFields
    return content


def _split_members(body: bytes) -> list[tuple[bytes, bytes]] | None:
    """Each member's name, as it is spelled, and raw value; None when the body is no object.

    Raises: TooManyFields, before the rest is read.
    """
    form = _OBJECT.fullmatch(body)
    if form is None:
        return None
    members: list[tuple[bytes, bytes]] = []
    at, end = form.span(1)
    is_last = False
    while not is_last:
        if len(members) == MAXIMUM_FIELDS:
            raise TooManyFields
        name = _NAME.match(body, at, end)
        value_end = None if name is None else _end_of_value(body, name.end(), end)
        if name is None or value_end is None:
            return None
        if not (value := body[name.end() : value_end].strip(_SPACE)):
            return None
        members.append((name[1], value))
        at, is_last = value_end + 1, value_end == end
    return members


def _decode_name(source: bytes) -> str | None:
    """The decoded name; None when it is invalid, which `_read_strictly` refuses."""
    try:
        text = source.decode()
        return str(json.loads(text)) if "\\" in text else text[1:-1]
    except ValueError:
        return None


def _end_of_value(body: bytes, at: int, end: int) -> int | None:
    """The position of the comma after a member's value, or `end`; None for an invalid value.

    Each step moves to the next bracket, so the limit on brackets bounds the work.
    """
    depth = 0
    for _ in range(_MAXIMUM_BRACKETS):
        pattern = _TO_BRACKET if depth else _TO_BRACKET_OR_COMMA
        at = pattern.match(body, at, end).end()  # type: ignore[union-attr]  # matches any text
        if at == end:
            return None if depth else end
        match body[at]:
            case 0x2C:  # a comma
                return at
            case 0x5B | 0x7B:
                depth += 1
            case 0x5D | 0x7D if depth:
                depth -= 1
            case _:  # an unmatched bracket or an unterminated string
                return None
        at += 1
    return None


def _read_strictly(body: bytes) -> Json:
    try:
        content = from_json(body, allow_inf_nan=False)
    except ValueError:
        raise _malformed("invalid_json", _advice_on(body)) from None
    if not isinstance(content, dict):
        raise _malformed("wrong_type", "The body must be a JSON object.")
    if _has_infinity(content):
        raise _malformed("out_of_range", "Numbers must fit into a 64-bit float.")
    # A name ends in a quote and a colon. Text inside values can only increase their number.
    # So equal numbers prove that no name appears twice. Otherwise the slow decoder decides.
    if len(_NAME_END.findall(body)) != _count_names(content):
        _refuse_repeated_names(body)
    if len(content) > MAXIMUM_FIELDS:
        raise TooManyFields
    return content


def _advice_on(body: bytes) -> str:
    """The message on a body that is no JSON.

    A body in Latin-1, or with a byte order mark, is JSON to its sender.
    """
    try:
        body.decode()
    except UnicodeDecodeError as error:
        return f"The body is not UTF-8: the byte at position {error.start} is invalid."
    if body.startswith(codecs.BOM_UTF8):
        return "The body begins with a byte order mark (EF BB BF). Send it without the mark."
    return "The body must be one well-formed JSON object in UTF-8."


def _capped(body: bytes, most: int) -> bytes:
    if len(body) > most:
        raise PayloadTooLarge
    return body


def _malformed(code: str, message: str) -> ValidationFailed:
    return ValidationFailed(errors=(FieldError("", code, message),))


def _has_infinity(value: object) -> bool:
    """Whether a number overflows a float, such as 1e400, which the parser turns into infinity."""
    if isinstance(value, float):
        return isinf(value)
    if isinstance(value, dict | list):
        inner_values = value.values() if isinstance(value, dict) else value
        return any(_has_infinity(inner) for inner in inner_values)
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
        raise _malformed("duplicate_name", "Each name must appear only once in an object.")
    return names
