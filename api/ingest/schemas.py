"""The wire models of requests, and their conversion to domain values. Wire models never leave `api`.

Each body is validated once. What depends on the project (its mode, its defaults) is decided in the conversion. Messages say
what is expected and never repeat what was sent. Answers are made by `operations.serializers`.
"""

import re
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticCustomError

from api.ingest.lenient_fields import ERROR_CODE_CHARACTERS, Prose, payload_of, prose_kept
from domain.errors import FieldError, ValidationFailed
from domain.ids import EventId, ReplayId
from domain.projects import Project
from domain.receipts import (
    EVENT_TYPES_OF,
    MAXIMUM_TIMEOUT_MINUTES,
    MINIMUM_TIMEOUT_MINUTES,
    EffectType,
    EventType,
    NewReceipt,
    Provider,
)
from domain.results import NewResult, ResultStatus
from domain.values.text import LONGEST
from operations.validation import UNKNOWN_ID, Json, Minutes, Reference, known_id, timeout_errors, validated

# Hour 24, the leap second and offsets of a day or more are refused: what Python's reader makes of them differs by its version.
_INSTANT = re.compile(r"\d{4}-?\d{2}-?\d{2}[Tt ](?:[01]\d|2[0-3]).*(?:[Zz]|[+-]\d{2}:?(?:\d{2})?)", re.ASCII)


def _read_instant(value: object) -> datetime:
    """The instant in UTC that an ISO 8601 text with a zone names."""
    if not isinstance(value, str):
        raise PydanticCustomError("wrong_type", "Must be a string.")
    try:
        at = datetime.fromisoformat(value) if _INSTANT.fullmatch(value) else None
        if at is not None and at.tzinfo is not None:
            return at.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise PydanticCustomError("invalid_format", "Must be an ISO 8601 instant with a zone, such as 2026-11-23T11:13:55Z.")


WireInstant = Annotated[
    datetime,
    BeforeValidator(_read_instant, json_schema_input_type=Annotated[str, Field(json_schema_extra={"format": "date-time"})]),
]
# An id of any shape that is unknown is 404, never 422: what is no text is looked up as an id that nothing has.
AnyId = Annotated[
    str | None,
    BeforeValidator(
        lambda value: value if value is None or isinstance(value, str) else UNKNOWN_ID, json_schema_input_type=str | None
    ),
]


class ReceiptBody(BaseModel):
    """A receipt as it is sent; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, title="Receipt")

    provider: Provider = Field(description="Who sent the payment event.")
    provider_event_id: Reference | None = Field(
        default=None, description="The provider's own id of the event. Required for shopify; for stripe, or `stripe_event_id`."
    )
    stripe_event_id: Reference | None = Field(default=None, description="In place of `provider_event_id`, stripe only.")
    event_type: EventType = Field(description="The provider's name of what happened; it must be one of this provider's.")
    effect_type: EffectType = Field(description="The business effect that your app now owes.")
    internal_reference: Reference = Field(description="Your own id of the thing affected.")
    occurred_at: WireInstant = Field(description="When it happened: ISO 8601 with a zone.")
    shopify_shop_domain: Reference | None = Field(default=None, description="Required for shopify, and for shopify only.")
    timeout_minutes: Minutes | None = Field(
        default=None,
        description="When the result is due, in place of the project's default. Whole minutes from 1 to 10080 in a live "
        "project; a test project also takes decimals down to 0.01.",
        json_schema_extra={"minimum": MINIMUM_TIMEOUT_MINUTES["test"], "maximum": MAXIMUM_TIMEOUT_MINUTES},
    )
    # Any: the event's own JSON, whatever it holds.
    payload: dict[str, Any] | None = Field(
        default=None,
        description="A snapshot of at most 32 KiB, kept, encrypted and for 30 days, only if the project wants them. One that "
        "cannot be kept is dropped, and the event's timeline notes it.",
    )


class ResultBody(BaseModel):
    """A result as it is sent; unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, title="Result")

    event_id: AnyId = Field(default=None, description="Our id of the event, from the receipt's answer.")
    provider_event_id: Reference | None = Field(default=None, description="Or the provider's own id of the event.")
    stripe_event_id: Reference | None = Field(default=None, description="Or the same, implying stripe.")
    provider: Provider | None = Field(default=None, description="Whose `provider_event_id` it is, where that is not plain.")
    effect_type: EffectType | None = Field(default=None, description="Only needed where one provider event has several effects.")
    status: ResultStatus = Field(description="Whether the business effect was applied.")
    error_code: Prose = Field(
        default=None, description="Your own code of the failure; 255 characters are kept. Ignored beside a success."
    )
    error_message: Prose = Field(
        default=None, description="What went wrong, for people; 2,048 characters are kept. Ignored beside a success."
    )
    replay_id: AnyId = Field(default=None, description="The repair that this result reports on.")


