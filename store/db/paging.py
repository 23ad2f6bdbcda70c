"""Keyset pagination on an id, and cursors. Reads in the caller's session."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Row, Select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, ValidationFailed

# By the name of the list's key column: a cursor of one list is invalid in the other.
_CURSORS = {"event_id": re.compile(r"evt_[0-9a-f]{32}"), "id": re.compile(r"inc_[0-9a-f]{32}")}

# The limit of a list without pages: keys, invitations and members of a project, sessions of a user.
LISTED_AT_MOST = 1_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of rows. `next_cursor` is None on the last page."""

    rows: tuple[T, ...]
    next_cursor: str | None


async def page_of_rows(
    session: AsyncSession,
    query: Select[Any],
    column: ColumnElement[str],
    *,
    limit: int,
    cursor: str | None,
) -> tuple[Sequence[Row[Any]], str | None]:
    """Up to `limit` rows of the query and the cursor of the next page.

    The rows are sorted by the id in `column`, newest first.

    Raises: ValidationFailed for a cursor of another list.
    """
    if cursor is not None:
        query = query.where(column < _id_in(cursor, of=column.name))
    # One row more than `limit` shows whether there is a next page.
    rows = (await session.execute(query.order_by(column.desc()).limit(limit + 1))).all()
    if len(rows) <= limit:
        return rows, None
    last: str = getattr(rows[limit - 1], column.name)
    return rows[:limit], write_cursor(last)


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


def _id_in(cursor: str, *, of: str) -> str:
    return read_cursor(cursor, _CURSORS[of]).group()
