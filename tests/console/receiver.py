"""A merchant's repair endpoint: stores every signed call and responds with a set status."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True, slots=True)
class Call:
    """A received call. Header names are in lower case."""

    headers: dict[str, str]
    body: dict[str, Any]  # JSON
    raw: bytes  # the body's bytes, as they were signed


class Receiver:
    """Received calls, and the status of the next response.

    Calls hang while `answering` is cleared.
    """

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
            with suppress(ConnectionError):  # the client may have disconnected
                self.send_response(receiver.status)
                self.send_header("content-length", "0")
                self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

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
