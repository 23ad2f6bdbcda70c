"""Reads the request headers that the contract has rules for, once per request, and checks them.

`api.ingest.endpoint` does so for every receipt and result. It checks each field at its place in the
contract's order. The checks are cached by header value, because a client sends the same values in
each request.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from api.http.problems import JSON_MEDIA_TYPE, PROBLEM_MEDIA_TYPE
from domain.errors import (
    MissingAcceptHeader,
    MissingIdempotencyKey,
    NotAcceptable,
    PayloadTooLarge,
    UnsupportedMediaType,
)

MAXIMUM_BODY_BYTES = 64 * 1024
# Of a body with a list: 10,000 ids and more.
MAXIMUM_LIST_BYTES = 512 * 1024
# Long error texts of a failed result are shortened, not refused (contract, "Ingest").
MAXIMUM_RESULT_BYTES = 1024 * 1024
MAXIMUM_IDEMPOTENCY_KEY_CHARACTERS = 255

# Their errors are problem documents, even for a browser.
_PROGRAM_PATHS = ("/api/", "/v1/", "/hooks/", "/livez", "/readyz", "/metrics", "/openapi.json")
# Named in a refusal, which never repeats other text that was sent.
_KNOWN_CODINGS = {b"gzip", b"x-gzip", b"deflate", b"br", b"zstd", b"compress"}


@dataclass(frozen=True, slots=True)
class RequestHead:
    """The headers with rules, as they were sent and not checked. None: the header is absent."""

    authorization: bytes | None
    accept: bytes | None
    content_type: bytes | None
    content_encoding: bytes | None
    content_length: bytes | None
    idempotency_key: bytes | None


def read_request_head(raw: Iterable[tuple[bytes, bytes]]) -> RequestHead:
    """The head of a request from its headers by lowercase name, as ASGI passes them.

    Repeated headers are joined with a comma (RFC 9110, 5.3).
    """
    pairs = list(raw)
    headers = dict(pairs)
    if len(headers) != len(pairs):
        headers = _joined(pairs)
    return RequestHead(
        authorization=headers.get(b"authorization"),
        accept=headers.get(b"accept"),
        content_type=headers.get(b"content-type"),
        content_encoding=headers.get(b"content-encoding"),
        content_length=headers.get(b"content-length"),
        idempotency_key=headers.get(b"idempotency-key"),
    )


@lru_cache(maxsize=256)
def check_accept(accept: bytes | None) -> None:
    """Check that the caller accepts JSON.

    Raises: MissingAcceptHeader, NotAcceptable.
    """
    if accept is None or not accept.strip():
        raise MissingAcceptHeader
    allowed = _ranges(accept)
    # The most specific range decides: `application/json;q=0, */*` excludes JSON.
    ranges = (JSON_MEDIA_TYPE, b"application/*", b"*/*")
    takes_json = next((allowed[name] for name in ranges if name in allowed), False)
    if not takes_json and not any(
        is_allowed and name.endswith(b"+json") for name, is_allowed in allowed.items()
    ):
        raise NotAcceptable


@lru_cache(maxsize=256)
def error_media_type(accept: bytes | None) -> bytes:
    """The media type of an error: problem+json unless only `application/json` is accepted."""
    names = [name for name, is_allowed in _ranges(accept or b"").items() if is_allowed]
    takes_problems = any(
        name in (b"*/*", b"application/*") or name.endswith(b"+json") for name in names
    )
    return (
        JSON_MEDIA_TYPE if JSON_MEDIA_TYPE in names and not takes_problems else PROBLEM_MEDIA_TYPE
    )


def accepts_page(path: str, accept: bytes | None) -> bool:
    """Whether the client is a browser that asks for a page, and not for a path of programs."""
    is_program_path = path.startswith(_PROGRAM_PATHS)
    return not is_program_path and _ranges(accept or b"").get(b"text/html", False)


@lru_cache(maxsize=256)
def check_content_type(content_type: bytes | None, content_encoding: bytes | None) -> None:
    """Check that the body is declared as uncompressed JSON in UTF-8.

    Raises: UnsupportedMediaType.
    """
    name, *parameters = (part.strip() for part in (content_type or b"").lower().split(b";"))
    charsets = [
        part.partition(b"=")[2].strip(b'"') for part in parameters if part.startswith(b"charset=")
    ]
    if name != JSON_MEDIA_TYPE:
        raise UnsupportedMediaType
    coding = (content_encoding or b"identity").strip().lower()
    if coding not in (b"identity", b""):
        named = f" {coding.decode()}" if coding in _KNOWN_CODINGS else ""
        raise UnsupportedMediaType(
            f"The Content-Encoding{named} is not supported: send the JSON uncompressed."
        )
    if any(charset not in (b"utf-8", b"utf8") for charset in charsets):
        raise UnsupportedMediaType(
            "The charset of the Content-Type is not supported: send the JSON in UTF-8."
        )


def check_content_length(content_length: bytes | None, *, most: int = MAXIMUM_BODY_BYTES) -> None:
    """Check that the announced body has at most `most` bytes; `read_body` counts the real ones.

    Raises: PayloadTooLarge.
    """
    if content_length is not None and content_length.isdigit() and int(content_length[:20]) > most:
        raise PayloadTooLarge


def idempotency_key(value: bytes | None) -> str:
    """The Idempotency-Key as text.

    Raises: MissingIdempotencyKey.
    """
    if value is None:
        raise MissingIdempotencyKey
    try:
        key = value.decode()
    except UnicodeDecodeError:
        key = value.decode("latin-1")
    key = key.strip()
    if not key or len(key) > MAXIMUM_IDEMPOTENCY_KEY_CHARACTERS or not key.isprintable():
        raise MissingIdempotencyKey
    return key


def bearer_token(authorization: bytes | None) -> str | None:
    """The token after `Bearer`; None when the header has another form."""
    if authorization is None:
        return None
    scheme, _, token = authorization.partition(b" ")
    if scheme.lower() != b"bearer":
        return None
    try:
        return token.strip().decode("ascii") or None
    except UnicodeDecodeError:
        return None


def _joined(pairs: Iterable[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
    joined: dict[bytes, bytes] = {}
    for name, value in pairs:
        joined[name] = joined[name] + b", " + value if name in joined else value
    return joined


def _ranges(accept: bytes) -> dict[bytes, bool]:
    """The media ranges of the header, and whether each is accepted: a quality of 0 excludes it."""
    ranges = (item.lower().translate(None, b" \t").split(b";") for item in accept.split(b","))
    return {
        name: not any(_is_zero(parameter) for parameter in parameters)
        for name, *parameters in ranges
    }


def _is_zero(parameter: bytes) -> bool:
    return parameter.startswith(b"q=") and not parameter[2:].strip(b"0.")
