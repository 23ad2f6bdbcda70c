"""The chart of the overview: one column for each day, drawn as SVG rectangles. Pure.

Successes are above the line, in layers. Incidents that opened are below it. So no information is in
a colour alone. The table below the chart has the same numbers.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from api.console.ui.source_picture import ABOVE, BELOW, COLUMN, GAP, LEAST, Bar, Picture
from domain.overview.summary import Counts, DayCounts

# From the line upwards.
LAYERS = ("applied", "late", "repaired")


@dataclass(frozen=True, slots=True)
class Highest:
    """The numbers that the highest columns stand for: of one day each."""

    ended: int
    opened: int


def highest_of(days: Sequence[DayCounts]) -> Highest:
    """The numbers of the highest columns above and below the line."""
    return Highest(
        ended=max((_successes(one.counts) for one in days), default=0),
        opened=max((one.counts.opened for one in days), default=0),
    )


def draw_days(days: Sequence[DayCounts]) -> Picture:
    """Draw the days from left to right. The parts above and below the line are scaled apart."""
    highest = highest_of(days)
    return Picture(
        width=max(len(days) * (COLUMN + GAP) - GAP, 1),
        height=ABOVE + 1 + BELOW,
        axis=ABOVE,
        bars=tuple(
            bar
            for index, one in enumerate(days)
            for bar in _column(index * (COLUMN + GAP), one.counts, highest)
        ),
        label=_label(days),
    )


def _column(x: int, counts: Counts, highest: Highest) -> Iterator[Bar]:
    top = ABOVE
    for layer in LAYERS:
        count = getattr(counts, layer)
        # The layers above this one keep room for their smallest height.
        room = top - LEAST * sum(getattr(counts, one) > 0 for one in LAYERS[LAYERS.index(layer) :])
        if count:
            height = max(LEAST, min(round(ABOVE * count / highest.ended), room + LEAST))
            top -= height
            yield Bar(layer, x, top, height)
    if counts.opened:
        height = max(LEAST, round(BELOW * counts.opened / highest.opened))
        yield Bar("missing", x, ABOVE + 1, height)


def _successes(counts: Counts) -> int:
    return sum(int(getattr(counts, layer)) for layer in LAYERS)


def _label(days: Sequence[DayCounts]) -> str:
    sums = {name: sum(getattr(one.counts, name) for one in days) for name in (*LAYERS, "opened")}
    return (
        f"{len(days)} days: {sums['applied']:,} applied in time, {sums['late']:,} late,"
        f" {sums['repaired']:,} repaired; {sums['opened']:,} incidents opened."
    )
