"""Labels, and formats of ages, durations and ids."""

from datetime import UTC, datetime, timedelta

import pytest

from api.console.ui import labels
from domain.incidents import AlertKind, IncidentState, Reason, RepairCause, RepairState, Resolution
from domain.receipts import Flag, ReceiptState
from domain.retries import ErrorClass

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("ago", "expected"),
    [
        pytest.param(timedelta(milliseconds=400), "now", id="under a second"),
        pytest.param(timedelta(seconds=59), "59 s", id="seconds"),
        pytest.param(timedelta(minutes=59, seconds=59), "59 min", id="minutes"),
        pytest.param(timedelta(hours=3, minutes=59), "3 h", id="hours"),
        pytest.param(timedelta(days=12), "12 d", id="days"),
        pytest.param(timedelta(seconds=-5), "now", id="a clock that is ahead"),
    ],
)
def test_age_has_one_unit(ago: timedelta, expected: str) -> None:
    assert labels.age(NOW - ago, NOW) == expected


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0, "0 ms"),
        (0.0834, "83 ms"),
        (0.9999, "1.00 s"),
        (2.41, "2.41 s"),
        (30, "30.0 s"),
        (59.96, "1 min"),
        (61.2, "1 min 1 s"),
        (3600, "1 h"),
        (5400, "1 h 30 min"),
        (90_000, "1 d 1 h"),
    ],
)
def test_duration_has_two_units(seconds: float, expected: str) -> None:
    assert labels.exact_duration(seconds) == expected


@pytest.mark.parametrize(
    ("minutes", "expected"), [(30, "30 min"), (0.01, "0.6 s"), (0.5, "30 s"), (90, "1 h 30 min")]
)
def test_minutes_are_formatted_as_a_duration(minutes: float, expected: str) -> None:
    assert labels.format_minutes(minutes) == expected


def test_a_short_id_keeps_its_prefix_and_its_end() -> None:
    assert labels.short_id("evt_0193f1c2d3e47a8b9c0d1e2f3a4b5c6d") == "evt_…3a4b5c6d"
    assert labels.short_id("you") == "you"


@pytest.mark.parametrize("state", [*ReceiptState, *IncidentState, *RepairState])
def test_every_state_has_its_label_and_its_tone(state: str) -> None:
    assert state in labels.STATE_LABELS
    assert state in labels.STATE_TONES


def test_every_reason_cause_resolution_flag_alert_and_error_has_a_label() -> None:
    assert set(Reason) == set(labels.REASONS)
    assert set(RepairCause) == set(labels.CAUSES)
    assert set(Resolution) == set(labels.RESOLUTIONS)
    assert set(Flag) == set(labels.FLAGS)
    assert set(AlertKind) == set(labels.ALERTS)
    assert set(ErrorClass) == set(labels.ERROR_CLASSES)


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [
        (
            "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
            "Firefox on Linux",
        ),
        (
            "Mozilla/5.0 (Windows NT 10.0) AppleWebKit/537.36 Chrome/140.0 Safari/537.36 Edg/140.0",
            "Edge on Windows",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Safari/604.1",
            "Safari on iPhone",
        ),
        ("Mozilla/5.0 (Linux; Android 15) Chrome/140.0 Mobile Safari/537.36", "Chrome on Android"),
        ("curl/8.5.0", "Unknown browser"),
        ("", "Unknown browser"),
    ],
)
def test_browser_has_its_common_name(user_agent: str, expected: str) -> None:
    assert labels.browser_name(user_agent) == expected
