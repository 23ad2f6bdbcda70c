"""The counter of an authenticator: it grows, or the authenticator has none."""

import pytest

from domain.security.passkeys import is_counter_valid


@pytest.mark.parametrize(
    ("stored", "given", "expected"),
    [
        (0, 0, True),
        (0, 1, True),
        (5, 6, True),
        (5, 4_294_967_295, True),
        (5, 5, False),
        (5, 4, False),
        # An authenticator that had a counter does not lose it.
        (5, 0, False),
    ],
)
def test_counter_grows_or_is_always_zero(stored: int, given: int, expected: bool) -> None:
    assert is_counter_valid(stored, given) is expected
