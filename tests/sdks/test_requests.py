"""What each client sends: texts of failed results, and idempotency keys."""

import json
import socket
from typing import Any

import pytest

from tests.sdks.wire import LANGUAGES, make_calls, raw_server
from tests.sdks.wire_answers import GOOD

PROSE = {
    "error_code": "x" * 300,
    "error_message": "\ud800 broken \udfff, whole \U0001f600, " + "é" * 3000,
}


@pytest.mark.parametrize("language", ["python", "node"])
def test_prose_of_a_failed_result_is_well_formed_and_cut(language: str) -> None:
    body = sent_body(language, {"event_id": "evt_\udc00", "status": "failed", **PROSE})

    assert json.loads(body.decode()) == {
        "event_id": "evt_\ufffd",
        "status": "failed",
        "error_code": "x" * 255,
        "error_message": ("\ufffd broken \ufffd, whole \U0001f600, " + "é" * 3000)[:2048],
    }


@pytest.mark.parametrize("language", LANGUAGES)
def test_backslashes_and_pairs_are_sent_as_they_are(language: str) -> None:
    fields = {
        "event_id": "evt_1",
        "status": "failed",
        "error_message": "\\ud800 \\\\udfff \U0001f600 \u2028",
    }

    assert json.loads(sent_body(language, fields)) == fields


@pytest.mark.parametrize("language", LANGUAGES)
def test_prose_that_is_no_text_is_sent_as_text(language: str) -> None:
    fields = {"event_id": "evt_1", "status": "failed", "error_code": 17, "error_message": None}

    assert json.loads(sent_body(language, fields)) == fields | {"error_code": "17"}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("key", ["a\r\nX-A: b", "é", "x" * 256, " a", "a\n", "\x7f"])
def test_key_that_no_header_can_carry_is_sent_as_its_digest(key: str, language: str) -> None:
    head = sent_request(language, {}, idempotency_key=key).partition(b"\r\n\r\n")[0]

    found = {
        line.partition(b":")[0].lower(): line.partition(b":")[2].strip()
        for line in head.split(b"\r\n")[1:]
    }
    assert len(found[b"idempotency-key"]) == 64
    assert set(found[b"idempotency-key"]) <= set(b"0123456789abcdef")
    assert b"x-a" not in found


@pytest.mark.parametrize("language", LANGUAGES)
def test_key_that_a_header_can_carry_is_sent_as_it_is(language: str) -> None:
    request = sent_request(language, {}, idempotency_key="receipt:stripe:evt_1:access_unlock (1)")

    assert b": receipt:stripe:evt_1:access_unlock (1)\r\n" in request


def sent_request(language: str, fields: dict[str, Any], **more: str) -> bytes:
    requests: list[bytes] = []

    def keep(path: str, request: bytes, connection: socket.socket) -> None:
        requests.append(request)
        connection.sendall(GOOD)

    with raw_server(keep) as port:
        call = {"base_url": f"http://127.0.0.1:{port}", "call": "result", "fields": fields} | more
        (outcome,) = make_calls(language, [call])
    assert outcome["verdict"] == "accepted"
    (request,) = requests
    return request


def sent_body(language: str, fields: dict[str, Any]) -> bytes:
    return sent_request(language, fields).partition(b"\r\n\r\n")[2]
