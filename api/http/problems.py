"""The wire form of refusals: a table of status, title and advice by code, and problem documents.

Every error of this service is a problem document (RFC 9457), including the framework's errors. A
document never repeats input. Codes are `domain.errors.Code`. `GET /docs/errors/{code}` and
docs/reference/errors.md show the table.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import orjson
from starlette.requests import Request
from starlette.responses import Response

from domain.errors import Code, FieldError, Refusal

PROBLEM_MEDIA_TYPE = b"application/problem+json"
JSON_MEDIA_TYPE = b"application/json"

Header = tuple[bytes, bytes]
# Renders the page of an error from its code and the request id.
RenderPage = Callable[[Code, str], Response]
# Likewise, in the frame of the user who asks: of the request, the code and the request id.
RenderFramedPage = Callable[[Request, Code, str], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class ProblemType:
    """The meaning of a code. `is_retryable`: whether the same request may succeed later."""

    status: int
    title: str
    is_retryable: bool
    cause: str
    remedy: str


PROBLEM_TYPES: dict[Code, ProblemType] = {
    Code.UNAUTHORIZED: ProblemType(
        401,
        "Unauthorized",
        False,
        "The API key is missing, malformed, unknown, expired or revoked.",
        "Send `Authorization: Bearer sk_…` with a valid key. The console creates keys.",
    ),
    Code.FORBIDDEN: ProblemType(
        403,
        "Forbidden",
        False,
        "The key lacks the scope of this call, or the call exists for test projects only.",
        "Use a key with the scope that the call needs: `ingest`, `read`, `operate` or `admin`.",
    ),
    Code.SUBSCRIPTION_REQUIRED: ProblemType(
        402,
        "Project suspended",
        False,
        "The project is suspended and accepts no requests.",
        "Resume the project with `makegood project resume`.",
    ),
    Code.RATE_LIMITED: ProblemType(
        429,
        "Too many requests",
        True,
        "The project sends faster than its limit, or runs two lists or searches already.",
        "Wait for `Retry-After` seconds. Then send the same request with the same key.",
    ),
    Code.MISSING_ACCEPT_HEADER: ProblemType(
        406,
        "Accept header missing",
        False,
        "The request has no `Accept` header.",
        "Send `Accept: application/json`.",
    ),
    Code.NOT_ACCEPTABLE: ProblemType(
        406,
        "Not acceptable",
        False,
        "The `Accept` header excludes JSON, and every response is JSON.",
        "Send `Accept: application/json`.",
    ),
    Code.UNSUPPORTED_MEDIA_TYPE: ProblemType(
        415,
        "Unsupported media type",
        False,
        "The body is not declared as JSON, is compressed, or is not UTF-8.",
        "Send `Content-Type: application/json` and uncompressed JSON in UTF-8.",
    ),
    Code.PAYLOAD_TOO_LARGE: ProblemType(
        413,
        "Body too large",
        False,
        "The body is larger than 64 KiB. A result may have 1 MiB with its error texts, "
        "and a provider's delivery to a hook 2 MiB.",
        "Omit or shorten `payload`. No other field comes near this size.",
    ),
    Code.TOO_MANY_FIELDS: ProblemType(
        413,
        "Too many fields",
        False,
        "The body has more than 50 top-level fields.",
        "Send only the fields in the API reference. Put fields of your own event inside `payload`.",
    ),
    Code.MISSING_IDEMPOTENCY_KEY: ProblemType(
        400,
        "Idempotency-Key missing",
        False,
        "The `Idempotency-Key` header is missing, empty, longer than 255 characters, "
        "or contains characters that are not printable.",
        "Send a key of 1 to 255 printable characters. "
        "Use the same key for retries of a request, and another key for every other request.",
    ),
    Code.BAD_SIGNATURE: ProblemType(
        400,
        "Signature does not fit",
        False,
        "A delivery to `/hooks/…` has no signature, or none that fits the source's signing secret, "
        "or one that is older than five minutes.",
        "Save the signing secret of this endpoint in the source. Check the server's clock, and "
        "that no proxy changes the body.",
    ),
    Code.IDEMPOTENCY_CONFLICT: ProblemType(
        409,
        "Idempotency-Key reused",
        False,
        "This key was used in the last 24 hours with another body.",
        "Use a new key for a new request. A retry must send the same bytes.",
    ),
    Code.IDEMPOTENCY_IN_PROGRESS: ProblemType(
        409,
        "Request in progress",
        True,
        "An equal request with the same key is still being processed after 5 seconds.",
        "Send the same request with the same key again after one second.",
    ),
    Code.RECEIPT_CONFLICT: ProblemType(
        409,
        "Receipt conflict",
        False,
        "A receipt for this provider event and effect already exists, with another `event_type`, "
        "`internal_reference` or `shopify_shop_domain`.",
        "The first receipt stays. If these are two effects, give each its own `effect_type`.",
    ),
    Code.INCIDENT_RESOLVED: ProblemType(
        409,
        "Incident resolved",
        False,
        "The incident is already resolved. It cannot be reprocessed, resolved or acknowledged.",
        "Read the event to see how the incident was resolved.",
    ),
    Code.NOT_WAITING: ProblemType(
        409,
        "Not waiting",
        False,
        "Only a receipt in the state `waiting` can expire, or get another deadline.",
        "Read the event to see its state.",
    ),
    Code.NOT_CLOSED: ProblemType(
        409,
        "Not closed",
        False,
        "Only an incident that was resolved manually can be reopened. This one is unresolved, or "
        "the app reported success.",
        "Read the incident's `state` and `resolution`.",
    ),
    Code.SUPERSEDED: ProblemType(
        409,
        "Superseded",
        False,
        "A later event of the same `internal_reference` is a refund, a dispute, a cancellation or "
        "a revocation. A repair could give the customer what was taken back.",
        'Read the event in `superseded_by`. To repair all the same, send `{"confirm": true}`.',
    ),
    Code.REPAIR_URL_MISSING: ProblemType(
        409,
        "Repair URL missing",
        False,
        "The project has no repair URL, or its repair URL responded with 410.",
        "Save a repair URL in the project's settings. Then reprocess the incident again.",
    ),
    Code.VALIDATION_ERROR: ProblemType(
        422,
        "Validation failed",
        False,
        "The JSON is malformed, or a field is missing, has an unknown value or has the wrong type.",
        "Read `errors`: each entry has the JSON pointer of a field and what is expected there.",
    ),
    Code.NOT_FOUND: ProblemType(
        404,
        "Not found",
        False,
        "The object does not exist in this project. Examples: a result without a receipt, "
        "the repair of another event, an unknown URL path.",
        "Check the id and the key's project. Send the receipt first, then enqueue the job. "
        "A response with `Retry-After` may have overtaken its receipt: send the result again.",
    ),
    Code.METHOD_NOT_ALLOWED: ProblemType(
        405,
        "Method not allowed",
        False,
        "This URL path does not support this HTTP method.",
        "Use one of the methods in the `Allow` header.",
    ),
    Code.INTERNAL_ERROR: ProblemType(
        500,
        "Internal error",
        True,
        "An internal error occurred. It is logged under the `request_id`.",
        "Send the same request again. If the error persists, report the `request_id`.",
    ),
    Code.UNAVAILABLE: ProblemType(
        503,
        "Unavailable",
        True,
        "The store cannot commit now and accepted nothing, or a search took over 2 seconds.",
        "Wait for the seconds in `Retry-After`. Then send the same request with the same key. "
        "Narrow a slow search with a time range, a filter or a complete id.",
    ),
}


class Problems:
    """Creates problem documents whose `type` links to the page of the code."""

    def __init__(self, public_url: str) -> None:
        self._types = {code: f"{public_url}/docs/errors/{code.value}" for code in Code}

    def body(
        self,
        code: Code,
        *,
        request_id: str,
        detail: str,
        errors: tuple[FieldError, ...] = (),
        has_retry_after: bool = False,
    ) -> bytes:
        """The document's bytes. A response with `Retry-After` is always retryable."""
        problem_type = PROBLEM_TYPES[code]
        document: dict[str, object] = {
            "type": self._types[code],
            "title": problem_type.title,
            "status": problem_type.status,
            "detail": detail,
            "code": code.value,
            "request_id": request_id,
            "retryable": problem_type.is_retryable or has_retry_after,
        }
        if errors:
            document["errors"] = [
                {"pointer": error.pointer, "code": error.code, "message": error.message}
                for error in errors
            ]
        return orjson.dumps(document)

    def body_of(self, refusal: Refusal, *, request_id: str) -> bytes:
        """The document of a refusal."""
        return self.body(
            refusal.code,
            request_id=request_id,
            detail=refusal.detail,
            errors=refusal.errors,
            has_retry_after=refusal.retry_after_seconds is not None,
        )


def status_of(code: Code) -> int:
    return PROBLEM_TYPES[code].status


def headers_of(refusal: Refusal) -> list[Header]:
    """The response headers that a refusal adds."""
    headers: list[Header] = []
    if refusal.retry_after_seconds is not None:
        headers.append((b"retry-after", str(refusal.retry_after_seconds).encode()))
    if refusal.code is Code.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers
