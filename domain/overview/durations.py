"""Counts of durations by bucket, their percentiles, and the deadline that they propose.

A bucket ends 19 % later than the one before it, so a percentile is at most that much too long. It
is never too short.
"""

import math
from collections.abc import Mapping

FIRST_SECONDS = 0.25
BUCKETS_OF_A_DOUBLING = 4
LAST_BUCKET = 110  # more than a year
# Fewer say nothing about one in a hundred.
LEAST_SAMPLES = 100
# A deadline at the percentile itself would open an incident for one receipt in a hundred.
HEADROOM = 2
PROPOSED_MINUTES = (
    *(1, 2, 3, 5, 10, 15, 20, 30, 45, 60, 90, 120, 180, 240, 360, 480, 720),
    *(1_440, 2_880, 4_320, 7_200, 10_080),
)


def bucket_of(seconds: float) -> int:
    """The bucket of a duration. One below zero, which only a clock that was set makes, is zero."""
    if seconds <= FIRST_SECONDS:
        return 0
    doublings = math.log2(seconds / FIRST_SECONDS)
    # Rounded first: the end of a bucket belongs to it.
    return min(LAST_BUCKET, math.ceil(round(doublings * BUCKETS_OF_A_DOUBLING, 9)))


def end_of(bucket: int) -> float:
    """The longest duration of a bucket, in seconds."""
    return float(FIRST_SECONDS * 2 ** (bucket / BUCKETS_OF_A_DOUBLING))


def percentile(buckets: Mapping[int, int], percent: float) -> float | None:
    """The seconds within which `percent` of the durations ended, in whole milliseconds.

    None without durations.
    """
    total = sum(buckets.values())
    if not total:
        return None
    wanted = math.ceil(total * percent / 100)
    seen = 0
    for bucket, count in sorted(buckets.items()):
        seen += count
        if seen >= wanted:
            return math.ceil(end_of(bucket) * 1_000) / 1_000
    raise AssertionError("a percentile is above all durations")


def propose_minutes(buckets: Mapping[int, int]) -> int | None:
    """The deadline that fits these durations: twice the 99th percentile, rounded up.

    None if there are too few, or the longest deadline would be too short.
    """
    slowest = percentile(buckets, 99)
    if slowest is None or sum(buckets.values()) < LEAST_SAMPLES:
        return None
    needed = slowest * HEADROOM / 60
    return next((minutes for minutes in PROPOSED_MINUTES if minutes >= needed), None)
