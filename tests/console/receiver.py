"""A merchant's repair endpoint: takes every signed call, keeps it, and answers with the status it is told."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """A call as it came; header names in lower case."""

    headers: dict[str, str]
    body: dict[str, Any]  # JSON
    raw: bytes  # the body's bytes, as they were signed


class Receiver:
    """What came in, and the status that the next call is answered with; while `answering` is cleared, calls are left hanging."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.status = 200
        self.url = ""
        self.answering = threading.Event()
        self.answering.set()


@contextmanager
def receiving() -> Iterator[Receiver]:
    """An endpoint on a free port of this machine while the block runs."""
    receiver = Receiver()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.calls.append(Call(headers, json.loads(body), body))
            receiver.answering.wait()
            with suppress(ConnectionError):  # who asked may have given up
                self.send_response(receiver.status)
                self.send_header("content-length", "0")
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the test's output is its own."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.url = f"http://127.0.0.1:{server.server_port}/makegood/repair"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.answering.set()
        server.shutdown()
        thread.join()
        server.server_close()
