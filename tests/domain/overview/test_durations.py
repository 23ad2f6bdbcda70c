"""Durations by bucket: percentiles are never too short, and propose a deadline with room."""

from collections import Counter

import pytest

from domain.overview.durations import (
    LAST_BUCKET,
    bucket_of,
    end_of,
    percentile,
    propose_minutes,
)


@pytest.mark.parametrize("seconds", [0.0, 0.25, 0.26, 0.5, 1.0, 59.9, 60.0, 1_800.0, 604_800.0])
def test_bucket_ends_at_the_duration_or_at_most_a_fifth_later(seconds: float) -> None:
    end = end_of(bucket_of(seconds))

    assert end >= seconds
    assert end <= max(0.25, seconds * 1.2)


@pytest.mark.parametrize(("seconds", "bucket"), [(-5.0, 0), (1e12, LAST_BUCKET)])
def test_odd_durations_have_a_bucket(seconds: float, bucket: int) -> None:
    assert bucket_of(seconds) == bucket


def test_percentiles_are_those_of_the_counted_durations() -> None:
    buckets = Counter(bucket_of(seconds) for seconds in [*[1.0] * 94, *[64.0] * 5, 4_096.0])

    found = [percentile(buckets, percent) for percent in (50, 94, 95, 99, 100)]

    assert found == [1.0, 1.0, 64.0, 64.0, 4_096.0]
    assert percentile({}, 50) is None


def test_percentile_is_rounded_up_to_milliseconds() -> None:
    assert percentile({bucket_of(1.1): 1}, 50) == 1.19  # the bucket ends at 1.18920… s


@pytest.mark.parametrize(
    ("durations", "proposed"),
    [
        ([2.0] * 99, None),
        ([2.0] * 100, 1),
        ([2.0] * 98 + [128.0] * 2, 5),  # twice 128 s are 4.3 minutes
        ([2.0] * 50 + [16_384.0] * 50, 720),
        ([1_048_576.0] * 100, None),  # twelve days: no deadline is so long
    ],
    ids=["too few", "fast", "the slowest hundredth counts", "slow", "too slow"],
)
def test_deadline_is_twice_the_slowest_hundredth(
    durations: list[float], proposed: int | None
) -> None:
    assert propose_minutes(Counter(map(bucket_of, durations))) == proposed
