"""A mail as bytes: header fields that we encode ourselves, and two bodies of the same facts. Pure.

No value reaches a header parser of a library: those decode what looks like an encoded word, and a line break
inside it starts a new field. Text becomes RFC 2047 encoded words, addresses and ids are checked ASCII.
Used by `activities.alerts.email_message`; sent by `activities.alerts.email_smtp`.
"""

import quopri
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from domain.values.text import one_line

# `=?utf-8?B?`, 52 characters of base64, `?=`: with `Subject: ` before it within the 76 of RFC 2047.
_WORD_BYTES = 39
_LINE_CHARACTERS = 76
# Quoted-printable never writes `=_`, so the boundary is in no body.
_BOUNDARY = "=_makegood_=_"
_PLAIN = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
# One RFC 5321 limit for all lines, and no control character.
_RAW = re.compile(r"[\x20-\x7e]{1,900}")


@dataclass(frozen=True, slots=True)
class Letter:
    """One mail to one recipient. `content` is ASCII with CRLF line ends; both addresses are ASCII."""

    sender: str
    recipient: str
    content: bytes


def compose(fields: Sequence[tuple[str, str]], *, text: str, html: str) -> bytes:
    """The mail with these header fields, in order, whose values are `raw` or `encoded` already.

    Raises:
        ValueError: a field holds what no header may; nothing from outside does, after `raw` and `encoded`.
    """
    mime = (
        ("MIME-Version", "1.0"),
        ("Content-Type", f'multipart/alternative; boundary="{_BOUNDARY}"'),
    )
    head = "".join(_field(name, value) for name, value in (*fields, *mime))
    parts = (_part("plain", text), _part("html", html))
    body = b"".join(b"--" + _BOUNDARY.encode() + b"\r\n" + part for part in parts)
    return head.encode("ascii") + b"\r\n" + body + b"--" + _BOUNDARY.encode() + b"--\r\n"


def encoded(text: str, *, longest: int) -> str:
    """Text from outside as the value of a header field: one line of it, cut, as encoded words where it must be."""
    line = one_line(text, longest=longest)
    if len(line) <= _LINE_CHARACTERS - 20 and _PLAIN.fullmatch(line) and "=?" not in line:
        return line
    words = (f"=?utf-8?B?{b64encode(chunk).decode('ascii')}?=" for chunk in _chunks(line))
    return "\r\n ".join(words)


def raw(text: str) -> str:
    """A value of our own, or a checked address, as it is. Raises: ValueError when it is not printable ASCII."""
    if not _RAW.fullmatch(text):
        raise ValueError("not a value of a header field")
    return text


def _chunks(line: str) -> Iterator[bytes]:
    """The bytes of the line in pieces that fit a word; no character is divided (RFC 2047, 5)."""
    chunk = b""
    for character in line:
        more = character.encode("utf-8")
        if len(chunk) + len(more) > _WORD_BYTES:
            yield chunk
            chunk = b""
        chunk += more
    yield chunk


def _field(name: str, value: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("not the name of a header field")
    return f"{name}: " + "\r\n ".join(raw(line) for line in value.split("\r\n ")) + "\r\n"


def _part(subtype: str, text: str) -> bytes:
    head = f'Content-Type: text/{subtype}; charset="utf-8"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n'
    lines = text.encode("utf-8").replace(b"\r", b"").rstrip(b"\n") + b"\n"
    # The last line end belongs to the boundary that follows.
    return head.encode("ascii") + quopri.encodestring(lines).replace(b"\n", b"\r\n") + b"\r\n"