def receipt_of(content: Json, *, project: Project, request_id: str) -> NewReceipt:
    """The receipt that the JSON object states, for this project.

    Raises: ValidationFailed.
    """
    sent_payload = content.get("payload")
    body = validated(ReceiptBody, {**content, "payload": None} if sent_payload is not None else content)
    errors = [*_receipt_id_errors(body), *_shop_errors(body)]
    if body.event_type not in EVENT_TYPES_OF[body.provider]:
        errors.append(FieldError("/event_type", "unknown_value", "Is not an event type of this provider."))
    if body.timeout_minutes is not None:
        errors.extend(timeout_errors(body.timeout_minutes, livemode=project.livemode))
    if errors:
        raise ValidationFailed(errors=tuple(errors))
    payload, payload_note = payload_of(sent_payload) if project.snapshots else (None, None)
    provider_event_id = body.provider_event_id or body.stripe_event_id or ""
    return NewReceipt(
        project_id=project.id,
        livemode=project.livemode,
        provider=body.provider,
        provider_event_id=provider_event_id,
        stripe_event_id=provider_event_id if body.provider is Provider.STRIPE else None,
        event_type=body.event_type,
        effect_type=body.effect_type,
        internal_reference=body.internal_reference,
        shopify_shop_domain=body.shopify_shop_domain,
        occurred_at=body.occurred_at,
        timeout_minutes=project.timeout_minutes if body.timeout_minutes is None else body.timeout_minutes,
        request_id=request_id,
        payload=payload,
        payload_note=payload_note,
    )


def result_of(content: Json, *, project: Project, request_id: str) -> NewResult:
    """The result that the JSON object states, for this project.

    Raises: ValidationFailed.
    """
    body = validated(ResultBody, content)
    errors = _result_errors(body)
    if errors:
        raise ValidationFailed(errors=tuple(errors))
    return NewResult(
        project_id=project.id,
        event_id=None if body.event_id is None else EventId(known_id(body.event_id)),
        provider_event_id=body.provider_event_id,
        stripe_event_id=body.stripe_event_id,
        provider=Provider.STRIPE if body.stripe_event_id is not None else body.provider,
        effect_type=body.effect_type,
        status=body.status,
        error_code=prose_kept(body.error_code, status=body.status, characters=ERROR_CODE_CHARACTERS),
        error_message=prose_kept(body.error_message, status=body.status, characters=LONGEST),
        replay_id=None if body.replay_id is None else ReplayId(known_id(body.replay_id)),
        request_id=request_id,
    )


def _receipt_id_errors(body: ReceiptBody) -> list[FieldError]:
    if body.provider is Provider.SHOPIFY:
        if body.stripe_event_id is not None:
            return [FieldError("/stripe_event_id", "not_allowed", "Is for stripe only.")]
        return [] if body.provider_event_id else [_required("/provider_event_id")]
    if body.provider_event_id is None and body.stripe_event_id is None:
        return [_required("/provider_event_id")]
    return _unequal_ids(body.provider_event_id, body.stripe_event_id)


def _unequal_ids(provider_event_id: str | None, stripe_event_id: str | None) -> list[FieldError]:
    if None in (provider_event_id, stripe_event_id) or provider_event_id == stripe_event_id:
        return []
    return [FieldError("/stripe_event_id", "mismatch", "Must be equal to provider_event_id where both are given.")]


def _shop_errors(body: ReceiptBody) -> list[FieldError]:
    is_shopify, is_given = body.provider is Provider.SHOPIFY, body.shopify_shop_domain is not None
    if is_shopify and not is_given:
        return [_required("/shopify_shop_domain")]
    if is_given and not is_shopify:
        return [FieldError("/shopify_shop_domain", "not_allowed", "Is for shopify only.")]
    return []


def _result_errors(body: ResultBody) -> list[FieldError]:
    errors = _unequal_ids(body.provider_event_id, body.stripe_event_id)
    if body.event_id is None and body.provider_event_id is None and body.stripe_event_id is None:
        message = "One of event_id, provider_event_id and stripe_event_id is required."
        errors.append(FieldError("/event_id", "required", message))
    if body.stripe_event_id is not None and body.provider is Provider.SHOPIFY:
        errors.append(FieldError("/provider", "mismatch", "Must be stripe where stripe_event_id is given."))
    return errors


def _required(pointer: str) -> FieldError:
    return FieldError(pointer, "required", "This field is required.")
