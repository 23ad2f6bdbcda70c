"""The dispatcher's pace: everything at once while the front door is quiet, a few a second while it is busy."""

from worker.pace import Pace


def test_quiet_front_door_limits_nothing() -> None:
    pace = Pace(40)
    pace.set_front_door(200.0)

    assert pace.allowance(0.0, wanted=24) == 24


def test_busy_front_door_leaves_the_rate() -> None:
    pace = Pace(40)
    pace.set_front_door(900.0)
    begun = 0

    for tick in range(1, 101):
        allowed = pace.allowance(100.0 + tick / 10, wanted=24)
        pace.spend(allowed)
        begun += allowed

    assert 395 <= begun <= 425


def test_what_was_saved_is_a_fifth_of_a_second_at_most() -> None:
    pace = Pace(40)
    pace.set_front_door(900.0)

    assert pace.allowance(1_000_000.0, wanted=1_000) == 8


def test_slowest_rate_still_allows_one() -> None:
    pace = Pace(1)
    pace.set_front_door(900.0)

    assert pace.allowance(10.0, wanted=24) == 1
