"""What each refusal is on the wire: one table of status, title and advice by code, and the problem document made from it.

Every error of this service has this shape, those of the framework too. The document never repeats what was sent. Codes are
`domain.errors.Code`; the table is also what `GET /docs/errors/{code}` shows.
"""

from dataclasses import dataclass

import orjson

from domain.errors import Code, FieldError, Refusal

PROBLEM_TYPE = b"application/problem+json"
JSON_TYPE = b"application/json"

Header = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Meaning:
    """A code's status and title, whether the same request may succeed later, what happened and what to do about it."""

    status: int
    title: str
    is_retryable: bool
    what: str
    remedy: str


MEANINGS: dict[Code, Meaning] = {
    Code.UNAUTHORIZED: Meaning(
        401,
        "Unauthorized",
        False,
        "The request carried no API key, or one that is malformed, unknown, expired or revoked.",
        "Send `Authorization: Bearer sk_…` with a current key. Keys are made on the project's page of the console.",
    ),
    Code.FORBIDDEN: Meaning(
        403,
        "Forbidden",
        False,
        "The key is right but may not do this: it lacks the scope, or the call exists in test projects only.",
        "Use a key that has the scope the call names: `ingest`, `read`, `operate` or `admin`.",
    ),
    Code.SUBSCRIPTION_REQUIRED: Meaning(
        402,
        "Project suspended",
        False,
        "The project is suspended: nothing is accepted for it.",
        "Resume it: `makegood project resume`.",
    ),
    Code.RATE_LIMITED: Meaning(
        429,
        "Too many requests",
        True,
        "The project sends faster than its limit, or has two lists or searches that run already or have just ended.",
        "Wait as many seconds as `Retry-After` says, then send the same request with the same `Idempotency-Key`.",
    ),
    Code.MISSING_ACCEPT_HEADER: Meaning(
        406,
        "Accept header missing",
        False,
        "The request does not say what it accepts.",
        "Send `Accept: application/json`.",
    ),
    Code.NOT_ACCEPTABLE: Meaning(
        406,
        "Not acceptable",
        False,
        "The Accept header allows no JSON, and every answer here is JSON.",
        "Send `Accept: application/json`.",
    ),
    Code.UNSUPPORTED_MEDIA_TYPE: Meaning(
        415,
        "Unsupported media type",
        False,
        "The body is not declared as JSON, or it is compressed or in another character set than UTF-8.",
        "Send `Content-Type: application/json` and the JSON as plain UTF-8.",
    ),
    Code.PAYLOAD_TOO_LARGE: Meaning(
        413,
        "Body too large",
        False,
        "The body is larger than 64 KiB (a result: 1 MiB, of which its error texts may take all but 64 KiB).",
        "Leave out or cut the `payload` snapshot; nothing else in a request comes near this size.",
    ),
    Code.TOO_MANY_FIELDS: Meaning(
        413,
        "Too many fields",
        False,
        "The body has more than 50 top-level fields.",
        "Send the fields of the reference; put what belongs to your own event inside `payload`.",
    ),
    Code.MISSING_IDEMPOTENCY_KEY: Meaning(
        400,
        "Idempotency-Key missing",
        False,
        "The Idempotency-Key header is absent, empty, longer than 255 characters or not printable.",
        "Send one that is the same on every retry of this request, and different for every other request.",
    ),
    Code.IDEMPOTENCY_CONFLICT: Meaning(
        409,
        "Idempotency-Key reused",
        False,
        "This key was used within the last 24 hours with another body.",
        "Use a new key for a new request. A retry must send exactly the same bytes.",
    ),
    Code.IDEMPOTENCY_IN_PROGRESS: Meaning(
        409,
        "Request in progress",
        True,
        "An equal request with the same key is still in flight after 5 seconds of waiting for it.",
        "Send the same request with the same key again after a second.",
    ),
    Code.RECEIPT_CONFLICT: Meaning(
        409,
        "Receipt conflict",
        False,
        "This provider event and effect were already received with another `event_type`, `internal_reference` or "
        "`shopify_shop_domain`.",
        "Find out which of the two is right: the first stays. If they are two effects, give each its own `effect_type`.",
    ),
    Code.INCIDENT_RESOLVED: Meaning(
        409,
        "Incident resolved",
        False,
        "The incident is resolved already: there is nothing to reprocess, resolve or acknowledge.",
        "Read the event to see how it ended.",
    ),
    Code.NOT_WAITING: Meaning(
        409,
        "Not waiting",
        False,
        "Only a receipt that still waits for its result can expire.",
        "Read the event to see where it stands.",
    ),
    Code.REPAIR_URL_MISSING: Meaning(
        409,
        "Repair URL missing",
        False,
        "The project has no repair URL, or its receiver answered 410 and it has not been saved since.",
        "Save a repair URL in the project's settings, then reprocess again.",
    ),
    Code.VALIDATION_ERROR: Meaning(
        422,
        "Validation failed",
        False,
        "The JSON is malformed, or a field is missing, of an unknown value or of the wrong shape.",
        "`errors` names each place by its JSON pointer and says what is expected there.",
    ),
    Code.NOT_FOUND: Meaning(
        404,
        "Not found",
        False,
        "There is no such thing in this project: a result without its receipt, a repair of another event, an unknown address.",
        "Check the id, and that the key belongs to the project. A result must come after its receipt was accepted.",
    ),
    Code.METHOD_NOT_ALLOWED: Meaning(
        405,
        "Method not allowed",
        False,
        "The address exists, but not for this method.",
        "`Allow` names the methods that it takes.",
    ),
    Code.INTERNAL_ERROR: Meaning(
        500,
        "Internal error",
        True,
        "Something failed on our side; it is logged under the request's id.",
        "Send the same request with the same key again. If it stays, report the `request_id`.",
    ),
    Code.UNAVAILABLE: Meaning(
        503,
        "Unavailable",
        True,
        "The store cannot commit at the moment, so nothing was accepted. Or a list or a search took longer than 2 seconds.",
        "Send the same request with the same key again after `Retry-After` seconds. Narrow a search that took too long, by a "
        "span of time, a filter or a whole id.",
    ),
}


class Problems:
    """Writes problem documents; knows the address under which the codes are explained."""

    def __init__(self, public_url: str) -> None:
        self._types = {code: f"{public_url}/docs/errors/{code.value}" for code in Code}

    def body(self, code: Code, *, request_id: str, detail: str, errors: tuple[FieldError, ...] = ()) -> bytes:
        """The document's bytes."""
        meaning = MEANINGS[code]
        document: dict[str, object] = {
            "type": self._types[code],
            "title": meaning.title,
            "status": meaning.status,
            "detail": detail,
            "code": code.value,
            "request_id": request_id,
            "retryable": meaning.is_retryable,
        }
        if errors:
            document["errors"] = [{"pointer": error.pointer, "code": error.code, "message": error.message} for error in errors]
        return orjson.dumps(document)

    def body_of(self, refusal: Refusal, *, request_id: str) -> bytes:
        """The document of a refusal."""
        return self.body(refusal.code, request_id=request_id, detail=refusal.detail, errors=refusal.errors)


def status_of(code: Code) -> int:
    return MEANINGS[code].status


def headers_of(refusal: Refusal) -> list[Header]:
    """The headers that a refusal adds to its answer."""
    headers: list[Header] = []
    if refusal.retry_after_seconds is not None:
        headers.append((b"retry-after", str(refusal.retry_after_seconds).encode()))
    if refusal.code is Code.UNAUTHORIZED:
        headers.append((b"www-authenticate", b"Bearer"))
    return headers
