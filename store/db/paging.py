"""Pages of lists: a page by keyset on an id, and the cursors that continue one. Reads in the caller's session."""

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from sqlalchemy import ColumnElement, Row, Select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, ValidationFailed

# Of each list by its key: the cursor of one says nothing in the other.
_CURSORS = {"event_id": re.compile(r"evt_[0-9a-f]{32}"), "id": re.compile(r"inc_[0-9a-f]{32}")}

# Of a list that has no pages: keys, invitations and members of a project, sessions of a person.
LISTED_AT_MOST = 1_000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some rows; `next_cursor` is None at the end."""

    rows: tuple[T, ...]
    next_cursor: str | None


async def page_of_rows(
    session: AsyncSession, query: Select[Any], column: ColumnElement[str], *, limit: int, cursor: str | None
) -> tuple[Sequence[Row[Any]], str | None]:
    """Up to `limit` rows of the query, newest first by the id in `column`, and the cursor of the next page.

    Raises: ValidationFailed for a cursor that is none of this list's.
    """
    if cursor is not None:
        query = query.where(column < _id_in(cursor, of=column.name))
    # One more than asked for tells whether there is a next page.
    rows = (await session.execute(query.order_by(column.desc()).limit(limit + 1))).all()
    if len(rows) <= limit:
        return rows, None
    last: str = getattr(rows[limit - 1], column.name)
    return rows[:limit], write_cursor(last)


def write_cursor(text: str) -> str:
    """A cursor that holds this ASCII text."""
    return base64.urlsafe_b64encode(text.encode()).decode().rstrip("=")


def read_cursor(cursor: str, form: re.Pattern[str]) -> re.Match[str]:
    """What a cursor holds, as the form has it. Raises: ValidationFailed when it holds something else."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode("ascii")
    except (binascii.Error, ValueError):
        text = "\0"
    if (found := form.fullmatch(text)) is None:
        raise ValidationFailed(errors=(FieldError("/cursor", "invalid", "This cursor did not come from this list."),))
    return found


def _id_in(cursor: str, *, of: str) -> str:
    return read_cursor(cursor, _CURSORS[of]).group()
