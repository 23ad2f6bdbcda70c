"""Prints the figures of a measurement: their spread, and whether a bound holds."""

from collections.abc import Sequence
from statistics import median


def print_spread(name: str, values: Sequence[float], unit: str) -> None:
    """Print min, median and max of a figure over the rounds."""
    spread = f"min {min(values):>8.1f}  median {median(values):>8.1f}  max {max(values):>8.1f}"
    print(f"  {name:<48} {spread} {unit}", flush=True)


def check_bound(
    name: str,
    value: float,
    *,
    least: float | None = None,
    most: float | None = None,
    unit: str = "ratio",
) -> bool:
    """Print a value beside its bound, and return whether the bound holds."""
    holds = (least is None or value >= least) and (most is None or value <= most)
    bound = f"at least {least:g}" if least is not None else f"at most {most:g}"
    print(
        f"  {name:<48} {unit} {value:.2f}, {bound}: {'holds' if holds else 'DOES NOT HOLD'}",
        flush=True,
    )
    return holds


def check_ratio(
    name: str, ours: Sequence[float], baseline: Sequence[float], *, least: float
) -> bool:
    """Check the ratio of two rates: the median of the ratios of each round.

    The machine's speed drifts between rounds.
    """
    return check_bound(
        name, median(a / b for a, b in zip(ours, baseline, strict=True)), least=least
    )


def p99(values: Sequence[float]) -> float:
    """The value that one in a hundred exceeds."""
    ordered = sorted(values)
    return ordered[int((len(ordered) - 1) * 0.99)]


def p95(values: Sequence[float]) -> float:
    """The value that one in twenty exceeds."""
    ordered = sorted(values)
    return ordered[int((len(ordered) - 1) * 0.95)]
