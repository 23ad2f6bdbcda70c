"""Reads the ranges of a list side by side: their keys come in its order, part by part.

A part is a span of time, or of amounts. The number of keys in the spans before decides how long
the next one is, so that about as many are read as are wanted, whichever ranges have them. After a
span with few keys the next one is several times as long.
"""

from store.db.sql import Statements
from store.receipts.lists.order import Bounds, Key, ListedTable
from store.receipts.lists.ranges import Ranges, first_of_each

LEAST_OF_EACH = 5
# A span that begins at the start of a millisecond must reach into the one before.
SHORTEST_SPAN_MS = 2
LONGER_AFTER_FEW = 8


class MergedRanges:
    """The keys of the ranges within the bounds, in order. `read` returns the next ones.

    All keys before `beyond` were returned.
    """

    def __init__(self, table: ListedTable, ranges: Ranges, bounds: Bounds) -> None:
        self._table, self._ranges, self._end = table, ranges, bounds.end
        self._first: Key | None = None
        self._returned = 0
        self._span_ms, self._had_few = 0, False
        self.beyond = bounds.start
        self.is_done = not ranges.values

    async def read(self, st: Statements, rows: int) -> list[Key]:
        """The next keys, about so many; fewer, or none, before `is_done` where rows are sparse."""
        end, of_each = self._next_part(rows)
        part = Bounds(end, self.beyond)
        lists = await first_of_each(st, self._table, self._ranges, part, of_each=of_each)
        # A range that was read up to the limit may have more keys beyond its last one.
        full = [keys[-1] for keys in lists if len(keys) == of_each]
        cut = self._table.in_order(full)[0] if full else None
        found = self._table.in_order(key for keys in lists for key in keys)
        if cut is not None:
            found = found[: found.index(cut) + 1]
        self.is_done = cut is None and end == self._end
        # No id is empty, so that this key is beyond all of the part.
        self.beyond = cut or Key(end if self._table.is_ascending else end + 1, "")
        self._returned += len(found)
        self._had_few = cut is None and 2 * len(found) < rows
        self._first = self._first or (found[0] if found else None)
        return found

    def _next_part(self, rows: int) -> tuple[int, int]:
        """The end of the next part, and the limit of each range."""
        if self._first is None:
            return self._end, max(LEAST_OF_EACH, rows // len(self._ranges.values))
        expected_ms = abs(self._first.at_ms - self.beyond.at_ms) * rows // self._returned
        longer_ms = LONGER_AFTER_FEW * self._span_ms if self._had_few else 0
        self._span_ms = max(SHORTEST_SPAN_MS, expected_ms, longer_ms)
        if self._table.is_ascending:
            return min(self._end, self.beyond.at_ms + self._span_ms), rows
        return max(self._end, self.beyond.at_ms - self._span_ms), rows
