"""The orders of the lists, the position of a row in them, and the cursors of their pages.

A row's position is a number, its instant or amount, and its id. Every order has an index that ends
with both, so that a page begins at its first row.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import NamedTuple

from domain.errors import FieldError, ValidationFailed
from domain.search.sorting import EVENT_SORTS, NEWEST_FIRST, SORTS
from domain.values.timestamps import ceil_unix_ms, to_unix_ms
from store.db.paging import read_cursor, write_cursor

OLDEST_MS, NEWEST_MS = -(2**62), 2**62


class Key(NamedTuple):
    """The position of a row in its list: its number, mostly in Unix milliseconds, and its id."""

    at_ms: int
    id: str


@dataclass(frozen=True, slots=True)
class ListedTable:
    """A table with a list, in one of its orders. `id_form` is the form of its ids.

    `at` is the column of the order, largest first unless `is_ascending`. `created_at` is that of
    the instant at which a row came.
    """

    name: str
    at: str
    id: str
    id_form: str
    created_at: str
    sort: str = NEWEST_FIRST
    is_ascending: bool = False

    @property
    def beyond(self) -> str:
        """The comparison of a row with the key of one before it."""
        return ">" if self.is_ascending else "<"

    @property
    def before(self) -> str:
        return "<" if self.is_ascending else ">"

    @property
    def direction(self) -> str:
        return "ASC" if self.is_ascending else "DESC"

    @property
    def is_of_events(self) -> bool:
        """Whether it is the list of events, not that of incidents."""
        return self.name == EVENT_LIST.name

    @property
    def is_by_time(self) -> bool:
        return self.at == self.created_at

    def in_order(self, keys: Iterable[Key]) -> list[Key]:
        return sorted(keys, reverse=not self.is_ascending)


EVENT_LIST = ListedTable("receipts", "accepted_at", "event_id", "evt_[0-9a-f]{32}", "accepted_at")
INCIDENT_LIST = ListedTable("incidents", "opened_at", "id", "inc_[0-9a-f]{32}", "opened_at")
# `sort_amount` is -1 without an amount, so that such incidents have a place too.
_EVENT_COLUMNS = {"opened_at": "accepted_at", "deadline_at": "deadline_at"}
_COLUMNS = {"opened_at": "opened_at", "deadline_at": "deadline_at", "amount": "sort_amount"}


def incident_list(sort: str | None) -> ListedTable:
    """The list of incidents in an order. Raises: ValidationFailed for an unknown one."""
    return _ordered(INCIDENT_LIST, sort, SORTS, _COLUMNS)


def event_list(sort: str | None) -> ListedTable:
    """The list of events in an order; by deadline it has those that wait, or are expected, alone.

    Raises: ValidationFailed for an unknown order.
    """
    return _ordered(EVENT_LIST, sort, EVENT_SORTS, _EVENT_COLUMNS)


def _ordered(
    table: ListedTable, sort: str | None, known: Sequence[str], columns: Mapping[str, str]
) -> ListedTable:
    if sort is None:
        return table
    if sort not in known:
        message = f"Must be one of {', '.join(known)}."
        raise ValidationFailed(errors=(FieldError("/sort", "unknown_value", message),))
    at = columns[sort.removeprefix("-")]
    return replace(table, at=at, sort=str(sort), is_ascending=not sort.startswith("-"))


@dataclass(frozen=True, slots=True)
class Bounds:
    """The rows beyond the key `start` and before the number `end`, in the order of the list."""

    end: int
    start: Key

    @property
    def values(self) -> dict[str, int | str]:
        return {"end": self.end, "start_at": self.start.at_ms, "start_id": self.start.id}


def read_bounds(
    table: ListedTable, cursor: str | None, *, after: datetime | None, before: datetime | None
) -> Bounds:
    """The bounds of a page. Rows have whole milliseconds: `before` is rounded up, `after` down.

    In an order by another number than the instant of a row, `after` and `before` are no bounds.
    Raises: ValidationFailed for a cursor of another list or order.
    """
    first = OLDEST_MS if after is None or not table.is_by_time else to_unix_ms(after)
    last = NEWEST_MS if before is None or not table.is_by_time else ceil_unix_ms(before)
    # No id is empty: a key without one is before all rows of its number.
    start, end = (Key(first + 1, ""), last) if table.is_ascending else (Key(last, ""), first)
    if cursor is not None:
        form = rf"{re.escape(_prefix(table))}(-?\d{{1,18}}):({table.id_form})"
        found = read_cursor(cursor, re.compile(form))
        given = Key(int(found[1]), found[2])
        start = max(start, given) if table.is_ascending else min(start, given)
    return Bounds(end, start)


def next_page_cursor(table: ListedTable, keys: Sequence[Key], limit: int) -> str | None:
    """The cursor after the first `limit` keys; None if there are no more."""
    if len(keys) <= limit:
        return None
    last = keys[limit - 1]
    return write_cursor(f"{_prefix(table)}{last.at_ms}:{last.id}")


def _prefix(table: ListedTable) -> str:
    """A cursor of one order is refused in another one."""
    return "" if table.sort == NEWEST_FIRST else f"{table.sort}:"
