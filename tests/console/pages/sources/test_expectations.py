"""Expectations as lines of a text field: what is stored comes back, and errors name their line."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.console.pages.sources.expectations import line_of, write_lines
from domain.errors import FieldError
from domain.sources.source import Expects
from operations.sources.expectation_lines import read_lines
from tests.domain.values.test_text import ANY_TEXT

NAMES = st.from_regex(r"[a-z][a-z0-9_./-]{0,63}", fullmatch=True)
# A pointer of one line, without spaces at its ends.
POINTERS = st.from_regex(r"/[!-~]([ -~]{0,20}[!-~])?", fullmatch=True)
EXPECTS = st.builds(
    Expects,
    event_type=NAMES,
    effect_type=NAMES,
    within_minutes=st.sampled_from([0.03, 1.0, 15.0, 10_080.0]),
    reference=st.none() | POINTERS,
    livemode=st.just(False),
)


@given(st.lists(EXPECTS, max_size=50))
def test_stored_expectations_come_back_from_their_lines(expects: list[Expects]) -> None:
    read = read_lines(write_lines(expects))

    assert [
        (
            one["event_type"],
            one["effect_type"],
            one.get("within_minutes", 15.0),
            one.get("reference"),
        )
        for one in read
    ] == [(one.event_type, one.effect_type, one.within_minutes, one.reference) for one in expects]


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("invoice.paid", {"event_type": "invoice.paid"}),
        (
            "invoice.paid credit_grant",
            {"event_type": "invoice.paid", "effect_type": "credit_grant"},
        ),
        (
            "  orders/paid\taccess_unlock  0.5  ",
            {"event_type": "orders/paid", "effect_type": "access_unlock", "within_minutes": 0.5},
        ),
        (
            "a b soon /data/my id ",
            {
                "event_type": "a",
                "effect_type": "b",
                "within_minutes": "soon",
                "reference": "/data/my id",
            },
        ),
    ],
)
def test_line_is_read(line: str, expected: dict[str, object]) -> None:
    assert read_lines(f"\n{line}\r\n \n") == [expected]


@given(ANY_TEXT)
def test_any_text_is_read_without_an_error(text: str) -> None:
    assert all(
        one.keys() <= {"event_type", "effect_type", "within_minutes", "reference"}
        for one in read_lines(text)
    )


@pytest.mark.parametrize(
    ("pointer", "message"),
    [
        ("/expects/1/effect_type", "Line 2: Must be one."),
        ("/expects/0", "Line 1: Must be one."),
        ("/expects", "Must be one."),
        ("/expects/x", "Must be one."),
    ],
)
def test_error_names_its_line(pointer: str, message: str) -> None:
    assert line_of(FieldError(pointer, "unknown_value", "Must be one.")) == message
