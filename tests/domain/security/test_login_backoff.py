"""How long who guesses wrong waits:

nothing at first, then twice as long each time, and never for long.
"""

from datetime import timedelta

import pytest

from domain.security.login_backoff import ACCOUNT, ADDRESS, CODE, Limit, wait_after

LIMIT = Limit(free=3, first_seconds=2, longest_seconds=60, forgotten_hours=1)


@pytest.mark.parametrize(
    ("failures", "seconds"), [(0, 0), (2, 0), (3, 2), (4, 4), (5, 8), (7, 32), (8, 60), (10**6, 60)]
)
def test_each_wait_is_twice_the_last_up_to_the_cap(failures: int, seconds: int) -> None:
    assert wait_after(failures, LIMIT) == timedelta(seconds=seconds)


@pytest.mark.parametrize("limit", [ACCOUNT, ADDRESS], ids=["account", "address"])
def test_anybody_can_cause_a_wait_of_a_minute_at_most(limit: Limit) -> None:
    assert wait_after(10**9, limit) <= timedelta(minutes=1)


def test_a_year_of_guessing_codes_is_unlikely_to_find_one() -> None:
    guesses = timedelta(days=365) / wait_after(10**9, CODE)

    # Three of a million codes are good at any time.
    assert guesses * 3 / 10**6 < 0.15
