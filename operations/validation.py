"""Validates input for REST, the console and the command line: types of fields, ids, texts and
timeouts. The model of a body stands beside the operation that takes it.

Failures become the contract's field errors. A message says what is expected. It never repeats the
value that was sent.
"""

import re
from datetime import datetime
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
)
from pydantic_core import PydanticCustomError

from domain.errors import FieldError, ValidationFailed
from domain.receipts import MAXIMUM_AMOUNT, MAXIMUM_TIMEOUT_MINUTES, MINIMUM_TIMEOUT_MINUTES
from domain.values.text import LONGEST, is_storable
from domain.values.timestamps import parse_instant

# Stands for an ill-formed id: a look-up of it finds nothing, because no id is spelled so.
UNKNOWN_ID = "unknown"
_ID = re.compile(r"[\x21-\x7e]{1,64}")
_CURRENCY = re.compile(r"[A-Za-z]{3}")

# The contract's code and message for each of Pydantic's error types; others become `invalid_value`.
# A limit in braces is Pydantic's. `string_pattern_mismatch`: other patterns use `check_form`.
_MESSAGES: dict[str, tuple[str, str]] = {
    "missing": ("required", "This field is required."),
    "string_type": ("wrong_type", "Must be a string."),
    "string_too_short": ("too_short", "Must have at least {min_length} characters."),
    "string_too_long": ("too_long", "Must be shorter."),
    "string_pattern_mismatch": ("invalid_format", "Must not contain the NUL character."),
    "float_type": ("wrong_type", "Must be a number."),
    "finite_number": ("out_of_range", "Must be a finite number."),
    "bool_type": ("wrong_type", "Must be true or false."),
    "dict_type": ("wrong_type", "Must be an object."),
    "model_type": ("wrong_type", "Must be an object."),
    "list_type": ("wrong_type", "Must be an array."),
    "tuple_type": ("wrong_type", "Must be an array."),
    "too_long": ("too_long", "Must have fewer entries."),
    "too_short": ("too_short", "Must have more entries."),
    "int_parsing": ("wrong_type", "Must be a whole number."),
    "int_type": ("wrong_type", "Must be a whole number."),
    "greater_than_equal": ("out_of_range", "Must be larger."),
    "less_than_equal": ("out_of_range", "Must be smaller."),
}

# Any: a JSON object; the model that validates it knows its shape.
Json: TypeAlias = dict[str, Any]
M = TypeVar("M", bound=BaseModel)
Reference = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
Minutes = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Amount = Annotated[int, Field(strict=True, ge=0, le=MAXIMUM_AMOUNT)]


def _parse_currency(value: object) -> str:
    """The upper-case code. Its shape is checked, not a list, which would refuse a new currency."""
    if not isinstance(value, str):
        raise PydanticCustomError("wrong_type", "Must be a string.")
    if not _CURRENCY.fullmatch(value):
        raise PydanticCustomError("invalid_format", "Must be an ISO 4217 code, such as EUR.")
    return value.upper()


Currency = Annotated[
    str,
    BeforeValidator(
        _parse_currency,
        json_schema_input_type=Annotated[str, Field(pattern="^[A-Za-z]{3}$")],
    ),
]
ReasonText = Annotated[
    str,
    StringConstraints(
        min_length=1, max_length=LONGEST, strip_whitespace=True, pattern=r"^[^\x00]*$"
    ),
]


def check_form(pattern: str, message: str) -> AfterValidator:
    """Check that the whole text matches the pattern. `message` says what is expected."""
    compiled = re.compile(pattern)

    def check(text: str) -> str:
        if compiled.fullmatch(text):
            return text
        raise PydanticCustomError("invalid_format", "{message}", {"message": message})

    return AfterValidator(check)


def _parse_instant(value: object) -> datetime:
    """The UTC instant of an ISO 8601 text with a time zone."""
    if not isinstance(value, str):
        raise PydanticCustomError("wrong_type", "Must be a string.")
    if (at := parse_instant(value)) is not None:
        return at
    message = "Must be an ISO 8601 instant with a time zone, such as 2026-11-23T11:13:55Z."
    raise PydanticCustomError("invalid_format", message)


WireInstant = Annotated[
    datetime,
    BeforeValidator(
        _parse_instant,
        json_schema_input_type=Annotated[str, Field(json_schema_extra={"format": "date-time"})],
    ),
]


def validated(model: type[M], content: Json, *, context: object = None) -> M:
    """The content as the model, whose validators may need the context.

    Raises: ValidationFailed.
    """
    try:
        return model.model_validate(content, context=context)
    except ValidationError as error:
        raise ValidationFailed(errors=field_errors(error)) from None


def field_errors(error: ValidationError) -> tuple[FieldError, ...]:
    """Pydantic's errors as the contract's field errors."""
    return tuple(
        field_error(problem) for problem in error.errors(include_url=False, include_input=False)
    )


# Any: Pydantic's error details, an untyped dictionary.
def field_error(problem: Any, *, skip: int = 0) -> FieldError:
    """One of Pydantic's errors as a field error; the pointer omits the first `skip` path steps."""
    pointer, kind = pointer_to(problem["loc"][skip:]), problem["type"]
    if kind in ("enum", "literal_error"):
        return FieldError(pointer, "unknown_value", f"Must be {problem['ctx']['expected']}.")
    if kind == "string_too_short" and problem["ctx"]["min_length"] == 1:
        return FieldError(pointer, "too_short", "Must not be empty.")
    if kind in _MESSAGES:
        code, message = _MESSAGES[kind]
        return FieldError(pointer, code, message.format(**problem.get("ctx", {})))
    if kind in ("wrong_type", "invalid_format"):  # our own validators: no message quotes input
        return FieldError(pointer, kind, problem["msg"])
    return FieldError(
        pointer, "invalid_value", "Must have the form that the API reference describes."
    )


def timeout_errors(minutes: float, *, livemode: bool) -> list[FieldError]:
    """The errors of a timeout, which depend on the project's mode; empty when it is valid."""
    if livemode and not minutes.is_integer():
        return [
            FieldError(
                "/timeout_minutes",
                "wrong_type",
                "Must be a whole number of minutes in a live project.",
            )
        ]
    minimum = MINIMUM_TIMEOUT_MINUTES["live" if livemode else "test"]
    if not minimum <= minutes <= MAXIMUM_TIMEOUT_MINUTES:
        message = f"Must be from {minimum:g} to {MAXIMUM_TIMEOUT_MINUTES} minutes."
        return [FieldError("/timeout_minutes", "out_of_range", message)]
    return []


def known_id(identifier: str) -> str:
    """The id, or `UNKNOWN_ID` when it is ill-formed: an ill-formed id is not found, not invalid."""
    return identifier if _ID.fullmatch(identifier) else UNKNOWN_ID


def check_texts(**texts: str | None) -> None:
    """Check that the databases can store each text; None is skipped. Keywords are field names.

    Raises: ValidationFailed.
    """
    message = "Must be well-formed Unicode without the NUL character."
    errors = tuple(
        FieldError(f"/{name}", "invalid_format", message)
        for name, text in texts.items()
        if text is not None and not is_storable(text)
    )
    if errors:
        raise ValidationFailed(errors=errors)


def pointer_to(location: tuple[int | str, ...]) -> str:
    """The RFC 6901 JSON pointer of a location in the body."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in location)
