"""Which deadlines wait during an ingest outage, for how long, and that none waits without one."""

from datetime import UTC, datetime, timedelta

import pytest

from domain.outage import IngestBeats, beat_interval, grace_ms, is_ingest_down

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


def last_beat(seconds_ago: float, *, has_ended: bool = False) -> IngestBeats:
    return IngestBeats(last_at=ago(seconds_ago), alive_at=None if has_ended else ago(seconds_ago))


@pytest.mark.parametrize(
    ("outage_seconds", "seconds"), [(0, 2), (1, 0.25), (4, 1), (8, 2), (60, 2), (3_600, 2)]
)
def test_several_heartbeats_fit_into_the_shortest_outage(
    outage_seconds: int, seconds: float
) -> None:
    assert beat_interval(outage_seconds) == timedelta(seconds=seconds)


@pytest.mark.parametrize("outage_seconds", [1, 2, 5, 8, 60])
def test_silence_begins_after_a_late_heartbeat_and_before_an_outage(outage_seconds: int) -> None:
    every = beat_interval(outage_seconds).total_seconds()

    assert not is_ingest_down(last_beat(1.4 * every), NOW, outage_seconds=outage_seconds)
    assert is_ingest_down(last_beat(1.6 * every), NOW, outage_seconds=outage_seconds)
    assert 1.6 * every < outage_seconds


@pytest.mark.parametrize(
    ("beats", "outage_seconds", "expected"),
    [
        (None, 60, False),
        (last_beat(3_600), 0, False),
        (last_beat(1, has_ended=True), 60, True),
        (IngestBeats(last_at=ago(0.1), alive_at=ago(1)), 60, False),
        (IngestBeats(last_at=ago(0.1), alive_at=ago(30)), 60, True),
    ],
    ids=[
        "new installation",
        "switched off",
        "all have ended",
        "one of two has ended",
        "one ended, one is gone",
    ],
)
def test_ingest_is_up_while_any_process_that_has_not_ended_writes_heartbeats(
    beats: IngestBeats | None, outage_seconds: int, expected: bool
) -> None:
    assert is_ingest_down(beats, NOW, outage_seconds=outage_seconds) is expected


@pytest.mark.parametrize(
    ("beats", "due_at", "held"),
    [
        (last_beat(2.9), ago(0.1), False),
        (last_beat(3.1), ago(0.1), True),
        (last_beat(3.1), ago(3.1), False),
        (last_beat(3.1), ago(3.099), True),
        (last_beat(3.1), NOW + timedelta(milliseconds=1), False),
    ],
    ids=["beats come", "silent", "due at the last beat", "due after the last beat", "not due"],
)
def test_deadline_after_the_last_heartbeat_of_a_silent_ingest_waits(
    beats: IngestBeats, due_at: datetime, held: bool
) -> None:
    assert (grace_ms(beats, NOW, due_at=due_at, outage_seconds=60) is not None) is held


def test_heartbeat_from_the_future_proves_nothing_about_now() -> None:
    """SQLite's clock is the host's, which may be set back."""
    beats = last_beat(-3_600)

    assert is_ingest_down(beats, NOW, outage_seconds=60)
    assert grace_ms(beats, NOW, due_at=NOW, outage_seconds=60) == 2_000
    assert not is_ingest_down(last_beat(-0.1), NOW, outage_seconds=60), (
        "read a moment after now was"
    )


@pytest.mark.parametrize(
    ("silent_seconds", "outage_seconds", "wait_ms"),
    [
        (4, 60, 2_000),
        (11, 60, 5_500),
        (60, 60, 30_000),
        (86_400, 60, 30_000),
        (0.4, 1, 250),
        (3, 1, 1_500),
    ],
)
def test_hold_grows_with_the_silence_and_ends_soon_after_it(
    silent_seconds: float, outage_seconds: int, wait_ms: int
) -> None:
    assert (
        grace_ms(last_beat(silent_seconds), NOW, due_at=NOW, outage_seconds=outage_seconds)
        == wait_ms
    )
