"""The rules for headers and JSON, as tables."""

from contextlib import nullcontext
from time import process_time

import pytest

from api.http.request_body import RawMember, read_object
from api.http.request_headers import (
    RequestHead,
    bearer_token,
    check_accept,
    check_content_type,
    error_media_type,
    idempotency_key,
    read_request_head,
)
from domain.errors import (
    MissingAcceptHeader,
    MissingIdempotencyKey,
    NotAcceptable,
    PayloadTooLarge,
    TooManyFields,
    UnsupportedMediaType,
    ValidationFailed,
)


@pytest.mark.parametrize(
    "accept",
    [
        b"*/*",
        b"application/*",
        b"application/json",
        b"APPLICATION/JSON",
        b"application/vnd.api+json",
        b"text/html, application/json;q=0.1",
        b"text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
        b"application/json, */*;q=0",
        b"application/json;q=0, application/problem+json",
        b"application/json;\tq=0.5",
    ],
)
def test_accept_that_allows_json(accept: bytes) -> None:
    check_accept(accept)


@pytest.mark.parametrize(
    "accept",
    [
        b"text/html",
        b"application/xml",
        b"application/json;q=0",
        b"application/json;\tq=0",
        b"application/json;q=0, */*",
        b"application/*;q=0, */*",
        b"*/*; q=0.000",
        b"json",
    ],
)
def test_accept_that_allows_none(accept: bytes) -> None:
    with pytest.raises(NotAcceptable):
        check_accept(accept)


@pytest.mark.parametrize("accept", [None, b"", b"  "])
def test_accept_that_is_missing(accept: bytes | None) -> None:
    with pytest.raises(MissingAcceptHeader):
        check_accept(accept)


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        (None, b"application/problem+json"),
        (b"application/json", b"application/json"),
        (b"application/json, text/html", b"application/json"),
        (b"application/json, */*", b"application/problem+json"),
        (b"application/vnd.api+json", b"application/problem+json"),
        (b"text/html", b"application/problem+json"),
    ],
)
def test_problems_are_plain_json_only_where_nothing_wider_is_taken(
    accept: bytes | None, media_type: bytes
) -> None:
    assert error_media_type(accept) == media_type


@pytest.mark.parametrize(
    "content_type",
    [b"application/json", b"Application/JSON; charset=utf-8", b'application/json;charset="UTF-8"'],
)
def test_content_type_that_is_json(content_type: bytes) -> None:
    check_content_type(content_type, None)
    check_content_type(content_type, b"identity")


@pytest.mark.parametrize(
    ("content_type", "content_encoding"),
    [
        (None, None),
        (b"text/plain", None),
        (b"application/json5", None),
        (b"application/x-www-form-urlencoded", None),
        (b"application/json; charset=latin-1", None),
        (b"application/json", b"gzip"),
    ],
)
def test_content_type_that_is_not(
    content_type: bytes | None, content_encoding: bytes | None
) -> None:
    with pytest.raises(UnsupportedMediaType):
        check_content_type(content_type, content_encoding)


@pytest.mark.parametrize(
    ("content_type", "content_encoding", "advice"),
    [
        (b"text/plain", b"gzip", "Content-Type: application/json"),
        (b"application/json", b"GZIP", "The Content-Encoding gzip is not supported"),
        (b"application/json", b"br", "The Content-Encoding br is not supported"),
        (b"application/json", b"<secret>", "The Content-Encoding is not supported"),
        (b"application/json; charset=latin-1", None, "charset of the Content-Type is not"),
    ],
)
def test_advice_names_what_is_wrong_with_the_media_type(
    content_type: bytes, content_encoding: bytes | None, advice: str
) -> None:
    with pytest.raises(UnsupportedMediaType) as refused:
        check_content_type(content_type, content_encoding)

    assert advice in refused.value.detail


@pytest.mark.parametrize("value", [None, b"", b"  ", b"x" * 256, b"a\tb", b"a\x7fb", b"a\xc2\x80b"])
def test_idempotency_key_that_is_none(value: bytes | None) -> None:
    with pytest.raises(MissingIdempotencyKey):
        idempotency_key(value)


def test_length_of_an_idempotency_key_counts_characters() -> None:
    assert idempotency_key("ü".encode() * 255) == "ü" * 255


@pytest.mark.parametrize(
    ("authorization", "token"),
    [
        (b"Bearer sk_1", "sk_1"),
        (b"bearer  sk_1 ", "sk_1"),
        (b"Basic c2s6", None),
        (b"Bearer", None),
        (b"Bearer \xff", None),
        (None, None),
    ],
)
def test_token_is_what_follows_bearer(authorization: bytes | None, token: str | None) -> None:
    assert bearer_token(authorization) == token


