"""Reads a request's body: whole, once, bounded; and its JSON, strictly. Knows no fields.

What JSON leaves open is refused here, so that nothing behind can stumble over it: a name given twice, half a surrogate pair,
numbers without end, NaN, nesting deeper than 200. Only members that the caller names as tolerated may be ill-formed: they are
handed over as they were sent (`RawMember`), and the rest of the object is read as strictly as ever.
"""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from math import isinf

from pydantic_core import from_json
from starlette.types import Receive

from api.http.request_headers import MAXIMUM_BODY_BYTES, Headers, check_content_length
from domain.errors import FieldError, PayloadTooLarge, TooManyFields, ValidationFailed
from operations.validation import Json

MAXIMUM_FIELDS = 50


_NAME_END = re.compile(rb'"[ \t\r\n]*:')
_SPACE = b" \t\r\n"
_STRING = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
_OBJECT = re.compile(rb"[ \t\r\n]*+\{(.*)\}[ \t\r\n]*+", re.DOTALL)
_NAME = re.compile(rb"[ \t\r\n]*+(" + _STRING + rb")[ \t\r\n]*+:", re.DOTALL)
# Strings, and whatever else is no mark of JSON's structure: numbers, literals, or rubbish. Nothing is tried twice.
_PLAIN = rb'[^][{}"]*+(?:' + _STRING + rb'[^][{}"]*+)*+'
_LEAF = rb"\[" + _PLAIN + rb"\]|\{" + _PLAIN + rb"\}"  # brackets with none inside
_TO_BRACKET = re.compile(_PLAIN + rb"(?:(?:" + _LEAF + rb")" + _PLAIN + rb")*+", re.DOTALL)
_UNTIL_COMMA = _PLAIN.replace(rb"{}", rb"{},")
_TO_BRACKET_OR_COMMA = re.compile(_UNTIL_COMMA + rb"(?:(?:" + _LEAF + rb")" + _UNTIL_COMMA + rb")*+", re.DOTALL)
# Without the innermost ones, more than any text of 64 KiB has that is not nested thousands deep. It bounds the work on any body.
_MAXIMUM_BRACKETS = MAXIMUM_BODY_BYTES // 2


class ClientGone(Exception):
    """The client closed the connection before its body was there: nobody waits for an answer."""


@dataclass(frozen=True, slots=True)
class RawMember:
    """The value of a tolerated member, as it was sent: perhaps no JSON, perhaps no UTF-8."""

    raw: bytes

    def text(self) -> str:
        """What it says: a string's content, anything else as it is spelled. It may hold halves of surrogate pairs."""
        spelled = self.raw.decode("utf-8", "replace")
        if not spelled.startswith('"'):
            return spelled
        try:
            content = json.loads(spelled, strict=False)
        except ValueError:  # an escape that JSON does not have
            return spelled.strip('"')
        return str(content)


async def read_body(headers: Headers, receive: Receive, *, most: int = MAXIMUM_BODY_BYTES) -> bytes:
    """The raw body, of at most `most` bytes.

    Raises: PayloadTooLarge, ClientGone.
    """
    check_content_length(headers.get(b"content-length"), most=most)
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
    """The JSON object that the body is. A `tolerated` member that cannot be read strictly is a `RawMember`.

    Raises: ValidationFailed when it is malformed or no object; TooManyFields; PayloadTooLarge when it has more than 64 KiB
        without its tolerated members.
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
    """The object with its tolerated members raw; None when there are none, or the body has no members.

    A tolerated name that is given twice is refused, as every other: which of the two is meant is unknown.
    """
    members = _split_members(body) if tolerated else None
    if members is None:
        return None
    names = [_plain_name(spelled) for spelled, _ in members]
    raw = [(name, RawMember(value)) for name, (_, value) in zip(names, members, strict=True) if name in tolerated]
    if not raw:
        return None
    kept = [member for name, member in zip(names, members, strict=True) if name not in tolerated]
    rest = b"{" + b",".join(b"%s:%s" % member for member in kept) + b"}"
    if len(rest) > MAXIMUM_BODY_BYTES:
        return None
    if len({name for name, _ in raw}) != len(raw):
        raise _malformed("duplicate_name", "A name is given twice in one object.")
    content = _read_strictly(rest) | dict(raw)
    if len(content) > MAXIMUM_FIELDS:
        raise TooManyFields
    return content


def _split_members(body: bytes) -> list[tuple[bytes, bytes]] | None:
    """Name, as it is spelled, and raw value of each member of the object; None when the body is not of that form.

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
        if name is None or value_end is None or not (value := body[name.end() : value_end].strip(_SPACE)):
            return None
        members.append((name[1], value))
        at, is_last = value_end + 1, value_end == end
    return members


def _plain_name(spelled: bytes) -> str | None:
    """The name that a spelling means; None for what is no name, which `_read_strictly` refuses."""
    try:
        text = spelled.decode()
        return str(json.loads(text)) if "\\" in text else text[1:-1]
    except ValueError:
        return None


def _end_of_value(body: bytes, at: int, end: int) -> int | None:
    """Where the comma after a member's value is, or `end`; None when there is none.

    A step leads to the next bracket, past whatever is between: the bound on their number bounds the work.
    """
    depth = 0
    for _ in range(_MAXIMUM_BRACKETS):
        at = (_TO_BRACKET if depth else _TO_BRACKET_OR_COMMA).match(body, at, end).end()  # type: ignore[union-attr]  # any text does
        if at == end:
            return None if depth else end
        match body[at]:
            case 0x2C:  # a comma
                return at
            case 0x5B | 0x7B:
                depth += 1
            case 0x5D | 0x7D if depth:
                depth -= 1
            case _:  # a bracket too much, or a string without an end
                return None
        at += 1
    return None


def _read_strictly(body: bytes) -> Json:
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


def _capped(body: bytes, most: int) -> bytes:
    if len(body) > most:
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
