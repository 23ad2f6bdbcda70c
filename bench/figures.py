"""How the programs of this folder print what they measured: a spread for each figure, and whether a bound holds."""

from collections.abc import Sequence
from statistics import median


def told(name: str, values: Sequence[float], unit: str) -> None:
    """Min, median and max of a figure over the rounds."""
    print(f"  {name:<48} min {min(values):>8.1f}  median {median(values):>8.1f}  max {max(values):>8.1f} {unit}", flush=True)


def held(name: str, value: float, *, least: float | None = None, most: float | None = None, unit: str = "ratio") -> bool:
    """Print a value beside its bound; whether it holds."""
    is_held = (least is None or value >= least) and (most is None or value <= most)
    bound = f"at least {least:g}" if least is not None else f"at most {most:g}"
    print(f"  {name:<48} {unit} {value:.2f}, {bound}: {'holds' if is_held else 'DOES NOT HOLD'}", flush=True)
    return is_held


def ratio_held(name: str, ours: Sequence[float], baseline: Sequence[float], *, least: float) -> bool:
    """The same for the ratio of two rates: the median of the rounds' own ratios, since the machine drifts between rounds."""
    return held(name, median(a / b for a, b in zip(ours, baseline, strict=True)), least=least)


def p99(values: Sequence[float]) -> float:
    """The value that one in a hundred exceeds."""
    ordered = sorted(values)
    return ordered[int((len(ordered) - 1) * 0.99)]
