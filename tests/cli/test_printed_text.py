"""What a command prints of stored text: one row is one line, nothing reaches the terminal as an
escape, JSON stays JSON.
"""

import json

import pytest
from hypothesis import HealthCheck, given, settings

from cli.output import format_value, print_json, print_notice, print_record, print_rows
from tests.domain.values.test_text import ANY_TEXT, is_control

FIXTURE = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@FIXTURE
@given(first=ANY_TEXT, second=ANY_TEXT)
def test_table_row_is_always_one_line(
    capsys: pytest.CaptureFixture[str], first: str, second: str
) -> None:
    rows = [{"a": first, "b": [second, {second: first}]}, {"a": "last", "b": None}]

    print_rows({}, rows, ("a", "b"), as_json=False)

    printed = capsys.readouterr().out
    lines = printed.split("\n")
    assert len(lines) == 4
    assert lines[2].startswith("last")
    assert not any(is_control(character) for line in lines for character in line)


@FIXTURE
@given(text=ANY_TEXT)
def test_record_and_message_print_no_control(capsys: pytest.CaptureFixture[str], text: str) -> None:
    print_record({"a": text, text: 1}, as_json=False)
    print_notice(f"makegood: {text}")

    printed = capsys.readouterr()
    assert len(printed.out.split("\n")) == 3
    assert not any(
        is_control(character) for character in printed.out + printed.err if character != "\n"
    )


@FIXTURE
@given(text=ANY_TEXT)
def test_printed_json_is_the_value_and_moves_no_cursor(
    capsys: pytest.CaptureFixture[str], text: str
) -> None:
    print_json({"a": [text]})

    printed = capsys.readouterr().out
    assert json.loads(printed) == {"a": [text]}
    assert not any(is_control(character) for character in printed if character != "\n")


def test_escape_sequence_is_not_printed() -> None:
    assert format_value("\x1b]0;owned\x07\x9b31m\u202e") == " ]0;owned  31m "
