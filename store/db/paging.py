"""The pages of a list, and their cursors."""

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Generic, TypeVar

from domain.errors import FieldError, ValidationFailed

# The limit of a list without pages: keys, invitations and members of a project, sessions of a user.
LISTED_AT_MOST = 1_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of rows. `next_cursor` is None on the last page."""

    rows: tuple[T, ...]
    next_cursor: str | None


def write_cursor(text: str) -> str:
    """Encode this ASCII text as a cursor."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, form: re.Pattern[str]) -> re.Match[str]:
    """Decode a cursor and match it with `form`. Raises: ValidationFailed when it differs."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        text = "\0"
    if (found := form.fullmatch(text)) is None:
        problem = FieldError("/cursor", "invalid", "This cursor did not come from this list.")
        raise ValidationFailed(errors=(problem,))
    return found
