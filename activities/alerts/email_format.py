"""Builds a mail as bytes: encoded header fields, and two bodies with the same facts. Pure.

No value reaches a library's header parser. Such parsers decode text that looks like an encoded
word, and a line break inside it starts a new field. Text becomes RFC 2047 encoded words; addresses
and ids are checked to be ASCII. Used by `activities.alerts.email_message`; sent by
`activities.alerts.email_smtp`.
"""

import quopri
import re
from base64 import b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from domain.values.text import one_line

# `=?utf-8?B?`, 52 characters of base64 and `?=`: with `Subject: `, within the 76 of RFC 2047.
_WORD_BYTES = 39
_LINE_CHARACTERS = 76
# Quoted-printable never contains `=_`, so no body contains the boundary.
_BOUNDARY = "=_makegood_=_"
_PLAIN = re.compile(r"[\x21-\x7e]+(?: [\x21-\x7e]+)*")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
# Below RFC 5321's limit of a line, and without control characters.
_RAW = re.compile(r"[\x20-\x7e]{1,900}")


@dataclass(frozen=True, slots=True)
class OutgoingMail:
    """A mail to one recipient. `content` is ASCII with CRLF line ends; both addresses are ASCII."""

    sender: str
    recipient: str
    content: bytes


def compose(fields: Sequence[tuple[str, str]], *, text: str, html: str) -> bytes:
    """The mail with these header fields, in order. Values must come from `raw` or `encoded`.

    Raises:
        ValueError: a field contains something that no header may. `raw` and `encoded` prevent that.
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
    """Text from outside as a header value: one line, cut, as encoded words where necessary."""
    line = one_line(text, longest=longest)
    if len(line) <= _LINE_CHARACTERS - 20 and _PLAIN.fullmatch(line) and "=?" not in line:
        return line
    words = (f"=?utf-8?B?{b64encode(chunk).decode('ascii')}?=" for chunk in _chunks(line))
    return "\r\n ".join(words)


def raw(text: str) -> str:
    """A header value of Makegood, or a checked address, unchanged.

    Raises:
        ValueError: it is not printable ASCII.
    """
    if not _RAW.fullmatch(text):
        raise ValueError("not a value of a header field")
    return text


def _chunks(line: str) -> Iterator[bytes]:
    """The line's bytes in pieces that fit an encoded word. No character is split (RFC 2047, 5)."""
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
    content_type = f'Content-Type: text/{subtype}; charset="utf-8"'
    head = f"{content_type}\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    lines = text.encode("utf-8").replace(b"\r", b"").rstrip(b"\n") + b"\n"
    # The last line break belongs to the boundary that follows.
    return head.encode("ascii") + quopri.encodestring(lines).replace(b"\n", b"\r\n") + b"\r\n"
