"""The picture of a source's report: one column for each day, drawn as SVG rectangles. Pure.

What the app reported is above the line, what is missing below it. So no information is in a colour
alone. The table beside the picture has the same numbers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

COLUMN, GAP = 20, 6
ABOVE, BELOW = 84, 36
# The smallest height of a count above zero, so that one missing event of thousands is seen.
LEAST = 3


@dataclass(frozen=True, slots=True)
class DayCounts:
    """Events at the provider on one day (UTC): how many came to the app, and how many did not."""

    day: date
    reported: int
    missing: int


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle, in units of the picture."""

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


def draw_days(days: Sequence[DayCounts]) -> Picture:
    """Draw the days from left to right. Each part has a scale of its own."""
    most_reported = max((one.reported for one in days), default=0)
    most_missing = max((one.missing for one in days), default=0)
    bars = []
    for index, one in enumerate(days):
        x = index * (COLUMN + GAP)
        if one.reported:
            height = _height(one.reported, most_reported, ABOVE)
            bars.append(Bar("reported", x, ABOVE - height, height))
        if one.missing:
            bars.append(Bar("missing", x, ABOVE + 1, _height(one.missing, most_missing, BELOW)))
    return Picture(
        width=max(len(days) * (COLUMN + GAP) - GAP, 1),
        height=ABOVE + 1 + BELOW,
        axis=ABOVE,
        bars=tuple(bars),
        label=_label(days),
    )


def _height(count: int, most: int, highest: int) -> int:
    return max(LEAST, round(highest * count / most))


def _label(days: Sequence[DayCounts]) -> str:
    reported, missing = sum(one.reported for one in days), sum(one.missing for one in days)
    return f"{len(days)} days: {reported} events reported by the app, {missing} missing."
