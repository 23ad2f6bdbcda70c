"""The expected refusals of this service, each with its error code of the contract.

    Refusal
    ├── Unauthorized            unauthorized
    ├── Forbidden               forbidden
    ├── SubscriptionRequired    subscription_required
    ├── RateLimited             rate_limited
    ├── MissingAcceptHeader     missing_accept_header
    ├── NotAcceptable           not_acceptable
    ├── UnsupportedMediaType    unsupported_media_type
    ├── PayloadTooLarge         payload_too_large
    ├── TooManyFields           too_many_fields
    ├── MissingIdempotencyKey   missing_idempotency_key
    ├── BadSignature            bad_signature
    ├── IdempotencyConflict     idempotency_conflict
    ├── IdempotencyInProgress   idempotency_in_progress
    ├── ReceiptConflict         receipt_conflict
    ├── IncidentAlreadyResolved incident_resolved
    ├── NotWaiting              not_waiting
    ├── NotClosed               not_closed
    ├── Superseded              superseded
    ├── RepairUrlMissing        repair_url_missing
    ├── ValidationFailed        validation_error
    ├── NotFound                not_found
    │   └── ReceiptNotYetKnown  not_found
    └── Unavailable             unavailable
        ├── TooManyUnknownKeys  unavailable
        ├── EvidenceKeyLost     unavailable
        └── TooSlow             unavailable

A class's docstring, on one line, is its message unless the raiser gives a more exact one.
`api.http.problems` holds the HTTP statuses. Bugs are not refusals: they propagate.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import ClassVar


class Code(StrEnum):
    """Every error code of the contract."""

    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    SUBSCRIPTION_REQUIRED = "subscription_required"
    RATE_LIMITED = "rate_limited"
    MISSING_ACCEPT_HEADER = "missing_accept_header"
    NOT_ACCEPTABLE = "not_acceptable"
    UNSUPPORTED_MEDIA_TYPE = "unsupported_media_type"
    PAYLOAD_TOO_LARGE = "payload_too_large"
    TOO_MANY_FIELDS = "too_many_fields"
    MISSING_IDEMPOTENCY_KEY = "missing_idempotency_key"
    BAD_SIGNATURE = "bad_signature"
    IDEMPOTENCY_CONFLICT = "idempotency_conflict"
    IDEMPOTENCY_IN_PROGRESS = "idempotency_in_progress"
    RECEIPT_CONFLICT = "receipt_conflict"
    INCIDENT_RESOLVED = "incident_resolved"
    NOT_WAITING = "not_waiting"
    NOT_CLOSED = "not_closed"
    SUPERSEDED = "superseded"
    REPAIR_URL_MISSING = "repair_url_missing"
    VALIDATION_ERROR = "validation_error"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    INTERNAL_ERROR = "internal_error"
    UNAVAILABLE = "unavailable"


@dataclass(frozen=True, slots=True)
class FieldError:
    """One error in a request. `pointer` is an RFC 6901 JSON pointer. `message` never repeats the
    invalid value.
    """

    pointer: str
    code: str
    message: str


class Refusal(Exception):
    """The request was refused."""

    code: ClassVar[Code]

    def __init__(
        self,
        detail: str | None = None,
        *,
        errors: tuple[FieldError, ...] = (),
        retry_after_seconds: int | None = None,
    ) -> None:
        self.detail = detail or " ".join((type(self).__doc__ or "").split())
        self.errors = errors
        # The same request may succeed after this time: the response is `retryable`.
        self.retry_after_seconds = retry_after_seconds
        super().__init__(self.detail)


class Unauthorized(Refusal):
    """The API key is missing, malformed, unknown or revoked: send `Authorization: Bearer sk_…` with
    a current key.
    """

    code = Code.UNAUTHORIZED


class Forbidden(Refusal):
    """The API key does not have the scope that this call needs."""

    code = Code.FORBIDDEN


class SubscriptionRequired(Refusal):
    """The project is suspended: resume it before sending more."""

    code = Code.SUBSCRIPTION_REQUIRED


class RateLimited(Refusal):
    """The project sends faster than its limit: wait as long as Retry-After says."""

    code = Code.RATE_LIMITED


class MissingAcceptHeader(Refusal):
    """The Accept header is missing: send `Accept: application/json`."""

    code = Code.MISSING_ACCEPT_HEADER


class NotAcceptable(Refusal):
    """The Accept header allows no JSON: send `Accept: application/json`."""

    code = Code.NOT_ACCEPTABLE


class UnsupportedMediaType(Refusal):
    """The body must be JSON: send `Content-Type: application/json`."""

    code = Code.UNSUPPORTED_MEDIA_TYPE


class PayloadTooLarge(Refusal):
    """The body is larger than 64 KiB (a result: 1 MiB, of which its error texts may take all but 64
    KiB).
    """

    code = Code.PAYLOAD_TOO_LARGE


class TooManyFields(Refusal):
    """The body has more than 50 top-level fields."""

    code = Code.TOO_MANY_FIELDS


class MissingIdempotencyKey(Refusal):
    """The Idempotency-Key header must be 1 to 255 printable characters."""

    code = Code.MISSING_IDEMPOTENCY_KEY


class BadSignature(Refusal):
    """No signature of the provider fits this body."""

    code = Code.BAD_SIGNATURE


class IdempotencyConflict(Refusal):
    """This Idempotency-Key was used with another body: a new request needs a new key."""

    code = Code.IDEMPOTENCY_CONFLICT


class IdempotencyInProgress(Refusal):
    """An equal request is still in flight: repeat it with the same key."""

    code = Code.IDEMPOTENCY_IN_PROGRESS


class ReceiptConflict(Refusal):
    """This event and effect were already received with another event type, internal reference or
    shop domain.
    """

    code = Code.RECEIPT_CONFLICT


class IncidentAlreadyResolved(Refusal):
    """The incident is resolved: there is nothing left to do."""

    code = Code.INCIDENT_RESOLVED


class NotWaiting(Refusal):
    """Only a receipt that still waits for its result can expire, or get another deadline."""

    code = Code.NOT_WAITING


class NotClosed(Refusal):
    """Only an incident that was resolved manually can be reopened."""

    code = Code.NOT_CLOSED


class Superseded(Refusal):
    """A later event of the same reference, such as a refund, makes a repair doubtful: check it, and
    confirm the repair.
    """

    code = Code.SUPERSEDED


class RepairUrlMissing(Refusal):
    """The project has no repair URL, or the endpoint answered 410 Gone: save one in the project's
    settings.
    """

    code = Code.REPAIR_URL_MISSING


class ValidationFailed(Refusal):
    """The request is not of the expected shape: `errors` names each place."""

    code = Code.VALIDATION_ERROR


class NotFound(Refusal):
    """There is no such thing in this project."""

    code = Code.NOT_FOUND


class ReceiptNotYetKnown(NotFound):
    """No receipt of this project matches this provider's id. The result may have overtaken its
    receipt: send the receipt first, and the same result again.
    """


class Unavailable(Refusal):
    """The request could not be stored and was not accepted: send it again with the same key."""

    code = Code.UNAVAILABLE


class TooManyUnknownKeys(Unavailable):
    """More keys that are not known here wait to be looked up than there is room for: send it again
    with the same key.
    """


class EvidenceKeyLost(Unavailable):
    """No known root secret opens the instance's evidence key: run `makegood doctor`."""


class TooSlow(Unavailable):
    """The search took longer than it may: narrow it."""
