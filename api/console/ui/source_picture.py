"""The picture of a source's report: one column for each day, drawn as SVG rectangles. Pure.

What came to the app, or may still come in time, is above the line. What is missing is below it. So
no information is in a colour alone. The table below the picture has the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from store.sources.report import DayReport, UncountedDay

COLUMN, GAP = 20, 6
ABOVE, BELOW = 84, 36
# The smallest height of a count above zero, so that one missing event of thousands is seen.
LEAST = 3


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle, in units of the picture. `tone`: received, awaited or missing."""

    tone: str
    x: int
    y: int
    height: int


@dataclass(frozen=True, slots=True)
class Picture:
    """Width and height in units, the bars, the line between both parts, and the words for it."""

    width: int
    height: int
    axis: int
    bars: tuple[Bar, ...]
    label: str


def draw_days(days: Sequence[DayReport | UncountedDay]) -> Picture:
    """Draw the days from left to right. The parts above and below the line are scaled apart.

    The column of a day that is not counted is empty, and the words say how many there are.
    """
    counted = [one for one in days if isinstance(one, DayReport)]
    most_above = max((one.receipts + one.awaited_receipts for one in counted), default=0)
    most_below = max((one.missing_receipts for one in counted), default=0)
    columns = (
        _column(index * (COLUMN + GAP), one, most_above, most_below)
        for index, one in enumerate(days)
        if isinstance(one, DayReport)
    )
    return Picture(
        width=max(len(days) * (COLUMN + GAP) - GAP, 1),
        height=ABOVE + 1 + BELOW,
        axis=ABOVE,
        bars=tuple(bar for column in columns for bar in column),
        label=_label(counted, len(days) - len(counted)),
    )


def _column(x: int, one: DayReport, most_above: int, most_below: int) -> list[Bar]:
    bars = []
    if both := one.receipts + one.awaited_receipts:
        whole = _height(both, most_above, ABOVE)
        awaited = whole if not one.receipts else whole * one.awaited_receipts // both
        if awaited:
            bars.append(Bar("awaited", x, ABOVE - whole, awaited))
        if whole > awaited:
            bars.append(Bar("received", x, ABOVE - whole + awaited, whole - awaited))
    if one.missing_receipts:
        height = _height(one.missing_receipts, most_below, BELOW)
        bars.append(Bar("missing", x, ABOVE + 1, height))
    return bars


def _height(count: int, most: int, highest: int) -> int:
    return max(LEAST, round(highest * count / most))


def _label(days: Sequence[DayReport], uncounted: int) -> str:
    received, awaited = sum(one.receipts for one in days), sum(one.awaited_receipts for one in days)
    missing = sum(one.missing_receipts for one in days)
    still = f", {awaited} still in time" if awaited else ""
    others = f" Days that are not counted: {uncounted}." if uncounted else ""
    counts = f"receipts of {received} events{still}, {missing} without a receipt."
    return f"{len(days) + uncounted} days: {counts}{others}"
