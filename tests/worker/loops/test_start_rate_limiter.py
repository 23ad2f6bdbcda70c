"""Starts are unlimited while ingest is idle, limited while it is busy or incidents are late."""

from worker.loops.start_rate_limiter import StartRateLimiter


def test_idle_ingest_limits_nothing() -> None:
    limiter = StartRateLimiter(40)
    limiter.set_load(accepted_per_second=200.0, overdue=2)

    assert limiter.available(0.0, wanted=24) == 24


def test_busy_ingest_limits_starts_to_the_rate() -> None:
    limiter = StartRateLimiter(40)
    limiter.set_load(accepted_per_second=900.0, overdue=0)

    assert 395 <= starts_in_ten_seconds(limiter) <= 425


def test_overdue_incidents_limit_starts_to_a_fifth_of_the_rate() -> None:
    limiter = StartRateLimiter(40)
    limiter.set_load(accepted_per_second=0.0, overdue=3)
    while_behind = starts_in_ten_seconds(limiter)
    limiter.set_load(accepted_per_second=0.0, overdue=2)

    assert 75 <= while_behind <= 85
    assert limiter.available(200.0, wanted=24) == 24


def test_bucket_holds_a_fifth_of_a_second_at_most() -> None:
    limiter = StartRateLimiter(40)
    limiter.set_load(accepted_per_second=900.0, overdue=0)

    assert limiter.available(1_000_000.0, wanted=1_000) == 8


def test_slowest_rate_still_allows_one() -> None:
    limiter = StartRateLimiter(1)
    limiter.set_load(accepted_per_second=900.0, overdue=0)

    assert limiter.available(10.0, wanted=24) == 1


def starts_in_ten_seconds(limiter: StartRateLimiter) -> int:
    """How many starts are permitted when there are always more."""
    started = 0
    for tick in range(1, 101):
        allowed = limiter.available(100.0 + tick / 10, wanted=24)
        limiter.consume(allowed)
        started += allowed
    return started
