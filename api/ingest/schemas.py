"""The request models of receipts and results, and their conversion to domain values.

A body is validated once. The conversion applies the project's mode and defaults. Messages say what
is expected and never repeat input. Models never leave `api`.
"""

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, StrictBool

from api.ingest.lenient_fields import (
    ERROR_CODE_CHARACTERS,
    ErrorText,
    payload_of,
    stored_error_text,
)
from domain.errors import FieldError, ValidationFailed
from domain.ids import EventId, ReplayId
from domain.projects import Project
from domain.receipts import (
    MAXIMUM_TIMEOUT_MINUTES,
    MINIMUM_TIMEOUT_MINUTES,
    NewReceipt,
    Provider,
)
from domain.results import NewResult, ResultStatus
from domain.values.text import LONGEST
from operations.names import (
    KnownEffectType,
    KnownProvider,
    NewEffectType,
    NewEventType,
    NewProvider,
)
from operations.validation import (
    UNKNOWN_ID,
    Amount,
    Currency,
    Json,
    Minutes,
    Reference,
    WireInstant,
    known_id,
    timeout_errors,
    validated,
)


def _id_or_unknown(value: object) -> str | None:
    return value if value is None or isinstance(value, str) else UNKNOWN_ID


# An unknown id is 404 and never 422, whatever its type. A value that is no string becomes an id
# that does not exist.
AnyId = Annotated[str | None, BeforeValidator(_id_or_unknown, json_schema_input_type=str | None)]


class ReceiptBody(BaseModel):
    """The body of a receipt. Unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, title="Receipt")

    provider: NewProvider = Field(
        description="The provider that sent the payment event: stripe, shopify or one of the "
        "project's own."
    )
    provider_event_id: Reference | None = Field(
        default=None,
        description="The provider's event id. Required; stripe has an alternative.",
    )
    stripe_event_id: Reference | None = Field(
        default=None, description="An alternative to `provider_event_id`, for stripe only."
    )
    event_type: NewEventType = Field(
        description="The provider's name of the event's type. It must belong to the provider."
    )
    effect_type: NewEffectType = Field(description="The business effect that your app must apply.")
    internal_reference: Reference = Field(description="Your own id of the affected object.")
    occurred_at: WireInstant = Field(
        description="When the event occurred: ISO 8601 with a time zone."
    )
    shopify_shop_domain: Reference | None = Field(
        default=None, description="Required for shopify. Not allowed for other providers."
    )
    timeout_minutes: Minutes | None = Field(
        default=None,
        description="Minutes until the result is due; the default is the project's setting. "
        "A live project accepts whole minutes from 1 to 10080. "
        "A test project also accepts decimals from 0.01.",
        json_schema_extra={
            "minimum": MINIMUM_TIMEOUT_MINUTES["test"],
            "maximum": MAXIMUM_TIMEOUT_MINUTES,
        },
    )
    # Any: the event's own JSON.
    payload: dict[str, Any] | None = Field(
        default=None,
        description="A snapshot of the event, at most 32 KiB. It is stored for 30 days, encrypted, "
        "if the project has snapshots turned on. A snapshot that cannot be stored is dropped, "
        "with a note in the event's timeline.",
    )
    amount: Amount | None = Field(
        default=None,
        description="What is at risk if the effect is missing, in the currency's minor unit. "
        "Send it together with `currency`.",
    )
    currency: Currency | None = Field(
        default=None, description="The ISO 4217 code of the amount's currency, such as `EUR`."
    )
    customer_reference: Reference | None = Field(
        default=None, description="Your own id of the customer who paid. Operators can search it."
    )


class ResultBody(BaseModel):
    """The body of a result. Unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, title="Result")

    event_id: AnyId = Field(
        default=None, description="The `event_id` in the response to the receipt."
    )
    provider_event_id: Reference | None = Field(
        default=None, description="An alternative to `event_id`: the provider's id of the event."
    )
    stripe_event_id: Reference | None = Field(
        default=None, description="An alternative to `event_id`: Stripe's id of the event."
    )
    provider: KnownProvider | None = Field(
        default=None,
        description="Needed only if several providers have an event with this id.",
    )
    effect_type: KnownEffectType | None = Field(
        default=None, description="Needed only if one provider event has several effects."
    )
    status: ResultStatus = Field(description="Whether the business effect was applied.")
    error_code: ErrorText = Field(
        default=None,
        description="Your own failure code, cut to 255 characters. Ignored for a success.",
    )
    error_message: ErrorText = Field(
        default=None,
        description="The reason of the failure, cut to 2,048 characters. Ignored for a success.",
    )
    replay_id: AnyId = Field(default=None, description="The repair whose result this is.")
    already_applied: StrictBool | None = Field(
        default=None,
        description="For a success: the effect was found applied, and nothing was done.",
    )


