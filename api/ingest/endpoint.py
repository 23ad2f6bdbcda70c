"""The two POSTs of the front door, as bare ASGI: one walk over the headers, the raw body once, one hand-over to the committer.

The order of the checks is the contract's: key, scope, suspension, rate, Accept, Content-Type, size, Idempotency-Key, stored
answer, JSON, number of fields, validation, lookup. The stored answer is looked up inside the committer's transaction, so a body
that turns out to be wrong is handed over too, as the answer that it gets if none is stored. Nothing here touches the store
but the committer, and a 202 leaves only after its commit. Successes are counted, not logged.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from hashlib import sha256
from time import perf_counter
from typing import Literal

import structlog
import uuid_utils
from sqlalchemy.exc import SQLAlchemyError
from starlette.types import Receive, Scope, Send

from api.auth.api_keys import Authenticator
from api.http.metrics import Counts
from api.http.problems import JSON_TYPE, Header, Problems, headers_of, status_of
from api.http.request_body import ClientGone, read_body, read_object
from api.http.request_headers import (
    MAXIMUM_BODY_BYTES,
    MAXIMUM_RESULT_BYTES,
    Headers,
    check_accept,
    check_content_type,
    idempotency_key,
    problem_type,
    read_headers,
)
from api.http.security_headers import STRICT
from api.ingest.lenient_fields import TOLERATED_IN_RECEIPT, TOLERATED_IN_RESULT, UNSEALED_NOTE
from api.ingest.payload_encryption import Snapshots
from domain import projects
from domain.errors import Code, Refusal, TooManyFields, TooManyUnknownKeys, Unavailable, ValidationFailed
from domain.projects import Project
from domain.receipts import NewReceipt
from domain.results import NewResult
from operations.validation import Json
from store.crypto.encryption import SealBroken
from store.crypto.tokens import new_event_id
from store.ingest.requests import IngestRequest, PreRejected, SealedPayload, StoredResponse

logger = structlog.get_logger(__name__)

Endpoint = Literal["receipt", "result"]
Commit = Callable[[IngestRequest], Awaitable[StoredResponse]]
ReadValue = Callable[..., NewReceipt | NewResult]

MAXIMUM_BYTES: dict[Endpoint, int] = {"receipt": MAXIMUM_BODY_BYTES, "result": MAXIMUM_RESULT_BYTES}
TOLERATED: dict[Endpoint, frozenset[str]] = {"receipt": TOLERATED_IN_RECEIPT, "result": TOLERATED_IN_RESULT}
JSON_HEADER: Header = (b"content-type", JSON_TYPE)
REPLAYED: Header = (b"idempotent-replayed", b"true")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer before it is sent; `code` is None for a 202."""

    status: int
    headers: list[Header]
    body: bytes
    code: Code | None