def test_repeated_headers_are_joined() -> None:
    head = read_request_head([(b"accept", b"text/html"), (b"host", b"x"), (b"accept", b"*/*")])

    assert head.accept == b"text/html, */*"


def test_head_has_every_header_with_a_rule_and_none_for_an_absent_one() -> None:
    sent = {
        b"authorization": b"Bearer sk_1",
        b"accept": b"*/*",
        b"content-type": b"application/json",
        b"content-encoding": b"identity",
        b"content-length": b"2",
        b"idempotency-key": b"key-1",
    }

    assert read_request_head([*sent.items(), (b"host", b"x")]) == RequestHead(*sent.values())
    assert read_request_head([]) == RequestHead(*[None] * len(sent))


@pytest.mark.parametrize(
    "body",
    [
        b'{"a":1,"a":1}',
        b'{"a" : 1, "a":1}',
        b'{"a":{"b":1,"b":2}}',
        b'{"a":[{"b":1,"b":2}]}',
        b'{"a":1,"\\u0061":2}',
        b'{"a":":","a":":"}',
        b'{"a":"\\ud800"}',
        b'{"a":NaN}',
        b'{"a":Infinity}',
        b'{"a":1e400}',
        b'{"a":{"b":[0,-1e400]}}',
        b'{"a":1}x',
        b'\xef\xbb\xbf{"a":1}',
        b'{"a":"\xff"}',
        b'{"a":"\n"}',
        b"{'a':1}",
        b'{"a":' * 201 + b"1" + b"}" * 201,
        b'{"a":' + b"1" * 5_000 + b"}",
        b"null",
        b'"text"',
        b"[]",
        b"",
    ],
    ids=repr,
)
def test_json_that_is_refused(body: bytes) -> None:
    with pytest.raises(ValidationFailed):
        read_object(body)


@pytest.mark.parametrize(
    ("body", "content"),
    [
        (b'{"a":": b","c":"\\": "}', {"a": ": b", "c": '": '}),
        (b'{ "a" :\n{ "b" : [ {"c":1}, {"c":2} ] } }', {"a": {"b": [{"c": 1}, {"c": 2}]}}),
        (b'{"a":"\\ud83c\\udf89"}', {"a": "🎉"}),
        (b'{"a":1e300}', {"a": 1e300}),
        (b"{}", {}),
    ],
    ids=repr,
)
def test_json_that_is_read(body: bytes, content: dict[str, object]) -> None:
    assert read_object(body) == content


def _filled(
    unit: bytes, before: bytes = b"[", after: bytes = b"0]", *, size: int = 1_048_576
) -> bytes:
    """A result of about so many bytes, whose error text repeats this unit."""
    body = b'{"event_id":"e","status":"failed","error_message":' + before
    return body + unit * ((size - len(body) - 40) // len(unit)) + after + b"}"


HEAVY = {
    "numbers": _filled(b"1,"),
    "texts": _filled(b'"",'),
    "objects": _filled(b'{"a":1},'),
    "texts side by side": _filled(b'"" ', b"", b'""'),
    "escapes": _filled(rb"\n", b'"', b'"'),
    "invalid escapes": _filled(rb"\q", b'"', b'"'),
    "nested in nested": _filled(b"[[]],", size=80_000),
    "fields": b'{"error_message":"x",' + b'"a":1,' * 170_000 + b'"b":1}',
    "long names": b'{"error_message":"x","' + rb"\"" * 500_000 + b'":1}',
}
REFUSED = {"fields": TooManyFields, "long names": PayloadTooLarge}


@pytest.mark.parametrize("name", HEAVY)
def test_whatever_a_result_of_a_mebibyte_is_made_of_it_is_read_in_a_short_time(name: str) -> None:
    seconds: list[float] = []
    for _ in range(5):
        began = process_time()
        with pytest.raises(REFUSED[name]) if name in REFUSED else nullcontext():
            content = read_object(HEAVY[name], tolerated=frozenset({"error_code", "error_message"}))
            assert (content["event_id"], type(content["error_message"])) == ("e", RawMember)
        seconds.append(process_time() - began)

    assert min(seconds) < 0.05, "the event loop is held for as long"


def test_fifty_fields_are_read_and_one_more_is_not() -> None:
    fields = [f'"field_{number}":0' for number in range(51)]

    assert len(read_object(f"{{{','.join(fields[:50])}}}".encode())) == 50
    with pytest.raises(TooManyFields):
        read_object(f"{{{','.join(fields)}}}".encode())
