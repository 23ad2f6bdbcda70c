"""The middleware around all routes except the POSTs of ingest and of hooks.

It has four tasks:

1. Every response gets a `Request-Id` and the security headers.
2. A request body has at most 64 KiB, independent of the code that reads it.
3. HEAD is answered like GET, without the body. Uptime monitors send it.
4. An unhandled exception becomes a logged 500: a page for a browser, otherwise a problem document.

It is bare ASGI, because every other request passes through it.
"""

from time import perf_counter

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.metrics import OTHER, Counts
from api.http.problems import Header, Problems, RenderPage, headers_of, status_of
from api.http.request_body import ClientGone
from api.http.request_headers import (
    MAXIMUM_BODY_BYTES,
    MAXIMUM_LIST_BYTES,
    RequestHead,
    accepts_page,
    check_content_length,
    error_media_type,
    read_request_head,
)
from api.http.security_headers import STRICT
from api.ingest.endpoint import new_request_id
from domain.errors import Code, PayloadTooLarge, Refusal

logger = structlog.get_logger(__name__)

# Its body may name 10,000 incidents.
WITH_A_LIST = "/api/v1/bulk-repairs"


class ErrorBoundaryMiddleware:
    """ASGI middleware. It refuses all methods on `ingest_paths` and below `hooks`.

    Their POSTs never reach it.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        ingest_paths: frozenset[str],
        hooks: str,
        problems: Problems,
        counts: Counts,
        always: tuple[Header, ...],
        page: RenderPage,
    ) -> None:
        self._app, self._ingest_paths, self._hooks = app, ingest_paths, hooks
        self._always, self._page = always, page
        self._problems, self._counts = problems, counts
        self._durations = counts.durations.labels(OTHER)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        head = read_request_head(scope["headers"])
        if scope["method"] == "HEAD":
            # A copy: the server must still see HEAD, for which it sends no body.
            scope, send = {**scope, "method": "GET"}, _without_body(send)
        response = _Response(
            send,
            new_request_id(),
            head,
            path=scope["path"],
            problems=self._problems,
            page=self._page,
            always=self._always,
        )
        scope.setdefault("state", {})["request_id"] = response.request_id
        try:
            if scope["path"] in self._ingest_paths or scope["path"].startswith(self._hooks):
                detail = "This path supports POST only. Send receipts and results by POST."
                if scope["path"].startswith(self._hooks):
                    detail = "This path supports POST only. The provider delivers events by POST."
                await self._refuse(response, Code.METHOD_NOT_ALLOWED, detail, [(b"allow", b"POST")])
            else:
                most = _largest_body(scope["path"])
                check_content_length(head.content_length, most=most)
                await self._app(scope, _capped(receive, most), response.send)
        except Refusal as refusal:
            await self._refuse(response, refusal.code, refusal.detail, headers_of(refusal))
        except (ClientGone, ClientDisconnect):
            pass  # the client closed the connection during its body: not an error of this service
        except Exception:
            # A process edge: always logged, and answered when the response has not begun.
            request_id = response.request_id
            logger.exception("request failed", request_id=request_id, path=scope["path"])
            detail = "An internal error occurred. Report the request_id if it persists."
            await self._refuse(response, Code.INTERNAL_ERROR, detail, [])
        self._durations.observe(perf_counter() - began)

    async def _refuse(
        self, response: "_Response", code: Code, detail: str, extra: list[Header]
    ) -> None:
        self._counts.refused.labels(OTHER, code.value).inc()
        await response.send_refusal(code, detail, extra)


class _Response:
    """Adds the common headers to the application's response, or sends a refusal instead.

    A refusal is a page for a browser, otherwise a problem document.
    """

    def __init__(
        self,
        send: Send,
        request_id: str,
        head: RequestHead,
        *,
        path: str,
        problems: Problems,
        page: RenderPage,
        always: tuple[Header, ...],
    ) -> None:
        self.request_id = request_id
        self._always = always
        self._send, self._head, self._path = send, head, path
        self._problems, self._page = problems, page
        self._has_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._has_begun = True
            sent = list(message.get("headers", ()))
            names = {name.lower() for name, _ in sent}
            strict = (header for header in STRICT if header[0] not in names)
            request_id = (b"request-id", self.request_id.encode())
            message["headers"] = [*sent, request_id, *self._always, *strict]
        await self._send(message)

    async def send_refusal(self, code: Code, detail: str, extra: list[Header]) -> None:
        if self._has_begun:
            return
        if accepts_page(self._path, self._head.accept):
            page = self._page(code, self.request_id)
            sent, body = page.raw_headers, bytes(page.body)
        else:
            body = self._problems.body(code, request_id=self.request_id, detail=detail)
            sent = [
                (b"content-type", error_media_type(self._head.accept)),
                (b"content-length", str(len(body)).encode()),
            ]
        headers = [*sent, *extra]
        start = {"type": "http.response.start", "status": status_of(code), "headers": headers}
        await self.send(start)
        await self._send({"type": "http.response.body", "body": body})


def _without_body(send: Send) -> Send:
    async def sent(message: Message) -> None:
        is_body = message["type"] == "http.response.body"
        await send({**message, "body": b""} if is_body else message)

    return sent


def _largest_body(path: str) -> int:
    """The limit of a body, in bytes."""
    return MAXIMUM_LIST_BYTES if path == WITH_A_LIST else MAXIMUM_BODY_BYTES


def _capped(receive: Receive, most: int) -> Receive:
    received_bytes = 0

    async def counted() -> Message:
        nonlocal received_bytes
        message = await receive()
        received_bytes += len(message.get("body", b""))
        if received_bytes > most:
            raise PayloadTooLarge
        return message

    return counted
