"""Spans of listings leave no hole and go forward; circles of cursors are found."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sources.listing import (
    LONGEST_SPAN,
    CircleDetector,
    Complaint,
    ListingSpan,
    find_gap,
    is_due_again,
    next_span,
    stopped_since,
)
from domain.sources.source import LISTING_HORIZON, LISTING_OVERLAP, Source, SourceKind
from tests.domain.sources.examples import CREATED_AT as START
from tests.domain.sources.examples import make_source

API = make_source(kind=SourceKind.STRIPE_API, every_minutes=5)
minutes = st.integers(0, 60 * 24 * 90).map(lambda n: timedelta(minutes=n))


def listed(until: timedelta | None) -> Source:
    return replace(API, listed_until=None if until is None else START + until)


@given(st.none() | minutes, minutes)
def test_span_goes_back_an_hour_and_never_beyond_the_source_or_the_horizon(
    until: timedelta | None, passed: timedelta
) -> None:
    of, now = listed(until), START + passed

    span = next_span(of, now)

    assert START <= span.from_at <= span.until_at <= now
    assert span.until_at - span.from_at <= LONGEST_SPAN
    assert span.from_at >= now - LISTING_HORIZON
    if until is not None and until <= passed and find_gap(of, now) is None:
        assert span.from_at == max(START, START + until - LISTING_OVERLAP, now - LISTING_HORIZON)


@given(st.none() | minutes, minutes)
def test_spans_follow_each_other_to_now_without_a_hole(
    until: timedelta | None, passed: timedelta
) -> None:
    of, now = listed(until), START + passed
    gap = find_gap(of, now)
    of = of if gap is None else replace(of, listed_until=gap.until_at)
    covered = min(of.listed_until or START, now)

    for _ in range(40):
        span = next_span(of, now)
        assert span.from_at <= covered
        assert span.until_at >= min(covered, now)
        covered, of = span.until_at, replace(of, listed_until=span.until_at)
        if not is_due_again(of, span, now):
            break

    assert now - covered < timedelta(minutes=5)


@pytest.mark.parametrize(
    ("every_minutes", "took_minutes", "is_due"),
    [
        (5, 4, False),
        (5, 5, True),
        (1, 0, False),
        (1, 1, True),
        (1_440, 59, False),
        (1_440, 60, True),
    ],
)
def test_next_span_is_due_when_the_interval_has_passed(
    every_minutes: int, took_minutes: int, is_due: bool
) -> None:
    span = ListingSpan(START, START)
    of = replace(API, every_minutes=every_minutes)

    assert is_due_again(of, span, START + timedelta(minutes=took_minutes)) is is_due


@pytest.mark.parametrize(
    ("every_minutes", "last", "is_stopped"),
    [
        (5, {"last_listed_at": timedelta(minutes=60)}, False),
        (5, {"last_listed_at": timedelta(minutes=61)}, True),
        (60, {"last_listed_at": timedelta(minutes=180)}, False),
        (60, {"last_listed_at": timedelta(minutes=181)}, True),
        (5, {}, True),
        (5, {"resumed_at": timedelta(minutes=60)}, False),
        (5, {"page_at": timedelta(minutes=60), "last_listed_at": timedelta(days=3)}, False),
        (None, {}, False),
    ],
)
def test_listing_without_progress_for_three_intervals_has_stopped(
    every_minutes: int | None, last: dict[str, timedelta], is_stopped: bool
) -> None:
    now = API.created_at + timedelta(days=9)
    at = {name: now - ago for name, ago in last.items()}
    page_at = at.pop("page_at", None)
    source = replace(API, every_minutes=every_minutes, **at)  # type: ignore[arg-type]

    assert (stopped_since(source, page_at, now) is not None) is is_stopped


@given(st.integers(0, 300), st.integers(1, 300), st.integers(1, 50))
def test_circle_is_found_over_parts_within_three_times_its_length(
    before: int, length: int, pages_of_a_part: int
) -> None:
    span = ListingSpan(START, START)
    detector = CircleDetector(span)
    found = None
    for step in range(4 * (before + length) + 10):
        place = step if step < before else before + (step - before) % length
        if detector.is_circle(str(place)):
            found = step
            break
        span = replace(span, cursor=str(place), pages=step + 1)
        if span.pages % pages_of_a_part == 0:
            detector = CircleDetector(span, detector.mark_after(span.pages))

    assert found is not None
    assert found + 1 <= 2 * max(before + 1, length) + length


def test_mark_of_another_place_is_no_circle() -> None:
    span = ListingSpan(START, START)
    detector = CircleDetector(span)
    assert not detector.is_circle("a")
    mark = detector.mark_after(1)

    begun_again = CircleDetector(span, mark)
    gone_on = CircleDetector(replace(span, cursor="a", pages=1), mark)

    assert not begun_again.is_circle("a")
    assert gone_on.is_circle("a")


@given(st.lists(st.text(), unique=True, max_size=300))
def test_cursors_that_differ_are_no_circle(cursors: list[str]) -> None:
    detector = CircleDetector(ListingSpan(START, START))

    assert not any(detector.is_circle(cursor) for cursor in cursors)


@pytest.mark.parametrize("complaint", list(Complaint))
def test_every_complaint_has_a_problem_and_a_sentence(complaint: Complaint) -> None:
    assert complaint.problem
    assert complaint.detail.endswith(".")
