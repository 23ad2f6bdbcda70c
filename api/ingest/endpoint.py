"""The two POST endpoints of ingest, receipt and result, as bare ASGI applications.

The order of the checks is the contract's: key, scope, suspension, rate, Accept, Content-Type, size,
Idempotency-Key, stored response, JSON, number of fields, validation, lookup. The committer looks up
the stored response in its transaction. So an invalid body goes to the committer too, with the
refusal that it gets if no response is stored. Only the committer accesses the store, and a 202 is
sent only after its commit. Successes are counted, not logged.
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
from api.http.problems import JSON_MEDIA_TYPE, Header, Problems, headers_of, status_of
from api.http.request_body import ClientGone, read_body, read_object
from api.http.request_headers import (
    MAXIMUM_BODY_BYTES,
    MAXIMUM_RESULT_BYTES,
    RequestHead,
    check_accept,
    check_content_type,
    error_media_type,
    idempotency_key,
    read_request_head,
)
from api.http.security_headers import STRICT
from api.ingest.lenient_fields import TOLERATED_IN_RECEIPT, TOLERATED_IN_RESULT, UNSEALED_NOTE
from api.ingest.payload_encryption import PayloadEncryption
from domain import projects
from domain.errors import (
    Code,
    Refusal,
    TooManyFields,
    TooManyUnknownKeys,
    Unavailable,
    ValidationFailed,
)
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
ParseValue = Callable[..., NewReceipt | NewResult]

MAXIMUM_BYTES: dict[Endpoint, int] = {"receipt": MAXIMUM_BODY_BYTES, "result": MAXIMUM_RESULT_BYTES}
TOLERATED: dict[Endpoint, frozenset[str]] = {
    "receipt": TOLERATED_IN_RECEIPT,
    "result": TOLERATED_IN_RESULT,
}
REPLAYED: Header = (b"idempotent-replayed", b"true")


@dataclass(frozen=True, slots=True)
class Reply:
    """A response before it is sent; `code` is None for a 202."""

    status: int
    headers: list[Header]
    body: bytes
    code: Code | None


class IngestEndpoint:
    """The ASGI application of one endpoint: `/receipt` or `/result`."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        authenticator: Authenticator,
        commit: Commit,
        count_unserved: Callable[[Endpoint], None],
        parse_value: ParseValue,
        payload_encryption: PayloadEncryption,
        problems: Problems,
        counts: Counts,
        always: tuple[Header, ...],
    ) -> None:
        self._endpoint = endpoint
        self._authenticator, self._payload_encryption = authenticator, payload_encryption
        self._commit, self._parse_value = commit, parse_value
        self._count_unserved = count_unserved
        self._problems, self._refused_counts = problems, counts.refused
        # The counter of a label is looked up once: the look-up costs more than the count.
        self._accepted = counts.accepted.labels(endpoint)
        self._replayed = counts.replayed.labels(endpoint)
        self._durations = counts.durations.labels(endpoint)
        self._always = (*always, *STRICT)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = perf_counter()
        request_id = new_request_id()
        head = read_request_head(scope["headers"])
        try:
            reply = await self._reply(head, receive, request_id)
        except Refusal as refusal:
            reply = self._refused(refusal, head, request_id)
        except ClientGone:
            return
        except Exception:
            # A process edge: the caller always gets a response, and the bug is always logged.
            logger.exception("ingest failed", endpoint=self._endpoint, request_id=request_id)
            reply = self._failed(head, request_id)
        if reply.code is None:
            self._accepted.inc()
        else:
            self._refused_counts.labels(self._endpoint, reply.code.value).inc()
        reply.headers.extend(((b"request-id", request_id.encode()), *self._always))
        start = {"type": "http.response.start", "status": reply.status, "headers": reply.headers}
        await send(start)
        await send({"type": "http.response.body", "body": reply.body})
        self._durations.observe(perf_counter() - began)

    async def _reply(self, head: RequestHead, receive: Receive, request_id: str) -> Reply:
        caller = await self._authorize(head)
        check_accept(head.accept)
        check_content_type(head.content_type, head.content_encoding)
        body = await read_body(head, receive, most=MAXIMUM_BYTES[self._endpoint])
        key = idempotency_key(head.idempotency_key)
        value, sealed = self._parse(body, caller.project, request_id), None
        if isinstance(value, NewReceipt) and value.payload is not None:
            value, sealed = await self._seal_payload(value, value.payload)
        request = IngestRequest(
            project_id=caller.project.id,
            endpoint=self._endpoint,
            key=key,
            fingerprint=sha256(body).hexdigest(),
            value=value,
            render=partial(self._problems.body_of, request_id=request_id),
            sealed=sealed,
        )
        return self._committed(await self._commit(request), head)

    async def _seal_payload(
        self, receipt: NewReceipt, payload: str
    ) -> tuple[NewReceipt, SealedPayload | None]:
        """The receipt with its sealed payload.

        If sealing fails, the payload is dropped with a note: a snapshot is optional.
        """
        event_id = new_event_id()
        try:
            seal = await self._payload_encryption.sealer_for(receipt.project_id)
            return receipt, SealedPayload(event_id, seal(event_id, payload))
        except (SealBroken, Refusal, SQLAlchemyError) as error:
            error_class = type(error).__name__
            logger.warning(
                "payload could not be sealed", project=receipt.project_id, error=error_class
            )
            return replace(receipt, payload=None, payload_note=UNSEALED_NOTE), None

    async def _authorize(self, head: RequestHead) -> projects.AuthenticatedKey:
        """The caller.

        A request that fails because the store does not answer is evidence of an outage. Too many
        unknown keys are not.
        """
        try:
            return await self._authenticator.authorize(head.authorization, projects.Scope.INGEST)
        except TooManyUnknownKeys:
            raise
        except Unavailable:
            self._count_unserved(self._endpoint)
            raise

    def _parse(
        self, body: bytes, project: Project, request_id: str
    ) -> NewReceipt | NewResult | PreRejected:
        try:
            content: Json = read_object(body, tolerated=TOLERATED[self._endpoint])
            return self._parse_value(content, project=project, request_id=request_id)
        except (ValidationFailed, TooManyFields) as refusal:
            return PreRejected(
                refusal,
                status=status_of(refusal.code),
                is_stored=refusal.code is Code.VALIDATION_ERROR,
            )

    def _committed(self, response: StoredResponse, head: RequestHead) -> Reply:
        is_accepted = response.status < 400
        media_type = JSON_MEDIA_TYPE if is_accepted else error_media_type(head.accept)
        sent: list[Header] = [
            (b"content-type", media_type),
            (b"content-length", str(len(response.body)).encode()),
        ]
        if response.is_replayed:
            sent.append(REPLAYED)
            self._replayed.inc()
        code = None if is_accepted else _code_of(response.status)
        return Reply(response.status, sent, response.body, code)

    def _refused(self, refusal: Refusal, head: RequestHead, request_id: str) -> Reply:
        body = self._problems.body_of(refusal, request_id=request_id)
        return problem_reply(refusal.code, headers_of(refusal), body, head)

    def _failed(self, head: RequestHead, request_id: str) -> Reply:
        detail = "An internal error occurred. Send the same request with the same key again."
        body = self._problems.body(Code.INTERNAL_ERROR, request_id=request_id, detail=detail)
        return problem_reply(Code.INTERNAL_ERROR, [], body, head)


def new_request_id() -> str:
    return f"req_{uuid_utils.uuid7().hex}"


def problem_reply(code: Code, extra: list[Header], body: bytes, head: RequestHead) -> Reply:
    type_header = (b"content-type", error_media_type(head.accept))
    length = (b"content-length", str(len(body)).encode())
    return Reply(status_of(code), [type_header, length, *extra], body, code)


def _code_of(status: int) -> Code:
    """The code of a refusal from the committer, for the counters. It returns no other refusals."""
    match status:
        case 409:
            return Code.RECEIPT_CONFLICT
        case 413:
            return Code.TOO_MANY_FIELDS
        case _:
            return Code.VALIDATION_ERROR
