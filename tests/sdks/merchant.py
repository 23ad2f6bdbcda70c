"""What the tests of the client libraries need:

a Makegood that records calls, and the programs of each language.
"""

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SDKS = Path(__file__).parents[2] / "sdks"
API_KEY = "sk_test_of_the_client_libraries"
SECRET = "whsec_c2RrIHRlc3RzOiBhIHNpZ25pbmcgc2VjcmV0ISE="
ANSWER = {
    "accepted": True,
    "event_id": "evt_1",
    "timeout_at": "2026-11-23T11:30:00.000Z",
    "state": "applied",
}


@dataclass(frozen=True, slots=True)
class Call:
    path: str
    headers: dict[str, str]
    body: dict[str, Any]


@dataclass(slots=True)
class FakeMakegood:
    """Answers each call with the next of `answers` (status, headers, JSON or text), and then with
    202.
    """

    url: str
    answers: list[tuple[int, dict[str, str], object]] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    called: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))


@contextmanager
def fake_makegood() -> Iterator[FakeMakegood]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            fake.calls.append(
                Call(
                    self.path,
                    {name.lower(): text for name, text in self.headers.items()},
                    json.loads(body),
                )
            )
            status, headers, answer = fake.answers.pop(0) if fake.answers else (202, {}, ANSWER)
            text = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            for name, value in {"Content-Length": str(len(text)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(text)
            fake.called.release()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        fake = FakeMakegood(url=f"http://127.0.0.1:{server.server_port}")
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()


def command(language: str) -> list[str]:
    """How to run a script of the language, or a skip that says what is missing."""
    if language == "python":
        return [sys.executable]
    program = shutil.which({"node": "node", "php": "php"}[language])
    if program is None:
        pytest.skip(f"no `{language}` on PATH: the {language} client was not run")
    return [program]


def environment(fake: FakeMakegood | None = None) -> dict[str, str]:
    wanted = {
        "PYTHONPATH": str(SDKS / "python"),
        "MAKEGOOD_API_KEY": API_KEY,
        "MAKEGOOD_SIGNING_SECRET": SECRET,
        "PORT": "0",
    }
    return os.environ | wanted | ({"MAKEGOOD_URL": fake.url} if fake else {})


def run(
    language: str, *arguments: str, fake: FakeMakegood | None = None
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*command(language), *arguments],
        cwd=SDKS / language,
        env=environment(fake),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
