"""The layer around all but the two POSTs: gives every answer its `Request-Id` and the headers that a browser obeys, a cap
on what is read, and a last resort.

Bare ASGI, since everything else passes here. What the application raises and nobody handled becomes a logged 500 in the
contract's shape. A body is cut off after 64 KiB whatever reads it.
"""

from time import perf_counter

import structlog
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.http.metrics import Counts
from api.http.problems import Header, Problems, headers_of, status_of
from api.http.request_body import ClientGone
from api.http.request_headers import MAXIMUM_BODY_BYTES, Headers, check_content_length, problem_type, read_headers
from api.http.security_headers import STRICT
from api.ingest.endpoint import new_request_id
from domain.errors import Code, PayloadTooLarge, Refusal

logger = structlog.get_logger(__name__)


class ErrorBoundaryMiddleware:
    """ASGI middleware; `ingest_paths` are those that take POST alone, which `api.app` has taken out before."""

    def __init__(
        self, app: ASGIApp, *, ingest_paths: frozenset[str], problems: Problems, counts: Counts, always: tuple[Header, ...]
    ) -> None:
        self._app, self._ingest_paths = app, ingest_paths
        self._always = always
        self._problems, self._counts = problems, counts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        headers = read_headers(scope["headers"])
        answer = _Answer(send, new_request_id(), self._problems, headers, self._always)
        scope.setdefault("state", {})["request_id"] = answer.request_id
        try:
            if scope["path"] in self._ingest_paths:
                detail = "Receipts and results are sent by POST."
                await self._refuse(answer, Code.METHOD_NOT_ALLOWED, detail, [(b"allow", b"POST")])
            else:
                check_content_length(headers.get(b"content-length"))
                await self._app(scope, _capped(receive), answer.send)
        except Refusal as refusal:
            await self._refuse(answer, refusal.code, refusal.detail, headers_of(refusal))
        except (ClientGone, ClientDisconnect):
            pass  # hung up in the middle of its body: nobody waits for an answer, and nothing failed here
        except Exception:
            # The edge of the process: answered if that is still possible, and logged in any case.
            logger.exception("request failed", request_id=answer.request_id, path=scope["path"])
            await self._refuse(answer, Code.INTERNAL_ERROR, "Something failed on our side.", [])
        self._counts.durations["other"].observe(perf_counter() - began)

    async def _refuse(self, answer: "_Answer", code: Code, detail: str, extra: list[Header]) -> None:
        self._counts.refused["other", code.value] += 1
        await answer.problem(code, detail, extra)


class _Answer:
    """Sends what the application sends, with the headers that every answer has; or a problem if nothing was sent yet."""

    def __init__(self, send: Send, request_id: str, problems: Problems, headers: Headers, always: tuple[Header, ...]) -> None:
        self.request_id = request_id
        self._always = always
        self._send, self._problems, self._headers = send, problems, headers
        self._has_begun = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._has_begun = True
            sent = list(message.get("headers", ()))
            names = {name.lower() for name, _ in sent}
            strict = (header for header in STRICT if header[0] not in names)
            message["headers"] = [*sent, (b"request-id", self.request_id.encode()), *self._always, *strict]
        await self._send(message)

    async def problem(self, code: Code, detail: str, extra: list[Header]) -> None:
        if self._has_begun:
            return
        body = self._problems.body(code, request_id=self.request_id, detail=detail)
        media_type = problem_type(self._headers.get(b"accept"))
        sent = [(b"content-type", media_type), (b"content-length", str(len(body)).encode()), *extra]
        await self.send({"type": "http.response.start", "status": status_of(code), "headers": sent})
        await self._send({"type": "http.response.body", "body": body})


def _capped(receive: Receive) -> Receive:
    received_bytes = 0

    async def counted() -> Message:
        nonlocal received_bytes
        message = await receive()
        received_bytes += len(message.get("body", b""))
        if received_bytes > MAXIMUM_BODY_BYTES:
            raise PayloadTooLarge
        return message

    return counted
