"""The README's examples, run unchanged against a server that records what they send."""

import hashlib
import hmac
import json
import re
import secrets
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from domain.security.signing import SigningSecrets, callback_headers
from tests.sdks.merchant import (
    API_KEY,
    SDKS,
    SECRET,
    FakeMakegood,
    command,
    environment,
    fake_makegood,
    run,
)

SUFFIXES = {"python": "py", "node": "mjs", "php": "php"}
CALLBACK = {
    "type": "repair.requested",
    "replay_id": "rpl_1",
    "event_id": "evt_1",
    "internal_reference": "order_1001",
    "effect_key": "stripe:evt_1PqX9:access_unlock",
}
PROBLEM = {"code": "validation_error", "detail": "no", "retryable": False}


@pytest.fixture
def makegood() -> Iterator[FakeMakegood]:
    with fake_makegood() as fake:
        yield fake


def run_example(language: str, name: str, fake: FakeMakegood) -> "subprocess.CompletedProcess[str]":
    return run(language, f"examples/{name}.{SUFFIXES[language]}", fake=fake)


@pytest.mark.parametrize("language", SUFFIXES)
def test_receipt_example_sends_a_receipt(language: str, makegood: FakeMakegood) -> None:
    ran = run_example(language, "receipt", makegood)

    assert (ran.returncode, ran.stdout.strip()) == (
        0,
        "evt_1 must have a result by 2026-11-23T11:30:00.000Z",
    ), ran.stderr
    (call,) = makegood.calls
    assert call.path == "/api/v1/receipt"
    assert call.headers["authorization"] == f"Bearer {API_KEY}"
    assert (call.headers["content-type"], call.headers["accept"]) == (
        "application/json",
        "application/json",
    )
    assert call.headers["idempotency-key"] == hashlib.sha256(compact(call.body)).hexdigest()
    assert call.body == {
        "provider": "stripe",
        "provider_event_id": "evt_1PqX9",
        "event_type": "checkout.session.completed",
        "effect_type": "access_unlock",
        "internal_reference": "order_1001",
        "occurred_at": "2026-11-23T10:00:00Z",
    }


@pytest.mark.parametrize("language", SUFFIXES)
def test_result_example_sends_a_result(language: str, makegood: FakeMakegood) -> None:
    ran = run_example(language, "result", makegood)

    assert (ran.returncode, ran.stdout.strip()) == (0, "evt_1 is applied"), ran.stderr
    (call,) = makegood.calls
    assert (call.path, call.body["status"]) == ("/api/v1/result", "success")


@pytest.mark.parametrize("language", SUFFIXES)
def test_client_repeats_a_retryable_failure_under_the_same_key(
    language: str, makegood: FakeMakegood
) -> None:
    makegood.answers = [
        (503, {"Retry-After": "0"}, {"code": "unavailable", "retryable": True}),
        (502, {"Retry-After": "0"}, "<html>a proxy in between</html>"),
    ]

    ran = run_example(language, "receipt", makegood)

    assert ran.returncode == 0, ran.stderr
    assert len(makegood.calls) == 3
    assert len({call.headers["idempotency-key"] for call in makegood.calls}) == 1


@pytest.mark.spread
@pytest.mark.parametrize("language", SUFFIXES)
@pytest.mark.parametrize(
    ("status", "answer"),
    [(422, PROBLEM), (307, {}), (202, "not JSON")],
    ids=["refusal", "redirect", "no JSON"],
)
def test_client_raises_a_final_failure_at_once(
    language: str, status: int, answer: object, makegood: FakeMakegood
) -> None:
    makegood.answers = [
        (status, {"Location": makegood.url + "/elsewhere", "Request-Id": "req_1"}, answer)
    ]

    ran = run_example(language, "receipt", makegood)

    assert ran.returncode != 0
    assert "MakegoodError" in ran.stderr + ran.stdout
    assert (
        "validation_error: no" if status == 422 else "unexpected_answer"
    ) in ran.stderr + ran.stdout
    assert len(makegood.calls) == 1


@pytest.mark.parametrize("language", SUFFIXES)
def test_client_raises_when_no_server_answers(language: str) -> None:
    with fake_makegood() as gone:
        pass

    ran = run_example(language, "result", gone)

    assert ran.returncode != 0
    assert "network_error" in ran.stderr + ran.stdout


@pytest.mark.parametrize("language", ["python", "node"])
def test_repair_endpoint_verifies_applies_and_reports(
    language: str, makegood: FakeMakegood
) -> None:
    body = json.dumps(CALLBACK).encode()
    with repair_endpoint(language, makegood) as url:
        genuine = signed(body)

        statuses = [
            deliver(url, body + b" ", genuine),
            deliver(url, body, genuine),
            deliver(url, body, genuine),
            deliver(url, body, signed(body, timestamp=int(time.time()) - 301)),
            deliver(url, body, {}),
        ]
        reported = makegood.called.acquire(timeout=20)

    assert statuses == [401, 202, 401, 401, 401]
    assert reported
    assert [(call.path, call.body) for call in makegood.calls] == [
        ("/api/v1/result", {"event_id": "evt_1", "replay_id": "rpl_1", "status": "success"})
    ]


