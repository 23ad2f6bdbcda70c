from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sources.json_pointer import is_pointer, resolve

# The example document of RFC 6901, section 5.
RFC: dict[str, Any] = {
    "foo": ["bar", "baz"],
    "": 0,
    "a/b": 1,
    "c%d": 2,
    "e^f": 3,
    "g|h": 4,
    "i\\j": 5,
    'k"l': 6,
    " ": 7,
    "m~n": 8,
}
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)


@pytest.mark.parametrize(
    ("pointer", "expected"),
    [
        ("", RFC),
        ("/foo", ["bar", "baz"]),
        ("/foo/0", "bar"),
        ("/", 0),
        ("/a~1b", 1),
        ("/c%d", 2),
        ("/e^f", 3),
        ("/g|h", 4),
        ("/i\\j", 5),
        ('/k"l', 6),
        ("/ ", 7),
        ("/m~0n", 8),
    ],
)
def test_the_examples_of_the_rfc_resolve(pointer: str, expected: object) -> None:
    assert is_pointer(pointer)
    assert resolve(RFC, pointer) == expected


@pytest.mark.parametrize(
    "pointer",
    ["/foo/2", "/foo/-", "/foo/01", "/foo/+1", "/foo/٣", "/foo/" + "9" * 200, "/x", "/foo/0/x"],
)
def test_what_is_not_there_is_none(pointer: str) -> None:
    assert resolve(RFC, pointer) is None


@pytest.mark.parametrize("text", ["foo", " /foo", "/~", "/~2", "/m~n", "/" + "x" * 255])
def test_what_is_no_pointer_is_known_and_finds_nothing(text: str) -> None:
    assert not is_pointer(text)
    assert resolve(RFC, text) is None


def test_an_escaped_tilde_before_a_digit_stays_a_tilde() -> None:
    assert resolve({"~1": "right", "/": "wrong"}, "/~01") == "right"


@given(values)
def test_every_value_is_found_at_its_own_pointer(document: object) -> None:
    for pointer, value in _paths(document, ""):
        if is_pointer(pointer):
            assert resolve(document, pointer) == value


@given(values, st.text())
def test_any_text_resolves_without_an_error(document: object, text: str) -> None:
    resolve(document, text)
    resolve(document, "/" + text)


def _paths(value: object, pointer: str) -> list[tuple[str, object]]:
    paths = [(pointer, value)]
    if isinstance(value, dict):
        for name, inner in value.items():
            step = name.replace("~", "~0").replace("/", "~1")
            paths += _paths(inner, f"{pointer}/{step}")
    if isinstance(value, list):
        for index, inner in enumerate(value):
            paths += _paths(inner, f"{pointer}/{index}")
    return paths
