"""What JSON cannot hold, so that no shared vector has it:

Python's own headers, bodies, nonce checks and exceptions.
"""

import asyncio
import copy
import functools
import importlib.util
import json
import pickle
import re
import sys
from collections import UserDict
from email.message import Message
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from starlette.datastructures import Headers

from tests.sdks.merchant import SDKS, fake_makegood


def named(value: object) -> str:
    """The same in every process, where `repr` has the address of an object."""
    return re.sub(" at 0x[0-9a-f]+", "", repr(value))[:60]


def load(path: Path) -> ModuleType:
    """The client, without a path that every other test would see; under its own name, so that it
    can be pickled.
    """
    if path.stem in sys.modules:
        return sys.modules[path.stem]
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


client = load(SDKS / "python" / "makegood_client.py")
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
def test_headers_that_are_none_are_a_configuration_error(headers: object) -> None:
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


def test_error_goes_through_a_task_queue_whole() -> None:
    error = client.MakegoodError(
        status=503, code="unavailable", detail="no", request_id="req_1", retryable=True
    )
    error.retry_after_seconds = 7.0
    error.add_note("within a job")

    for other in (pickle.loads(pickle.dumps(error)), copy.deepcopy(error)):
        assert type(other) is client.MakegoodError
        assert (str(other), vars(other)) == ("unavailable: no", vars(error))


def test_what_json_cannot_hold_is_sent_as_text() -> None:
    class Unspeakable:
        def __str__(self) -> str:
            raise RuntimeError("no")

    with fake_makegood() as fake:
        makegood = client.Makegood(base_url=fake.url, api_key="sk_test_1")
        makegood.result(
            {
                "status": "failed",
                "error_message": ValueError("\ud800 broken"),
                "error_code": b"\xff",
            }
        )
        makegood.result({"status": "failed", "error_message": Unspeakable()})

    assert [call.body for call in fake.calls] == [
        {"status": "failed", "error_message": "\ufffd broken", "error_code": "\ufffd"},
        {"status": "failed", "error_message": "a Unspeakable"},
    ]


class Broken:
    """An object of an app's whose every use raises, as a detached row of an ORM does."""

    def __getattribute__(self, name: str) -> Any:
        return object.__getattribute__(self, name) if name.startswith("__") else 1 / 0

    def __str__(self) -> str:
        raise ZeroDivisionError

    def __bool__(self) -> bool:
        raise ZeroDivisionError

    def __eq__(self, other: object) -> bool:
        raise ZeroDivisionError

    __hash__ = object.__hash__


class BrokenBytes(bytes):
    def decode(self, *_: Any) -> str:
        raise ZeroDivisionError


class BrokenMapping(UserDict[str, Any]):
    def keys(self) -> Any:
        raise ZeroDivisionError


class BrokenList(list[int]):
    def __iter__(self) -> Any:
        raise ZeroDivisionError


@pytest.mark.parametrize(
    "prose", [Broken(), BrokenBytes(b"x"), BrokenList([1])], ids=["object", "bytes", "list"]
)
def test_failed_result_is_sent_whatever_its_prose_raises(prose: object) -> None:
    with fake_makegood() as fake:
        client.Makegood(base_url=fake.url, api_key="sk_test_1").result(
            {"status": "failed", "error_message": prose}
        )

    assert [sorted(call.body) for call in fake.calls] == [["error_message", "status"]]
    assert isinstance(fake.calls[0].body["error_message"], str)


def test_event_id_whose_every_use_raises_is_sent_as_text() -> None:
    with fake_makegood() as fake:
        client.Makegood(base_url=fake.url, api_key="sk_test_1").result(
            {"status": "failed", "event_id": Broken()}
        )

    assert fake.calls[0].body == {"status": "failed", "event_id": "a Broken"}


@pytest.mark.parametrize("call", ["receipt", "result"])
@pytest.mark.parametrize(
    "fields",
    [
        [],
        (),
        set(),
        b"{}",
        object(),
        Broken(),
        BrokenMapping(a=1),
        {"payload": BrokenList([1])},
        {Broken(): 1},
    ],
    ids=[
        "list",
        "tuple",
        "set",
        "bytes",
        "object",
        "broken",
        "broken mapping",
        "broken list",
        "broken name",
    ],
)
def test_no_fields_raise_anything_but_a_makegood_error(fields: Any, call: str) -> None:
    makegood = client.Makegood(base_url="http://127.0.0.1:1", api_key="sk_test_1")

    with pytest.raises(client.MakegoodError, match="validation_error") as refusal:
        getattr(makegood, call)(fields)

    assert refusal.value.retryable is False


@pytest.mark.parametrize(
    "key", [17, b"key", ["key"], Broken()], ids=["number", "bytes", "list", "broken"]
)
def test_key_that_is_no_text_is_the_digest_of_the_fields(key: Any) -> None:
    with fake_makegood() as fake:
        makegood = client.Makegood(base_url=fake.url, api_key="sk_test_1")
        makegood.receipt({"a": 1}, idempotency_key=key)
        makegood.receipt({"a": 1})

    assert len({call.headers["idempotency-key"] for call in fake.calls}) == 1


@pytest.mark.parametrize("payload", [float("nan"), {("a", "b"): 1}], ids=named)
def test_fields_that_are_no_json_are_a_makegood_error(payload: object) -> None:
    makegood = client.Makegood(base_url="http://127.0.0.1:1", api_key="sk_test_1")

    with pytest.raises(client.MakegoodError, match="validation_error") as refusal:
        makegood.receipt({"payload": payload})

    assert refusal.value.retryable is False


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
def test_bound_that_is_none_is_refused(name: str, value: object) -> None:
    with pytest.raises(client.ConfigurationError, match=name):
        client.Makegood(
            **({"base_url": "http://127.0.0.1:1", "api_key": "sk_test_1"} | {name: value})
        )
