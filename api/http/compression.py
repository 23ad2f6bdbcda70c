"""Compresses responses that hold no secret of a browser: static files, docs, and JSON of REST.

Pages of the console stay uncompressed. Each holds the form token of its session beside texts that
others choose. The length of a compressed page would reveal the token bit by bit (BREACH). Ingest
never passes here. See decision 0041.
"""

from starlette.datastructures import Headers
from starlette.middleware.gzip import GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

MINIMUM_BYTES = 1024
# Level 9 takes several times as long and saves a few percent.
LEVEL = 5
COMPRESSED_PATHS = ("/static/", "/docs", "/openapi.json", "/api/v1/", "/metrics")


class CompressionMiddleware:
    """ASGI middleware. It compresses by gzip what `COMPRESSED_PATHS` answer to GET."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._compressed = GZipMiddleware(app, minimum_size=MINIMUM_BYTES, compresslevel=LEVEL)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_compressible = (
            scope["type"] == "http"
            and scope["method"] == "GET"
            and scope["path"].startswith(COMPRESSED_PATHS)
        )
        if is_compressible:
            await self._compressed(_with_one_coding(scope), receive, send)
        else:
            await self._app(scope, receive, send)


def _with_one_coding(scope: Scope) -> Scope:
    """The scope whose Accept-Encoding is the chosen coding.

    Starlette looks for the text `gzip` only. In both cases it names the header in `Vary`.
    """
    accepted = _accepts_gzip(Headers(scope=scope).getlist("accept-encoding"))
    others = [(name, value) for name, value in scope["headers"] if name != b"accept-encoding"]
    chosen = (b"accept-encoding", b"gzip" if accepted else b"identity")
    return {**scope, "headers": [*others, chosen]}


def _accepts_gzip(accept_encoding: list[str]) -> bool:
    """Whether gzip, or else every coding, has a quality above zero (RFC 9110, 12.5.3)."""
    accepted: dict[str, bool] = {}
    for item in "".join(",".join(accept_encoding).lower().split()).split(","):
        name, _, quality = item.partition(";q=")
        accepted.setdefault(name, bool(quality.strip("0.")) if quality else True)
    return accepted.get("gzip", accepted.get("*", False))
