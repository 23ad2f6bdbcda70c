"""The base of the response models, and the types of instants and ids in JSON."""

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Self, TypeVar

from pydantic import (
    BaseModel,
    Field,
    PlainSerializer,
    ValidationError,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from domain.values.timestamps import to_iso


def _member_or_text(value: object, validate: ValidatorFunctionWrapHandler) -> object:
    try:
        return validate(value)
    except ValidationError:
        if isinstance(value, str):
            return value
        raise


Member = TypeVar("Member", bound=StrEnum)
# A member of an enumeration, or the text of a newer version. The schema names the members.
OrNewer = Annotated[
    Member, WrapValidator(_member_or_text), PlainSerializer(lambda value: str(value))
]

At = Annotated[
    datetime,
    PlainSerializer(to_iso, return_type=str),
    Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-23T11:13:55.123Z"]),
]
WARNINGS = Field(
    description="Sentences for people: what the change means for receipts. Empty: nothing special."
)
EventIdText = Annotated[str, Field(examples=["evt_019ab01c2d3e7f4a8b5c6d7e8f901234"])]
IncidentIdText = Annotated[str, Field(examples=["inc_019ab01c2d3e7f4a8b5c6d7e8f901234"])]
GroupIdText = Annotated[str, Field(examples=["grp_019ab01c2d3e7f4a8b5c6d7e8f901234"])]
ReplayIdText = Annotated[str, Field(examples=["rpl_019ab01c2d3e7f4a8b5c6d7e8f901234"])]


class Response(BaseModel):
    """A JSON object of the contract."""

    @classmethod
    def from_value(cls, value: object, /, **fields: object) -> Self:
        """The response to a domain value.

        `fields` are those that the value does not have. All others are its attributes of the same
        name.
        """
        names = cls.model_fields.keys() - fields.keys()
        return cls.model_validate({name: getattr(value, name) for name in names} | fields)

    # Any: JSON values.
    def to_json(self) -> dict[str, Any]:
        """The fields as JSON values, in the order of the model."""
        return self.model_dump(mode="json")