class Ingest:
    """One of the two endpoints; an ASGI application of its own."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        gate: Authenticator,
        commit: Commit,
        count_unserved: Callable[[Endpoint], None],
        read_value: ReadValue,
        snapshots: Snapshots,
        problems: Problems,
        counts: Counts,
        always: tuple[Header, ...],
    ) -> None:
        self._endpoint = endpoint
        self._gate, self._commit, self._read_value, self._snapshots = gate, commit, read_value, snapshots
        self._count_unserved = count_unserved
        self._problems, self._counts = problems, counts
        self._durations = counts.durations[endpoint]
        self._always = (*always, *STRICT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        request_id = new_request_id()
        headers = read_headers(scope["headers"])
        try:
            reply = await self._reply(headers, receive, request_id)
        except Refusal as refusal:
            reply = self._refused(refusal, headers, request_id)
        except ClientGone:
            return
        except Exception:
            # The edge of the process: nothing may leave the caller without an answer and us without a line.
            logger.exception("ingest failed", endpoint=self._endpoint, request_id=request_id)
            reply = self._failed(headers, request_id)
        if reply.code is None:
            self._counts.accepted[self._endpoint] += 1
        else:
            self._counts.refused[self._endpoint, reply.code.value] += 1
        reply.headers.extend(((b"request-id", request_id.encode()), *self._always))
        await send({"type": "http.response.start", "status": reply.status, "headers": reply.headers})
        await send({"type": "http.response.body", "body": reply.body})
        self._durations.observe(perf_counter() - began)

    async def _reply(self, headers: Headers, receive: Receive, request_id: str) -> Reply:
        caller = await self._admitted(headers)
        check_accept(headers.get(b"accept"))
        check_content_type(headers.get(b"content-type"), headers.get(b"content-encoding"))
        body = await read_body(headers, receive, most=MAXIMUM_BYTES[self._endpoint])
        key = idempotency_key(headers.get(b"idempotency-key"))
        value, sealed = self._value(body, caller.project, request_id), None
        if isinstance(value, NewReceipt) and value.payload is not None:
            value, sealed = await self._sealed(value, value.payload)
        request = IngestRequest(
            project_id=caller.project.id,
            endpoint=self._endpoint,
            key=key,
            fingerprint=sha256(body).hexdigest(),
            value=value,
            render=partial(self._problems.body_of, request_id=request_id),
            sealed=sealed,
        )
        return self._committed(await self._commit(request), headers)

    async def _sealed(self, receipt: NewReceipt, payload: str) -> tuple[NewReceipt, SealedPayload | None]:
        """The receipt with its sealed payload; without it, and with a note, where that cannot be: a snapshot is comfort."""
        event_id = new_event_id()
        try:
            seal = await self._snapshots.seal_of(receipt.project_id)
            return receipt, SealedPayload(event_id, seal(event_id, payload))
        except (SealBroken, Refusal, SQLAlchemyError) as error:
            logger.warning("a payload could not be sealed", project=receipt.project_id, error=type(error).__name__)
            return replace(receipt, payload=None, payload_note=UNSEALED_NOTE), None

    async def _admitted(self, headers: Headers) -> projects.AuthenticatedKey:
        """Who sends it. A store that does not say so serves nobody; a crowd of made-up keys is no fault of the store."""
        try:
            return await self._gate.admit(headers, projects.Scope.INGEST)
        except TooManyUnknownKeys:
            raise
        except Unavailable:
            self._count_unserved(self._endpoint)
            raise

    def _value(self, body: bytes, project: Project, request_id: str) -> NewReceipt | NewResult | PreRejected:
        try:
            content: Json = read_object(body, tolerated=TOLERATED[self._endpoint])
            return self._read_value(content, project=project, request_id=request_id)
        except (ValidationFailed, TooManyFields) as refusal:
            return PreRejected(refusal, status=status_of(refusal.code), is_stored=refusal.code is Code.VALIDATION_ERROR)

    def _committed(self, answer: StoredResponse, headers: Headers) -> Reply:
        is_accepted = answer.status < 400
        type_header = JSON_HEADER if is_accepted else (b"content-type", problem_type(headers.get(b"accept")))
        sent = [type_header, (b"content-length", str(len(answer.body)).encode())]
        if answer.is_replayed:
            sent.append(REPLAYED)
            self._counts.replayed[self._endpoint] += 1
        return Reply(answer.status, sent, answer.body, None if is_accepted else _code_of(answer.status))

    def _refused(self, refusal: Refusal, headers: Headers, request_id: str) -> Reply:
        body = self._problems.body_of(refusal, request_id=request_id)
        return _problem(refusal.code, headers_of(refusal), body, headers)

    def _failed(self, headers: Headers, request_id: str) -> Reply:
        detail = "Something failed on our side. Send the same request with the same key again."
        body = self._problems.body(Code.INTERNAL_ERROR, request_id=request_id, detail=detail)
        return _problem(Code.INTERNAL_ERROR, [], body, headers)


def new_request_id() -> str:
    return f"req_{uuid_utils.uuid7().hex}"


def _problem(code: Code, extra: list[Header], body: bytes, headers: Headers) -> Reply:
    type_header = (b"content-type", problem_type(headers.get(b"accept")))
    length = (b"content-length", str(len(body)).encode())
    return Reply(status_of(code), [type_header, length, *extra], body, code)


def _code_of(status: int) -> Code:
    """The code of a stored refusal, for the counters; only these are stored, or handed over prepared."""
    match status:
        case 409:
            return Code.RECEIPT_CONFLICT
        case 413:
            return Code.TOO_MANY_FIELDS
        case _:
            return Code.VALIDATION_ERROR
