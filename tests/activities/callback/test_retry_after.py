"""`Retry-After` of a repair endpoint: whole seconds, or any of the three forms of an HTTP date."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from egress.retry_after import read_retry_after

NOW = datetime(2026, 11, 23, 11, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("0", 0),
        (" 120 ", 120),
        ("9" * 5000, 10**9),
        ("-1", None),
        ("1.5", None),
        ("１２", None),
        ("soon", None),
        (format_datetime(NOW + timedelta(minutes=2), usegmt=True), 120),
        (format_datetime(NOW - timedelta(1), usegmt=True), 0),
        ("Mon, 23 Nov 2026 11:00:30", None),
        (f"{NOW + timedelta(minutes=2):%A, %d-%b-%y %H:%M:%S} GMT", 120),
        (f"{NOW + timedelta(minutes=2):%a %b %d %H:%M:%S %Y}", 120),
        ("Mon, 01 Jan 99999999999999999999 00:00:00 GMT", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: int | None) -> None:
    assert read_retry_after(text, now=NOW) == seconds