@pytest.mark.parametrize(
    "path", sorted(SDKS.glob("*/**/*.php")), ids=lambda path: str(path.relative_to(SDKS))
)
def test_php_file_parses(path: Path) -> None:
    ran = run("php", "-l", str(path))

    assert ran.returncode == 0, ran.stdout + ran.stderr


@contextmanager
def repair_endpoint(language: str, makegood: FakeMakegood) -> Iterator[str]:
    """The example as its own process; the address is read from what it prints."""
    arguments = {
        "python": ["-m", "uvicorn", "--app-dir", "examples", "--port", "0", "repair_endpoint:app"],
        "node": ["examples/repair-endpoint.mjs"],
    }[language]
    with subprocess.Popen(
        [*command(language), *arguments],
        cwd=SDKS / language,
        env=environment(makegood),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:
        try:
            yield _printed_address(process) + "/makegood/repair"
        finally:
            process.terminate()


def _printed_address(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    printed = ""
    for line in process.stdout:
        printed += line
        if match := re.search(r"http://127\.0\.0\.1:[0-9]+", line):
            return match.group()
    raise AssertionError(f"the endpoint ended before it listened:\n{printed}")


def signed(body: bytes, *, timestamp: int | None = None) -> dict[str, str]:
    pairs = callback_headers(
        secrets=SigningSecrets(SECRET),
        replay_id="rpl_1",
        attempt_number=1,
        timestamp=timestamp or int(time.time()),
        nonce=secrets.token_hex(16),
        body=body,
    )
    return dict(pairs)


def deliver(url: str, body: bytes, headers: dict[str, str]) -> int:
    request = urllib.request.Request(
        url, data=body, headers={"Content-Type": "application/json", **headers}
    )
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            status: int = answer.status
    except urllib.error.HTTPError as refusal:
        with refusal:
            status = refusal.code
    return status


def compact(fields: dict[str, Any]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode()


def in_laravel(
    config: dict[str, str | None], requests: list[tuple[list[tuple[str, str]], bytes]]
) -> list[int]:
    """The statuses of the example controller in a Laravel application (Debian:

    php-laravel-framework).
    """
    if subprocess.run(
        [*command("php"), "-r", "require 'Illuminate/autoload.php';"],
        capture_output=True,
        check=False,
    ).returncode:
        pytest.skip("no Laravel in PHP's include path: the example controller was not run")
    given = {
        "config": config,
        "requests": [{"headers": headers, "body": body.decode()} for headers, body in requests],
    }
    ran = subprocess.run(
        [*command("php"), str(Path(__file__).with_name("run_laravel.php"))],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    statuses: list[int] = json.loads(ran.stdout)
    return statuses


def test_laravel_controller_verifies_applies_and_reports(makegood: FakeMakegood) -> None:
    body = json.dumps(CALLBACK).encode()
    genuine, other = signed(body), signed(body)
    nonce = ("X-SendPromptly-Nonce", other["X-SendPromptly-Nonce"])

    statuses = in_laravel(
        {"url": makegood.url, "api_key": API_KEY, "signing_secret": f" {SECRET}\n"},
        [
            (list(genuine.items()), body + b" "),
            (list(genuine.items()), body),
            (list(genuine.items()), body),
            ([*other.items(), nonce], body),
            ([], body),
        ],
    )

    assert statuses == [401, 202, 401, 401, 401]
    assert [(call.path, call.body) for call in makegood.calls] == [
        ("/api/v1/result", {"event_id": "evt_1", "replay_id": "rpl_1", "status": "success"})
    ]


@pytest.mark.parametrize(
    "secret", [None, "", ",", SECRET + ","], ids=["unset", "empty", "comma", "comma at the end"]
)
def test_laravel_controller_answers_500_to_a_forged_callback_where_a_secret_is_blank(
    secret: str | None, makegood: FakeMakegood
) -> None:
    """Anybody can sign with an empty key."""
    body = json.dumps(CALLBACK).encode()
    timestamp, nonce = str(int(time.time())), secrets.token_hex(16)
    forged = hmac.new(b"", f"{timestamp}.{nonce}.".encode() + body, hashlib.sha256).hexdigest()
    names = ("X-SendPromptly-Timestamp", "X-SendPromptly-Nonce", "X-SendPromptly-Signature")
    headers = list(zip(names, (timestamp, nonce, forged), strict=True))

    statuses = in_laravel(
        {"url": makegood.url, "api_key": API_KEY, "signing_secret": secret}, [(headers, body)]
    )

    assert statuses == [500]
    assert makegood.calls == []
