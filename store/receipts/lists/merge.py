"""Reads the ranges of a list side by side: their keys come newest first, part by part.

A part is a span of time. The number of keys in the spans before decides how long the next one is,
so that about as many are read as are wanted, whichever ranges have them. After a span with few
keys the next one is several times as long.
"""

from store.db.sql import Statements
from store.receipts.lists.ranges import Bounds, Key, ListedTable, Ranges, newest_of_each

LEAST_OF_EACH = 5
# A span that begins at the start of a millisecond must reach into the one before.
SHORTEST_SPAN_MS = 2
LONGER_AFTER_FEW = 8


class MergedRanges:
    """The keys of the ranges within the bounds, newest first. `read` returns the next ones.

    All keys from `below` on were returned.
    """

    def __init__(self, table: ListedTable, ranges: Ranges, bounds: Bounds) -> None:
        self._table, self._ranges, self._after_ms = table, ranges, bounds.after_ms
        self._first: Key | None = None
        self._returned = 0
        self._span_ms, self._had_few = 0, False
        self.below = bounds.below
        self.is_done = not ranges.values

    async def read(self, st: Statements, rows: int) -> list[Key]:
        """The next keys, about so many; fewer, or none, before `is_done` where rows are sparse."""
        after_ms, of_each = self._next_part(rows)
        below = [self.below] * len(self._ranges.values)
        lists = await newest_of_each(
            st, self._table, self._ranges, below, after_ms=after_ms, of_each=of_each
        )
        # A range that was read up to the limit may have more keys below its last one.
        cut = max((keys[-1] for keys in lists if len(keys) == of_each), default=None)
        found = sorted(
            (key for keys in lists for key in keys if cut is None or key >= cut), reverse=True
        )
        self.is_done = cut is None and after_ms == self._after_ms
        self.below = cut or Key(after_ms + 1, "")
        self._returned += len(found)
        self._had_few = cut is None and 2 * len(found) < rows
        self._first = self._first or (found[0] if found else None)
        return found

    def _next_part(self, rows: int) -> tuple[int, int]:
        """The instant before the next part, and the limit of each range."""
        if self._first is None:
            return self._after_ms, max(LEAST_OF_EACH, rows // len(self._ranges.values))
        expected_ms = (self._first.at_ms - self.below.at_ms) * rows // self._returned
        longer_ms = LONGER_AFTER_FEW * self._span_ms if self._had_few else 0
        self._span_ms = max(SHORTEST_SPAN_MS, expected_ms, longer_ms)
        return max(self._after_ms, self.below.at_ms - self._span_ms), rows
