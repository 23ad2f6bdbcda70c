"""When silence is unusual: set, or learned from the ages of the last receipt at every hour."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.ids import ProjectId
from domain.overview.silence import HourOfReceipts, Verdict, Watch, learn_minutes

MONDAY = datetime(2026, 11, 23, tzinfo=UTC)
HOUR, MINUTE = timedelta(hours=1), timedelta(minutes=1)


def hours(has_receipts: Callable[[datetime], bool], *, days: int) -> list[HourOfReceipts]:
    """Ten receipts in each hour that has some, the last one half an hour after its beginning."""
    begins = [MONDAY - number * HOUR for number in range(days * 24, 0, -1)]
    return [HourOfReceipts(at, 10, at + 30 * MINUTE) for at in begins if has_receipts(at)]


@pytest.mark.parametrize(
    ("has_receipts", "days", "learned"),
    [
        (lambda at: True, 14, 60),
        (lambda at: True, 6, None),
        (lambda at: at.hour == 12, 30, 47 * 60),  # at noon the next day, 23.5 h old
        (lambda at: 8 <= at.hour < 20, 14, 25 * 60),
        (lambda at: at.weekday() < 5, 14, 95 * 60),
        (lambda at: at == MONDAY - 9 * 24 * HOUR, 14, None),
        (lambda at: at < MONDAY - 7.5 * 24 * HOUR, 14, None),
    ],
    ids=["every hour", "too young", "noon", "no nights", "no weekends", "too few", "all stopped"],
)
def test_learned_silence_allows_for_nights_and_weekends(
    has_receipts: Callable[[datetime], bool], days: int, learned: int | None
) -> None:
    assert learn_minutes(hours(has_receipts, days=days), MONDAY) == learned


def watch(**changes: Any) -> Watch:
    values: dict[str, Any] = {
        "project_id": ProjectId("prj_1"),
        "event_type": "",
        "livemode": True,
        "set_minutes": 30,
        "learned_minutes": 90,
        "learned_at": None,
        "watched_from": MONDAY - 5 * HOUR,
        "last_at": MONDAY,
        "silent_since": None,
    }
    return Watch(**(values | changes))


@pytest.mark.parametrize(
    ("changes", "minutes", "verdict"),
    [
        ({}, 29, None),
        ({}, 30, Verdict.BEGINS),
        ({"set_minutes": None}, 89, None),
        ({"set_minutes": None}, 90, Verdict.BEGINS),
        ({"set_minutes": None, "livemode": False}, 9_000, None),
        ({"set_minutes": None, "learned_minutes": None}, 9_000, None),
        ({"set_minutes": 0}, 9_000, None),
        ({"last_at": None}, -271, None),
        ({"last_at": None}, -270, Verdict.BEGINS),  # 30 minutes after it was created
        ({"watched_from": MONDAY + HOUR}, 89, None),
        ({"silent_since": MONDAY}, 31, None),
        ({"silent_since": MONDAY - HOUR}, 31, Verdict.ENDS),
        ({"silent_since": MONDAY, "set_minutes": 0}, 31, Verdict.ENDS),
    ],
)
def test_silence_begins_after_the_minutes_and_ends_with_a_receipt(
    changes: dict[str, Any], minutes: int, verdict: Verdict | None
) -> None:
    assert watch(**changes).verdict(MONDAY + minutes * MINUTE) is verdict
