"""The JSON of a body: a tolerated member does not depend on the names of other members."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.http.request_body import MAXIMUM_BODY_BYTES, RawMember, read_object
from api.ingest.lenient_fields import TOLERATED_IN_RECEIPT, TOLERATED_IN_RESULT
from domain.errors import TooManyFields, ValidationFailed
from tests.api.serving import Caller, receipt

NAMES = [
    "größe",
    "grund_ü",
    "名",
    "🧾",
    "a b",
    "a\tb",
    'a"b',
    "a\\b",
    "",
    "\u2028",
    "error_message ",
    "Payload",
]
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)


@pytest.mark.spread
@pytest.mark.parametrize("name", NAMES, ids=ascii)
@pytest.mark.parametrize("is_escaped", [True, False], ids=["escaped", "plain"])
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_payload_and_error_texts_never_refuse_a_request_beside_any_unknown_name(
    caller: Caller, name: str, is_escaped: bool
) -> None:
    unknown = json.dumps(name, ensure_ascii=is_escaped).encode() + b":1"
    sent = json.dumps(receipt()).encode()[:-1]

    accepted = await caller.send("receipt", sent + b"," + unknown + rb',"payload":{"a":"\ud800"}}')
    event_id = accepted.json()["event_id"]
    failed = b'{"event_id":"%s","status":"failed",%s,"error_message":' % (
        event_id.encode(),
        unknown,
    )
    ill_formed = await caller.send("result", failed + rb'"\ud800"}')
    long = await caller.send("result", failed + b'"' + b"x" * 70_000 + b'"}')

    assert [accepted.status_code, ill_formed.status_code, long.status_code] == [202, 202, 202]


@given(names=st.sets(TEXT, max_size=49), is_escaped=st.booleans(), at=st.integers(0, 49))
def test_tolerated_member_is_set_aside_among_any_other_names(
    names: set[str], is_escaped: bool, at: int
) -> None:
    others = {name: number for number, name in enumerate(sorted(names - TOLERATED_IN_RECEIPT))}
    members = [
        b"%s:%d" % (json.dumps(name, ensure_ascii=is_escaped).encode(), number)
        for name, number in others.items()
    ]
    members.insert(at, rb'"payload":{"a":"\ud800"}')

    content = read_object(b"{" + b",".join(members) + b"}", tolerated=TOLERATED_IN_RECEIPT)

    assert content == others | {"payload": RawMember(rb'{"a":"\ud800"}')}


@pytest.mark.parametrize(
    "spelled", [rb'"payload"', rb'"\u0070ayload"', rb'"\u0070\u0061yload"'], ids=repr
)
def test_tolerated_name_counts_however_it_is_spelled(spelled: bytes) -> None:
    content = read_object(rb'{"a":1,%s:"\ud800"}' % spelled, tolerated=TOLERATED_IN_RECEIPT)

    assert content == {"a": 1, "payload": RawMember(rb'"\ud800"')}


@pytest.mark.parametrize(
    "body",
    [
        rb'{"error_message":"\ud800","error_message":"b"}',
        rb'{"error_message":"a","\u0065rror_message":"\ud800"}',
        b'{"error_message":"a","error_message":"' + b"x" * MAXIMUM_BODY_BYTES + b'"}',
        rb'{"gr\u00f6\u00dfe":1,"' + "größe".encode() + rb'":2,"error_message":"\ud800"}',
    ],
    ids=["ill-formed", "two spellings", "long", "another name"],
)
def test_name_given_twice_is_named_as_the_fault_in_every_object(body: bytes) -> None:
    with pytest.raises(ValidationFailed) as refusal:
        read_object(body, tolerated=TOLERATED_IN_RESULT)

    assert [error.code for error in refusal.value.errors] == ["duplicate_name"]


@pytest.mark.parametrize(
    "name", [b'"\xff"', rb'"\ud800"', rb'"\x"', b'"a\nb"', b"a", b"1", b'"a'], ids=repr
)
def test_invalid_name_is_refused_beside_a_tolerated_member(name: bytes) -> None:
    with pytest.raises(ValidationFailed):
        read_object(rb'{%s:1,"payload":"\ud800"}' % name, tolerated=TOLERATED_IN_RECEIPT)


def test_tolerated_member_counts_as_a_field() -> None:
    members = b",".join(b'"%d":1' % number for number in range(50))

    with pytest.raises(TooManyFields):
        read_object(rb'{%s,"payload":"\ud800"}' % members, tolerated=TOLERATED_IN_RECEIPT)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ('{"a":"Zoë"}'.encode("latin-1"), "The body is not UTF-8: the byte at position 8 is"),
        ('{"a":1}'.encode("utf-16"), "The body is not UTF-8: the byte at position 0 is"),
        (gzip.compress(b'{"a":1}'), "The body is not UTF-8: the byte at position 1 is"),
        (b'\xef\xbb\xbf{"a":1}', "The body begins with a byte order mark (EF BB BF). Send it "),
        (b'{"a":1', "The body must be one well-formed JSON object in UTF-8."),
    ],
    ids=["latin-1", "utf-16", "gzip", "byte order mark", "cut off"],
)
def test_body_in_another_encoding_is_named_with_its_first_wrong_byte(
    body: bytes, message: str
) -> None:
    with pytest.raises(ValidationFailed) as refused:
        read_object(body)

    (error,) = refused.value.errors
    assert error.code == "invalid_json"
    assert error.message.startswith(message)
