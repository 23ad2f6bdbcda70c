"""The dispatcher's pace: everything at once on a quiet day, a few a second while the front door is busy or incidents are late."""

from worker.loops.start_rate_limiter import StartRateLimiter


def test_quiet_front_door_limits_nothing() -> None:
    pace = StartRateLimiter(40)
    pace.set_load(accepted_per_second=200.0, overdue=2)

    assert pace.allowance(0.0, wanted=24) == 24


def test_busy_front_door_leaves_the_rate() -> None:
    pace = StartRateLimiter(40)
    pace.set_load(accepted_per_second=900.0, overdue=0)

    assert 395 <= begun_in_ten_seconds(pace) <= 425


def test_overdue_incidents_leave_a_fifth_of_it_until_they_are_opened() -> None:
    pace = StartRateLimiter(40)
    pace.set_load(accepted_per_second=0.0, overdue=3)
    while_behind = begun_in_ten_seconds(pace)
    pace.set_load(accepted_per_second=0.0, overdue=2)

    assert 75 <= while_behind <= 85
    assert pace.allowance(200.0, wanted=24) == 24


def test_what_was_saved_is_a_fifth_of_a_second_at_most() -> None:
    pace = StartRateLimiter(40)
    pace.set_load(accepted_per_second=900.0, overdue=0)

    assert pace.allowance(1_000_000.0, wanted=1_000) == 8


def test_slowest_rate_still_allows_one() -> None:
    pace = StartRateLimiter(1)
    pace.set_load(accepted_per_second=900.0, overdue=0)

    assert pace.allowance(10.0, wanted=24) == 1


def begun_in_ten_seconds(pace: StartRateLimiter) -> int:
    """How many begin when there is always more to begin."""
    begun = 0
    for tick in range(1, 101):
        allowed = pace.allowance(100.0 + tick / 10, wanted=24)
        pace.spend(allowed)
        begun += allowed
    return begun
