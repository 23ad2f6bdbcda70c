"""What each client makes of odd fields, from the shared vectors."""

import json
import socket
from typing import Any

import pytest

from tests.sdks.merchant import ANSWER, SDKS
from tests.sdks.wire import LANGUAGES, make_calls, raw_server

CASES: list[dict[str, Any]] = json.loads((SDKS / "vectors" / "fields.json").read_text())["cases"]
BODY = json.dumps(ANSWER).encode()
GOOD = b"HTTP/1.1 202 Accepted\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s" % (
    len(BODY),
    BODY,
)


@pytest.mark.parametrize("language", LANGUAGES)
def test_client_agrees_with_every_vector_of_fields(language: str) -> None:
    sent: dict[int, dict[str, Any]] = {}

    def keep(path: str, request: bytes, connection: socket.socket) -> None:
        sent[int(path.split("/")[2])] = json.loads(request.partition(b"\r\n\r\n")[2])
        connection.sendall(GOOD)

    with raw_server(keep) as port:
        calls = [
            {
                "base_url": f"http://127.0.0.1:{port}/case/{number}",
                "call": case["call"],
                "fields": case["fields"],
            }
            for number, case in enumerate(CASES)
        ]

        outcomes = make_calls(language, calls)

    for number, (case, outcome) in enumerate(zip(CASES, outcomes, strict=True)):
        body = sent.get(number)
        if case["verdict"] == "validation_error":
            assert (outcome["verdict"], outcome["status"], outcome["retryable"]) == (
                "validation_error",
                None,
                False,
            ), case["name"]
            assert body is None, case["name"]
            continue
        assert outcome["verdict"] == "accepted", case["name"]
        assert body is not None, case["name"]
        assert body == case.get("body", body), case["name"]
        assert sorted(body) == sorted(case["fields"]), case["name"]
        assert all(isinstance(body[name], str) for name in case.get("texts", [])), case["name"]
