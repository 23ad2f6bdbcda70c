import json

import pytest
from hypothesis import given

from domain.sources.events import NotAnEvent
from domain.sources.json_body import read_json
from tests.domain.sources.test_fields import json_values


@given(json_values)
def test_what_json_writes_is_read(value: object) -> None:
    written = json.dumps(value)

    assert json.dumps(read_json(written.encode())) == written


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b'"\\ud800"', "\ud800"),
        (b'{"a": 1, "a": 2}', {"a": 2}),
        (b'\xef\xbb\xbf"marked"', "marked"),
        (b"9" * 300, int("9" * 300)),
        (b"9" * 301, None),
        (b"-" + b"9" * 10_000, None),
    ],
    ids=["lone surrogate", "repeated name", "byte order mark", "long", "endless", "endless debt"],
)
def test_odd_values_stop_nothing(body: bytes, expected: object) -> None:
    assert read_json(body) == expected


@pytest.mark.parametrize(
    "body",
    [b"", b" ", b"{", b"\xff", b"[" * 100_000, b'{"a":' * 100_000, b"nul", b"1 2"],
    ids=["empty", "blank", "cut", "bytes", "deep list", "deep object", "cut word", "two values"],
)
def test_what_is_no_json_is_refused(body: bytes) -> None:
    with pytest.raises(NotAnEvent):
        read_json(body)
