"""Writes, lists and reads the mails of the built-in mailbox, one file for each mail.

The files are `DATA_DIR/mailbox/*.eml`, and their names sort by time of arrival. The mailbox server
of `makegood up` writes them; the console reads them. A mail may come from any program on this
machine, so nothing in it is trusted. A broken mail is shown as far as it can be read. A name cannot
lead outside the directory.
"""

import os
import re
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import Message
from email.parser import BytesHeaderParser
from pathlib import Path

from store.db.fsync import rename_on_disk

NEWEST_KEPT = 1_000
NAME = re.compile(r"(?P<at>[0-9]{8}T[0-9]{12})Z-[0-9a-f]{8}\.eml")
NAME_INSTANT = "%Y%m%dT%H%M%S%f"
HEADER_LENGTH = 2_048


@dataclass(frozen=True, slots=True)
class MailSummary:
    """One line of the mailbox's page."""

    name: str
    received_at: datetime
    sender: str
    recipients: str
    subject: str


@dataclass(frozen=True, slots=True)
class Mail:
    """One mail. `text` and `html` are None if it has no such part."""

    summary: MailSummary
    message_id: str
    text: str | None
    html: str | None


def store_mail(
    directory: Path, content: bytes, *, received_at: datetime, newest_kept: int = NEWEST_KEPT
) -> str:
    """Store a mail durably, delete the oldest beyond `newest_kept`, and return its name."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    name = f"{received_at.astimezone(UTC).strftime(NAME_INSTANT)}Z-{secrets.token_hex(4)}.eml"
    unfinished = directory / f"{name}.new"
    with unfinished.open("xb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    rename_on_disk(unfinished, directory / name)
    for old in _names(directory)[newest_kept:]:
        (directory / old).unlink(missing_ok=True)
    return name


def list_mails(directory: Path, *, limit: int = 100) -> tuple[MailSummary, ...]:
    """At most `limit` mails, newest first. Empty if nothing was ever received."""
    summaries = (_summary(directory, name) for name in _names(directory)[:limit])
    return tuple(summary for summary in summaries if summary is not None)


def read_mail(directory: Path, name: str) -> Mail | None:
    """Read one mail. None if the name is invalid or the file no longer exists."""
    content = _content(directory, name)
    if content is None:
        return None
    message = message_from_bytes(content)
    return Mail(
        summary=_summary_of(name, message),
        message_id=_header(message, "Message-ID"),
        text=_part(message, "text/plain"),
        html=_part(message, "text/html"),
    )


def _names(directory: Path) -> list[str]:
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted((name for name in names if NAME.fullmatch(name)), reverse=True)


def _summary(directory: Path, name: str) -> MailSummary | None:
    content = _content(directory, name)
    return None if content is None else _summary_of(name, BytesHeaderParser().parsebytes(content))


def _summary_of(name: str, message: Message) -> MailSummary:
    matched = NAME.fullmatch(name)
    if matched is None:
        raise ValueError("not the name of a mail")
    return MailSummary(
        name=name,
        received_at=datetime.strptime(matched["at"], NAME_INSTANT).replace(tzinfo=UTC),
        sender=_header(message, "From"),
        recipients=_header(message, "To"),
        subject=_header(message, "Subject"),
    )


def _content(directory: Path, name: str) -> bytes | None:
    if NAME.fullmatch(name) is None:
        return None
    try:
        descriptor = os.open(directory / name, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        return file.read()


def _header(message: Message, name: str) -> str:
    raw = message.get(name, "")
    try:
        text = str(make_header(decode_header(raw)))
    except (HeaderParseError, LookupError, UnicodeError, ValueError):
        text = str(raw)
    return " ".join(_writable(text).replace("\0", "").split())[:HEADER_LENGTH]


def _part(message: Message, content_type: str) -> str | None:
    for part in message.walk():
        if (
            part.get_content_type() == content_type
            and part.get_content_disposition() != "attachment"
        ):
            return _decoded(part)
    return None


def _decoded(part: Message) -> str:
    payload = part.get_payload(decode=True)
    if not isinstance(payload, bytes):
        return ""
    try:
        return _writable(payload.decode(part.get_content_charset("utf-8"), errors="replace"))
    except (
        LookupError,
        UnicodeError,
    ):  # an unknown charset, or `undefined`, which replaces nothing
        return payload.decode("utf-8", errors="replace")


def _writable(text: str) -> str:
    """Replace lone surrogates, which some charsets produce and no page can encode, by question
    marks.
    """
    return text.encode("utf-8", errors="replace").decode("utf-8")
