"""Validates what a caller sends, for every surface: Pydantic models, ids, texts and timeouts, and the contract's field errors.

Messages say what is expected and never repeat what was sent.
"""

import re
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from domain.errors import FieldError, ValidationFailed
from domain.receipts import MAXIMUM_TIMEOUT_MINUTES, MINIMUM_TIMEOUT_MINUTES
from domain.values.text import LONGEST, is_storable

# An id of no shape of ours names nothing; it is looked up under a name that nothing can have.
UNKNOWN_ID = "unknown"
_ID = re.compile(r"[\x21-\x7e]{1,64}")

# Pydantic's error types as the contract's field errors; a type that is not here is told as `invalid_value`.
_MESSAGES: dict[str, tuple[str, str]] = {
    "missing": ("required", "This field is required."),
    "string_type": ("wrong_type", "Must be a string."),
    "string_too_short": ("too_short", "Must not be empty."),
    "string_too_long": ("too_long", "Is too long."),
    "string_pattern_mismatch": ("invalid_format", "Must not hold the NUL character."),
    "float_type": ("wrong_type", "Must be a number."),
    "finite_number": ("out_of_range", "Must be a finite number."),
    "bool_type": ("wrong_type", "Must be true or false."),
    "dict_type": ("wrong_type", "Must be an object."),
    "list_type": ("wrong_type", "Must be an array."),
    "tuple_type": ("wrong_type", "Must be an array."),
    "too_long": ("too_long", "Has too many entries."),
    "int_parsing": ("wrong_type", "Must be a whole number."),
    "int_type": ("wrong_type", "Must be a whole number."),
    "greater_than_equal": ("out_of_range", "Is too small."),
    "less_than_equal": ("out_of_range", "Is too large."),
}

# Any: JSON, whose shape the model decides.
Json: TypeAlias = dict[str, Any]
M = TypeVar("M", bound=BaseModel)
Reference = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
Minutes = Annotated[float, Field(strict=True, allow_inf_nan=False)]


class ResolveBody(BaseModel):
    """Why an incident is resolved by hand."""

    model_config = ConfigDict(frozen=True, title="Resolve")

    reason: Annotated[str, StringConstraints(min_length=1, max_length=LONGEST, strip_whitespace=True, pattern=r"^[^\x00]*$")]


def validated(model: type[M], content: Json) -> M:
    """The content as the model.

    Raises: ValidationFailed.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ValidationFailed(errors=field_errors(error)) from None


def field_errors(error: ValidationError) -> tuple[FieldError, ...]:
    """What is wrong, place by place, in the contract's form."""
    return tuple(field_error(problem) for problem in error.errors(include_url=False, include_input=False))


# Any: Pydantic's own account of an error.
def field_error(problem: Any, *, skip: int = 0) -> FieldError:
    """One of Pydantic's errors in the contract's form; the first `skip` steps of its place are not in the body."""
    pointer, kind = pointer_to(problem["loc"][skip:]), problem["type"]
    if kind in ("enum", "literal_error"):
        return FieldError(pointer, "unknown_value", f"Must be {problem['ctx']['expected']}.")
    if kind in _MESSAGES:
        return FieldError(pointer, *_MESSAGES[kind])
    if kind in ("wrong_type", "invalid_format"):  # our own validators, whose messages quote nothing
        return FieldError(pointer, kind, problem["msg"])
    return FieldError(pointer, "invalid_value", "Is not of the expected form.")


def timeout_errors(minutes: float, *, livemode: bool) -> list[FieldError]:
    """What is wrong with a timeout in a project of this mode."""
    if livemode and not minutes.is_integer():
        return [FieldError("/timeout_minutes", "wrong_type", "Must be whole minutes in a live project.")]
    minimum = MINIMUM_TIMEOUT_MINUTES["live" if livemode else "test"]
    if not minimum <= minutes <= MAXIMUM_TIMEOUT_MINUTES:
        message = f"Must be from {minimum:g} to {MAXIMUM_TIMEOUT_MINUTES} minutes."
        return [FieldError("/timeout_minutes", "out_of_range", message)]
    return []


def known_id(identifier: str) -> str:
    """The id as it may be looked up; what has no shape of an id is unknown, never an error."""
    return identifier if _ID.fullmatch(identifier) else UNKNOWN_ID


def check_texts(**texts: str | None) -> None:
    """Refuses text that no database takes; each is named as its parameter is. None is none.

    Raises: ValidationFailed.
    """
    if ill_formed := [name for name, text in texts.items() if text is not None and not is_storable(text)]:
        message = "Must be well-formed Unicode without the NUL character."
        raise ValidationFailed(errors=tuple(FieldError(f"/{name}", "invalid_format", message) for name in ill_formed))


def pointer_to(location: tuple[int | str, ...]) -> str:
    """The RFC 6901 pointer of a place in the body."""
    return "".join("/" + str(step).replace("~", "~0").replace("/", "~1") for step in location)
