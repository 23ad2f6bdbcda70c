"""Words, steps and the picture of sources: every value has its text, and no count disappears."""

import re
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.console.ui import labels, source_labels
from api.console.ui.source_picture import ABOVE, BELOW, COLUMN, draw_days
from api.console.ui.source_setup import Shows, setup_steps
from domain.sources.source import ShopifyIdentity, SourceKind, SourceProblem, SourceState
from store.sources.report import DayReport, UncountedDay

GUIDE = " ".join((Path(__file__).parents[3] / "docs" / "sources.md").read_text("utf-8").split())
COUNTS = st.integers(min_value=0, max_value=10**9)
FIRST = date(2026, 10, 31)


def days_of(counts: list[tuple[int, int, int]]) -> list[DayReport]:
    """Days with so many receipts, receipts that may still come, and missing ones."""
    return [
        DayReport(
            day=FIRST + timedelta(days=index),
            events=received + awaited + missing,
            receipts=received,
            awaited_receipts=awaited,
            missing_receipts=missing,
            results=0,
            awaited_results=0,
            missing_results=0,
            incidents=missing,
        )
        for index, (received, awaited, missing) in enumerate(counts)
    ]


def test_every_state_kind_identity_and_problem_has_its_words() -> None:
    assert set(SourceState) <= labels.STATE_LABELS.keys() & labels.STATE_TONES.keys()
    assert set(SourceKind) == source_labels.KIND_LABELS.keys() == source_labels.KIND_DETAILS.keys()
    assert set(SourceKind) == source_labels.SECRETS.keys()
    assert set(SourceProblem) == source_labels.PROBLEMS.keys()
    assert set(ShopifyIdentity) == source_labels.IDENTITIES.keys()


def test_bad_answer_of_a_webhook_is_a_delivery() -> None:
    listed = source_labels.problem_text("bad_answer", SourceKind.SHOPIFY_API)[0]
    called = source_labels.problem_text("bad_answer", SourceKind.SHOPIFY_WEBHOOK)[0]

    assert listed == "The provider's answers are not as they should be."
    assert called == "A delivery of an expected type could not be read."


def test_value_of_a_later_version_is_shown_as_words() -> None:
    assert source_labels.kind_label("paddle_api") == "Paddle api"
    assert source_labels.problem_text("quota_used_up", "paddle_api")[0] == "Quota used up."
    assert setup_steps("paddle_api") == ()


@pytest.mark.parametrize("kind", SourceKind)
def test_set_up_has_four_steps_and_its_words_are_in_the_guide(kind: SourceKind) -> None:
    steps = setup_steps(kind)
    shown = [step.shows for step in steps if step.shows is not Shows.NOTHING]

    assert len(steps) == 4
    assert shown == ([Shows.EVENT_TYPES, Shows.ADDRESS] if kind.is_webhook else [])
    assert f"`{kind.value}`" in GUIDE
    # What people click has the provider's own name, on the page as in the guide.
    for name in ("Create restricted key", "Workbench", "read_orders", "Create webhook"):
        assert name in GUIDE
    assert all(len(sentence.split()) <= 25 for step in steps for sentence in sentences(step.text))


def sentences(text: str) -> list[str]:
    return re.split(r"(?<=[.:!?]) ", text)


@given(st.lists(st.tuples(COUNTS, COUNTS, COUNTS), min_size=1, max_size=40))
def test_picture_shows_every_day_within_its_frame(counts: list[tuple[int, int, int]]) -> None:
    picture = draw_days(days_of(counts))

    above = [bar for bar in picture.bars if bar.tone != "missing"]
    below = [bar for bar in picture.bars if bar.tone == "missing"]
    columns = {bar.x for bar in above}
    assert len(columns) == sum(1 for received, awaited, _ in counts if received or awaited)
    assert len(below) == sum(1 for _, _, missing in counts if missing)
    assert {max(bar.y + bar.height for bar in above if bar.x == x) for x in columns} <= {
        picture.axis
    }
    assert all(bar.y >= 0 for bar in above)
    assert all(bar.y > picture.axis and bar.y + bar.height <= picture.height for bar in below)
    assert all(0 <= bar.x <= picture.width - COLUMN and bar.height > 0 for bar in picture.bars)


def test_heights_follow_the_counts() -> None:
    picture = draw_days(days_of([(100, 0, 0), (25, 25, 1), (0, 0, 0), (1, 0, 4), (0, 1, 0)]))

    assert [(bar.tone, bar.height) for bar in picture.bars] == [
        ("received", ABOVE),
        ("awaited", ABOVE // 4),
        ("received", ABOVE // 4),
        ("missing", BELOW // 4),
        ("received", 3),
        ("missing", BELOW),
        ("awaited", 3),
    ]
    assert picture.label == (
        "5 days: receipts of 126 events, 26 still in time, 5 without a receipt."
    )


def test_day_that_is_not_counted_leaves_its_column_empty() -> None:
    first, last = days_of([(3, 0, 1), (2, 0, 0)])
    uncounted = UncountedDay(FIRST, is_too_large=True)

    picture = draw_days([first, uncounted, last])

    assert sorted({bar.x for bar in picture.bars}) == [0, 52]
    assert picture.width == 72
    assert picture.label == (
        "3 days: receipts of 5 events, 1 without a receipt. Days that are not counted: 1."
    )


def test_picture_without_days_is_empty() -> None:
    assert draw_days([]).bars == ()
