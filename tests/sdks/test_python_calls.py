"""Python's own fields, keys and exceptions in calls to the API."""

import copy
import pickle
from collections import UserDict
from typing import Any

import pytest

from tests.sdks.merchant import fake_makegood
from tests.sdks.python_client import client, named


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
