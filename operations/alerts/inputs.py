"""The input models of alert destinations, with their limits, for REST, the console and the command
line.

Every error names its field. No message repeats a value.
"""

from dataclasses import fields
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints
from pydantic_core import PydanticCustomError

from domain.alerts import AlertChannel, AlertDestination, AlertEvent
from domain.errors import FieldError, ValidationFailed
from domain.projects import UNSET
from operations.inputs import EmailAddress, Name
from store.alerts.destinations import DestinationChanges

LONGEST_URL = 2_048
# The field that takes the target of each kind.
TARGET_FIELDS: dict[str, str] = {
    AlertChannel.EMAIL: "address",
    AlertChannel.SLACK: "url",
    AlertChannel.TEAMS: "url",
    AlertChannel.PAGERDUTY: "routing_key",
    AlertChannel.WEBHOOK: "url",
}
_TARGETS = ("address", "url", "routing_key")
_SPELLINGS = {"is_disabled": "disabled"}

Url = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=LONGEST_URL, strip_whitespace=True, pattern=r"^[^\x00]*$"
    ),
]
RoutingKey = Annotated[
    str, StringConstraints(strip_whitespace=True, pattern=r"^[A-Za-z0-9_-]{16,64}$")
]


def _some(events: list[AlertEvent]) -> list[AlertEvent]:
    if events:
        return events
    message = "Choose at least one event, or all. A disabled destination gets none."
    raise PydanticCustomError("invalid_format", message)


Events = Annotated[
    list[AlertEvent],
    Field(max_length=100, json_schema_extra={"minItems": 1}),
    AfterValidator(_some),
]
_EVENTS = "The events that are sent there. Null: all, also those of a later version."


class DestinationTarget(BaseModel):
    """The target of a destination, under the name that its kind has."""

    address: EmailAddress | None = Field(default=None, description="Of `email`.")
    url: Url | None = Field(
        default=None,
        description="Of `slack`, `teams` and `webhook`: a public https URL. It is stored encrypted,"
        " and never shown.",
        repr=False,
    )
    routing_key: RoutingKey | None = Field(
        default=None,
        description="Of `pagerduty`: the integration key of an Events API v2 integration. It is"
        " stored encrypted, and never shown.",
        repr=False,
    )


class NewDestinationBody(DestinationTarget):
    """A new alert destination."""

    model_config = ConfigDict(frozen=True, title="NewAlertDestination")

    kind: AlertChannel
    label: Name | None = Field(default=None, description="A name for people.")
    events: Events | None = Field(default=None, description=_EVENTS)


class DestinationPatch(DestinationTarget):
    """New values for some fields of a destination. Omitted fields keep their value.

    The kind and an e-mail address never change: add another destination.
    """

    model_config = ConfigDict(frozen=True, title="AlertDestinationChanges")

    label: Name | None = Field(default=None, description="Null: none.")
    events: Events | None = Field(default=None, description=_EVENTS)
    disabled: Annotated[bool, Field(strict=True)] = Field(
        default=False, description="Nothing is sent to a disabled destination."
    )
    # Given only to be refused.
    kind: AlertChannel | None = Field(default=None, description="Must be the destination's own.")


def target_of(body: DestinationTarget, kind: str, *, is_required: bool) -> str | None:
    """The target in the field of this kind; None if it is not given.

    Raises: ValidationFailed: it is missing, or another kind's is given.
    """
    own = TARGET_FIELDS.get(kind, "")
    errors = [
        FieldError(f"/{name}", "not_allowed", f"A {kind} destination takes {own or 'no target'}.")
        for name in _TARGETS
        if name != own and getattr(body, name) is not None
    ]
    target: str | None = getattr(body, own) if own else None
    is_null = own in body.model_fields_set
    if target is None and (is_required or is_null):
        errors.append(FieldError(f"/{own}", "required", "This field is required."))
    if errors:
        raise ValidationFailed(errors=tuple(errors))
    return target


def changed_target(patch: DestinationPatch, before: AlertDestination) -> str | None:
    """The new secret target; None if it stays. Raises: ValidationFailed."""
    if patch.kind is not None and patch.kind != before.channel:
        message = "The kind of a destination never changes: add another destination."
        raise ValidationFailed(errors=(FieldError("/kind", "not_allowed", message),))
    target = target_of(patch, before.channel, is_required=False)
    if before.target is None or target is None or target == before.target:
        return None if before.target is not None else target
    message = "An address never changes: add another destination."
    raise ValidationFailed(errors=(FieldError("/address", "not_allowed", message),))


def given_fields(changes: DestinationChanges) -> list[str]:
    """The names of the fields that are given, as REST spells them."""
    names = [one.name for one in fields(DestinationChanges)]
    given = [name for name in names if getattr(changes, name) is not UNSET]
    return [_SPELLINGS.get(name, name) for name in given]
