"""Backoffs grow with each failure up to a bound, and are forgotten some time after their end."""

import pytest

from worker.loops import backoffs
from worker.loops.backoffs import Backoffs
from worker.loops.retention import erasure_backoffs


class Clock:
    """A monotonic clock that a test moves."""

    seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(backoffs.time, "monotonic", clock)
    return clock


def test_backoff_doubles_up_to_an_hour(clock: Clock) -> None:
    of_erasure, pauses = erasure_backoffs(), []

    for _ in range(10):
        of_erasure.back_off("evt_1")
        began = clock.seconds
        while not of_erasure.is_ready("evt_1"):
            clock.seconds += 10
        pauses.append(clock.seconds - began)

    assert pauses == [20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]
    assert of_erasure.is_ready("evt_2")


def test_factor_and_bound_are_those_given(clock: Clock) -> None:
    of_deliveries = Backoffs(first_seconds=1.0, factor=3.0)

    seconds = [of_deliveries.back_off("evt_1") for _ in range(8)]

    assert seconds == [1, 3, 9, 27, 81, 243, 600, 600]


def test_success_begins_again(clock: Clock) -> None:
    of_receipts = Backoffs(first_seconds=2.0)
    of_receipts.back_off("evt_1")
    of_receipts.back_off("evt_1")

    of_receipts.forget("evt_1")

    assert of_receipts.is_ready("evt_1")
    assert of_receipts.back_off("evt_1") == 2


def test_old_failures_are_forgotten_and_others_count_on(clock: Clock) -> None:
    of_receipts = Backoffs(first_seconds=2.0, longest_seconds=10.0)
    of_receipts.back_off("evt_1")
    clock.seconds = 11.0
    of_receipts.back_off("evt_2")

    clock.seconds = 12.0  # ten seconds after the first backoff was over
    of_receipts.forget_old()

    assert [of_receipts.back_off(item) for item in ("evt_1", "evt_2")] == [2, 4]