def parse_receipt(content: Json, *, project: Project, request_id: str) -> NewReceipt:
    """Convert the JSON object to a receipt of this project.

    Raises: ValidationFailed.
    """
    sent_payload = content.get("payload")
    without_payload = {**content, "payload": None} if sent_payload is not None else content
    body = validated(ReceiptBody, without_payload, context=project)
    errors = [*_receipt_id_errors(body), *_shop_errors(body), *_amount_errors(body)]
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
        stripe_event_id=provider_event_id if body.provider == Provider.STRIPE else None,
        event_type=body.event_type,
        effect_type=body.effect_type,
        internal_reference=body.internal_reference,
        shopify_shop_domain=body.shopify_shop_domain,
        occurred_at=body.occurred_at,
        timeout_minutes=(
            project.timeout_minutes if body.timeout_minutes is None else body.timeout_minutes
        ),
        request_id=request_id,
        payload=payload,
        payload_note=payload_note,
        amount=body.amount,
        currency=body.currency,
        customer_reference=body.customer_reference,
    )


def parse_result(content: Json, *, project: Project, request_id: str) -> NewResult:
    """Convert the JSON object to a result of this project.

    Raises: ValidationFailed.
    """
    body = validated(ResultBody, content, context=project)
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
        error_code=stored_error_text(
            body.error_code, status=body.status, characters=ERROR_CODE_CHARACTERS
        ),
        error_message=stored_error_text(body.error_message, status=body.status, characters=LONGEST),
        replay_id=None if body.replay_id is None else ReplayId(known_id(body.replay_id)),
        request_id=request_id,
        already_applied=body.already_applied is True,
    )


def _receipt_id_errors(body: ReceiptBody) -> list[FieldError]:
    if body.provider != Provider.STRIPE:
        if body.stripe_event_id is not None:
            return [FieldError("/stripe_event_id", "not_allowed", "Must be sent for stripe only.")]
        return [] if body.provider_event_id else [_required("/provider_event_id")]
    if body.provider_event_id is None and body.stripe_event_id is None:
        return [_required("/provider_event_id")]
    return _unequal_ids(body.provider_event_id, body.stripe_event_id)


def _unequal_ids(provider_event_id: str | None, stripe_event_id: str | None) -> list[FieldError]:
    if None in (provider_event_id, stripe_event_id) or provider_event_id == stripe_event_id:
        return []
    message = "Must be equal to provider_event_id if both are sent."
    return [FieldError("/stripe_event_id", "mismatch", message)]


def _shop_errors(body: ReceiptBody) -> list[FieldError]:
    is_shopify, is_given = body.provider == Provider.SHOPIFY, body.shopify_shop_domain is not None
    if is_shopify and not is_given:
        return [_required("/shopify_shop_domain")]
    if is_given and not is_shopify:
        return [FieldError("/shopify_shop_domain", "not_allowed", "Must be sent for shopify only.")]
    return []


def _amount_errors(body: ReceiptBody) -> list[FieldError]:
    """An amount without its currency means nothing, and a currency alone neither."""
    if (body.amount is None) is (body.currency is None):
        return []
    return [_required("/currency" if body.currency is None else "/amount")]


def _result_errors(body: ResultBody) -> list[FieldError]:
    errors = _unequal_ids(body.provider_event_id, body.stripe_event_id)
    if body.event_id is None and body.provider_event_id is None and body.stripe_event_id is None:
        message = "Send event_id, provider_event_id or stripe_event_id."
        errors.append(FieldError("/event_id", "required", message))
    if body.stripe_event_id is not None and body.provider not in {None, Provider.STRIPE}:
        errors.append(
            FieldError("/provider", "mismatch", "Must be stripe if stripe_event_id is sent.")
        )
    if body.already_applied and body.status is not ResultStatus.SUCCESS:
        message = "Must be sent with the status success only."
        errors.append(FieldError("/already_applied", "not_allowed", message))
    return errors


def _required(pointer: str) -> FieldError:
    return FieldError(pointer, "required", "This field is required.")
