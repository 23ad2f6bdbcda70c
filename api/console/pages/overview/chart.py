"""The chart of the overview: one column for each day, drawn as SVG rectangles. Pure.

Successes are above the line, in layers. Incidents that opened are below it. So no information is in
a colour alone. The table below the chart has the same numbers.
"""

from collections.abc import Iterator, Sequence

from api.console.ui.source_picture import ABOVE, BELOW, COLUMN, GAP, LEAST, Bar, Picture
from domain.overview.summary import Counts, DayCounts

# From the line upwards.
LAYERS = ("applied", "late", "repaired")


def draw_days(days: Sequence[DayCounts]) -> Picture:
    """Draw the days from left to right. The parts above and below the line are scaled apart."""
    most_above = max((_successes(one.counts) for one in days), default=0)
    most_below = max((one.counts.opened for one in days), default=0)
    return Picture(
        width=max(len(days) * (COLUMN + GAP) - GAP, 1),
        height=ABOVE + 1 + BELOW,
        axis=ABOVE,
        bars=tuple(
            bar
            for index, one in enumerate(days)
            for bar in _column(index * (COLUMN + GAP), one.counts, most_above, most_below)
        ),
        label=_label(days),
    )


def _column(x: int, counts: Counts, most_above: int, most_below: int) -> Iterator[Bar]:
    top = ABOVE
    for layer in LAYERS:
        count = getattr(counts, layer)
        # The layers above this one keep room for their smallest height.
        room = top - LEAST * sum(getattr(counts, one) > 0 for one in LAYERS[LAYERS.index(layer) :])
        if count:
            height = max(LEAST, min(round(ABOVE * count / most_above), room + LEAST))
            top -= height
            yield Bar(layer, x, top, height)
    if counts.opened:
        height = max(LEAST, round(BELOW * counts.opened / most_below))
        yield Bar("missing", x, ABOVE + 1, height)


def _successes(counts: Counts) -> int:
    return sum(int(getattr(counts, layer)) for layer in LAYERS)


def _label(days: Sequence[DayCounts]) -> str:
    sums = {name: sum(getattr(one.counts, name) for one in days) for name in (*LAYERS, "opened")}
    return (
        f"{len(days)} days: {sums['applied']:,} applied in time, {sums['late']:,} late,"
        f" {sums['repaired']:,} repaired; {sums['opened']:,} incidents opened."
    )
