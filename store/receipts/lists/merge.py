"""Reads the ranges of a list side by side: their keys come newest first, part by part.

A range is read further only when all its keys were returned. So a range with few rows is not read
again while one with many rows goes on.
"""

from collections.abc import Sequence

from store.db.sql import Statements
from store.receipts.lists.ranges import Bounds, Key, ListedTable, Ranges, newest_of_each

LEAST_OF_EACH = 5


class MergedRanges:
    """The keys of the ranges within the bounds, newest first. `read` returns the next ones."""

    def __init__(self, of: ListedTable, ranges: Ranges, bounds: Bounds) -> None:
        self._of, self._ranges, self._after_ms = of, ranges, bounds.after_ms
        # By the number of the range: the last key read, and the keys read but not yet returned.
        self._last = [bounds.below] * len(ranges.values)
        self._ahead: list[list[Key]] = [[] for _ in ranges.values]
        self._unread = set(range(len(ranges.values)))

    @property
    def is_done(self) -> bool:
        """Whether all keys were returned."""
        return not self._unread and not any(self._ahead)

    async def read(self, st: Statements, rows: int) -> list[Key]:
        """The next keys; about `rows` are read, and at least one is returned if there is one."""
        wanted = sorted(number for number in self._unread if not self._ahead[number])
        of_each = max(LEAST_OF_EACH, rows // max(1, len(wanted)))
        ranges = Ranges(self._ranges.columns, tuple(self._ranges.values[n] for n in wanted))
        lists = await newest_of_each(
            st,
            self._of,
            ranges,
            [self._last[number] for number in wanted],
            after_ms=self._after_ms,
            of_each=of_each,
        )
        self._add(wanted, lists, of_each)
        return self._complete()

    def _add(self, numbers: Sequence[int], lists: Sequence[list[Key]], of_each: int) -> None:
        for number, keys in zip(numbers, lists, strict=True):
            self._ahead[number] = keys
            if keys:
                self._last[number] = keys[-1]
            if len(keys) < of_each:
                self._unread.discard(number)

    def _complete(self) -> list[Key]:
        """The keys that no key still to be read precedes."""
        least = max((self._last[number] for number in self._unread), default=None)
        found: list[Key] = []
        for number, keys in enumerate(self._ahead):
            complete = [key for key in keys if least is None or key >= least]
            found += complete
            self._ahead[number] = keys[len(complete) :]
        return sorted(found, reverse=True)
