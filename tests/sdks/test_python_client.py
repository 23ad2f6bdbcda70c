"""What JSON cannot hold, so that no shared vector has it:

Python's own headers, bodies, nonce checks and exceptions.
"""

import asyncio
import functools
import json
from email.message import Message
from typing import Any

import pytest
from starlette.datastructures import Headers

from tests.sdks.merchant import SDKS
from tests.sdks.python_client import client, named

FRESH = json.loads((SDKS / "vectors" / "verification.json").read_text())["cases"][0]


NONCE = "X-SendPromptly-Nonce"


SIGNATURE = "X-SendPromptly-Signature"


def decide(headers: Any = None, body: Any = None, **given: Any) -> str:
    arguments = {
        "secrets": FRESH["secrets"],
        "seen_nonce": lambda nonce: False,
        "now": FRESH["now"],
    } | given
    try:
        client.verify_callback(
            FRESH["headers"] if headers is None else headers,
            FRESH["body"].encode() if body is None else body,
            **arguments,
        )
    except client.InvalidCallback as invalid:
        return str(invalid.reason)
    except client.ConfigurationError:
        return "configuration_error"
    return "accepted"


def as_bytes(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


def message() -> Message:
    headers = Message()
    for name, value in FRESH["headers"].items():
        headers[name] = value
    return headers


@pytest.mark.parametrize(
    "headers",
    [
        as_bytes(FRESH["headers"]),
        dict(as_bytes(FRESH["headers"])),
        Headers(raw=as_bytes(FRESH["headers"])),
        message(),
        {name: (value,) for name, value in FRESH["headers"].items()},
        iter(FRESH["headers"].items()),
    ],
    ids=["ASGI's list", "bytes", "Starlette", "email.message", "tuples of one", "an iterator"],
)
def test_headers_of_every_framework_are_read(headers: Any) -> None:
    assert decide(headers) == "accepted"


@pytest.mark.parametrize("name", [NONCE, SIGNATURE, "X-SendPromptly-Timestamp"])
def test_repeated_headers_are_refused_wherever_they_are_repeated(name: str) -> None:
    raw = as_bytes(FRESH["headers"])
    repeated = [*raw, next(pair for pair in raw if pair[0] == name.lower().encode())]

    assert [decide(repeated), decide(Headers(raw=repeated))] == ["malformed_header"] * 2


@pytest.mark.parametrize("name", [NONCE, "X-SendPromptly-Timestamp"])
@pytest.mark.parametrize(
    "value",
    [
        b"\xff",
        b"\xe9" * 32,
        "\ud800",
        "\udcff" * 32,
        "é",
        17,
        1.5,
        True,
        {},
        {"a": 1},
        object(),
        ("a", "b"),
        [["a"]],
        [b"\xff"],
        ...,
    ],
    ids=named,
)
def test_odd_value_is_a_refusal(name: str, value: object) -> None:
    assert decide(FRESH["headers"] | {name: value}) == "malformed_header"


@pytest.mark.parametrize("value", [b"\xff" * 64, "\ud800" * 64, "é", "\u0660" * 64], ids=ascii)
def test_odd_text_of_a_signature_is_a_bad_signature(value: object) -> None:
    assert decide(FRESH["headers"] | {SIGNATURE: value}) == "bad_signature"


@pytest.mark.parametrize(
    "name", [None, 17, b"\xff", "\ud800", ("X-SendPromptly-Nonce",), object()], ids=named
)
def test_odd_name_is_another_header(name: object) -> None:
    assert decide(FRESH["headers"] | {name: "x"}) == "accepted"


@pytest.mark.parametrize(
    "headers", [17, "X-SendPromptly-Nonce: x", [1], ["abc"], [("a", "b", "c")], object()], ids=named
)
def test_invalid_headers_are_a_configuration_error(headers: object) -> None:
    assert decide(headers) == "configuration_error"


@pytest.mark.parametrize(
    "kind",
    [bytes, bytearray, memoryview, bytes.decode],
    ids=["bytes", "bytearray", "memoryview", "str"],
)
def test_body_may_be_bytes_of_any_kind_or_their_text(kind: Any) -> None:
    assert decide(body=kind(FRESH["body"].encode())) == "accepted"


def test_text_that_no_bytes_can_be_is_a_bad_signature() -> None:
    assert decide(body="\ud800") == "bad_signature"


@pytest.mark.parametrize(
    "secrets",
    [b"whsec_x", bytearray(b"whsec_x"), {"whsec_x": 1}, 17, object(), [b"whsec_x"], iter([])],
    ids=named,
)
def test_secrets_that_are_no_texts_are_refused(secrets: object) -> None:
    assert decide(secrets=secrets) == "configuration_error"


@pytest.mark.parametrize("kind", [tuple, set, frozenset, iter])
def test_secrets_may_be_any_collection(kind: Any) -> None:
    assert decide(secrets=kind(FRESH["secrets"])) == "accepted"


def test_verifier_is_refused_when_it_is_made() -> None:
    for secrets in ("", ",", FRESH["secrets"][0] + ",", [], [""], None):
        with pytest.raises(client.ConfigurationError, match="MAKEGOOD_SIGNING_SECRET") as refusal:
            client.CallbackVerifier(secrets=secrets, seen_nonce=lambda nonce: False)
        assert "whsec_AQ" not in str(refusal.value)


async def unseen(nonce: str) -> bool:
    return False


async def seen(nonce: str) -> bool:
    return True


class AsyncStore:
    async def __call__(self, nonce: str) -> bool:
        return False

    async def look_up(self, nonce: str, more: int = 0) -> bool:
        return False


@pytest.mark.parametrize(
    "check",
    [
        unseen,
        AsyncStore(),
        AsyncStore().look_up,
        functools.partial(AsyncStore().look_up, more=1),
        lambda nonce: unseen(nonce),
    ],
    ids=["function", "object", "method", "partial", "hidden"],
)
def test_asynchronous_nonce_check_is_refused_where_it_cannot_be_awaited(check: Any) -> None:
    """Its coroutine would count as true, and every callback as replayed.

    Warnings are errors: none is left un-awaited.
    """
    assert decide(seen_nonce=check) == "configuration_error"


@pytest.mark.parametrize(
    ("check", "reason"),
    [
        (unseen, None),
        (seen, "replayed_nonce"),
        (lambda nonce: False, None),
        (lambda nonce: True, "replayed_nonce"),
    ],
)
def test_asynchronous_nonce_check_is_awaited(check: Any, reason: str | None) -> None:
    async def verify() -> None:
        await client.verify_callback_async(
            FRESH["headers"],
            FRESH["body"].encode(),
            secrets=FRESH["secrets"],
            seen_nonce=check,
            now=FRESH["now"],
        )

    if reason is None:
        asyncio.run(verify())
    else:
        with pytest.raises(client.InvalidCallback, match=reason):
            asyncio.run(verify())


@pytest.mark.parametrize("answer", [None, "", "yes", 2, [], object()], ids=named)
def test_nonce_check_that_says_neither_yes_nor_no_is_a_configuration_error(answer: object) -> None:
    assert decide(seen_nonce=lambda nonce: answer) == "configuration_error"


def test_time_that_is_not_a_number_makes_everything_stale() -> None:
    assert decide(now=float("nan")) == "stale_timestamp"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("attempts", 0),
        ("attempts", "3"),
        ("timeout_seconds", 0),
        ("timeout_seconds", float("nan")),
        ("timeout_seconds", None),
    ],
)
def test_invalid_bound_is_refused(name: str, value: object) -> None:
    with pytest.raises(client.ConfigurationError, match=name):
        client.Makegood(
            **({"base_url": "http://127.0.0.1:1", "api_key": "sk_test_1"} | {name: value})
        )
