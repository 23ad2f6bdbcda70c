"""Text from outside on its way to people:

whatever it is, it stays on its line, moves no cursor, and is well-formed.
"""

import json
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.values.text import LONGEST, cut_encoded, one_line, printable, printable_json, readable

# Every code point there is, halves of surrogate pairs among them.
ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=300)
BIDI = set("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def is_control(character: str) -> bool:
    return unicodedata.category(character) in {"Cc", "Cs", "Zl", "Zp"} or character in BIDI


@given(text=ANY_TEXT, longest=st.integers(1, 50))
def test_one_line_has_no_control_and_is_as_short_as_wanted(text: str, longest: int) -> None:
    line = one_line(text, longest=longest)

    assert not any(map(is_control, line))
    assert len(line) <= longest
    assert line == line.strip()
    assert len(line.splitlines()) <= 1
    line.encode("utf-8")


@given(text=ANY_TEXT)
def test_readable_text_keeps_its_lines_and_nothing_else_that_acts(text: str) -> None:
    shown = readable(text)

    assert not any(is_control(character) for character in shown if character not in "\n\t")
    assert shown.count("\n") == text.count("\n")
    assert len(shown) == len(text)
    shown.encode("utf-8")


@given(text=ANY_TEXT)
def test_printable_text_is_one_line_that_a_terminal_prints(text: str) -> None:
    assert printable(text).isprintable()
    assert len(printable(text)) == len(text)


@given(
    value=st.recursive(
        ANY_TEXT,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    )
)
@settings(deadline=None)
def test_json_for_a_terminal_is_the_same_value(value: object) -> None:
    printed = printable_json(json.dumps(value, indent=2, ensure_ascii=False))

    assert not any(is_control(character) for character in printed if character != "\n")
    assert json.loads(printed) == value
    printed.encode("utf-8")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("order 1", "order 1"),
        ("a\r\nBcc: x", "a Bcc: x"),
        ("a\u0085b\u2028c\u2029d", "a b c d"),
        ("\x1b[31mred\x07", "[31mred"),
        ("half \ud83d pair", "half \ufffd pair"),
        ("\u202egnp.exe", "gnp.exe"),
        ("family 👨\u200d👩\u200d👧 stays", "family 👨\u200d👩\u200d👧 stays"),
        ("  \0 ", ""),
    ],
)
def test_one_line_of_what_people_and_others_send(text: str, line: str) -> None:
    assert one_line(text) == line


def test_long_text_is_cut_with_an_ellipsis_and_costs_no_more() -> None:
    assert one_line("x" * 10_000_000) == "x" * (LONGEST - 1) + "…"


@given(ANY_TEXT, st.integers(8, 4_000), st.integers(1, 600))
def test_any_text_is_cut_to_its_encoded_size_and_no_further(
    text: str, most_bytes: int, most_characters: int
) -> None:
    cut = cut_encoded(text, most_bytes=most_bytes, most_characters=most_characters)

    longer = cut_encoded(text, most_bytes=10**6, most_characters=10**6)[: len(cut) + 1]
    assert len(json.dumps(cut)) <= most_bytes
    assert len(cut) <= most_characters
    assert longer.startswith(cut)
    assert cut.isprintable()
    assert longer == cut or len(json.dumps(longer)) > most_bytes or len(longer) > most_characters


def test_an_emoji_counts_twelve_bytes() -> None:
    cut = cut_encoded("\N{FIRE}" * 200, most_bytes=2_000, most_characters=255)

    assert (len(cut), len(json.dumps(cut))) == (166, 1_994)
