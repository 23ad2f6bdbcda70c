"""A small Stripe of the demo: `GET /v1/events` on loopback, newest first, as a `stripe_api` source
lists it.

It runs in a thread of the demo. It knows one restricted key, and keeps its events in memory.
"""

import hmac
import json
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

PAGE = 100
MAXIMUM_EVENTS = 1_000

# A JSON object of Stripe; values are of any JSON type.
Json = Mapping[str, Any]


@dataclass(slots=True)
class DemoStripe:
    """The events of one account. `restricted_key` is the only key that it accepts."""

    url: str = ""
    restricted_key: str = field(
        default_factory=lambda: f"rk_test_{secrets.token_hex(24)}", repr=False
    )
    _events: list[Json] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add_event(self, event: Json) -> None:
        """Put the event on record, as Stripe does before it delivers it."""
        with self._lock:
            self._events.insert(0, event)
            del self._events[MAXIMUM_EVENTS:]

    def accepts(self, authorization: str) -> bool:
        """Whether this `Authorization` header has the key."""
        expected = f"Bearer {self.restricted_key}"
        return hmac.compare_digest(authorization.encode(), expected.encode())

    def list_events(self, query: Mapping[str, list[str]]) -> Json:
        """One page of the events, newest first, with the parameters of Stripe's `/v1/events`."""
        with self._lock:
            found = [event for event in self._events if _fits(event, query)]
        after = query.get("starting_after", [""])[0]
        ids = [event["id"] for event in found]
        rest = found[ids.index(after) + 1 :] if after in ids else found
        limit = int(query.get("limit", ["10"])[0])
        page = rest[: min(limit, PAGE)]
        return {
            "object": "list",
            "url": "/v1/events",
            "has_more": len(rest) > len(page),
            "data": page,
        }


@contextmanager
def demo_stripe() -> Iterator[DemoStripe]:
    """Serve on a free port of loopback during the block."""
    stripe = DemoStripe()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler_of(stripe))
    stripe.url = f"http://127.0.0.1:{server.server_port}"
    server.daemon_threads = True
    serving = threading.Thread(target=server.serve_forever, name="demo-stripe", daemon=True)
    serving.start()
    try:
        yield stripe
    finally:
        server.shutdown()
        server.server_close()
        serving.join()


def _handler_of(stripe: DemoStripe) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        """Answers one request."""

        def do_GET(self) -> None:
            path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
            if not stripe.accepts(self.headers.get("Authorization", "")):
                self._answer(401, {"error": {"type": "invalid_request_error"}})
            elif path != "/v1/events":
                self._answer(404, {"error": {"type": "invalid_request_error"}})
            else:
                self._answer(200, stripe.list_events(query))

        def log_message(self, format: str, *args: object) -> None:
            """Write nothing: the demo's output is its steps."""

        def _answer(self, status: int, body: Json) -> None:
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

    return Handler


def _fits(event: Json, query: Mapping[str, list[str]]) -> bool:
    types = query.get("types[]", []) + query.get("type", [])
    after, before = query.get("created[gte]", ["0"])[0], query.get("created[lte]", [""])[0]
    is_in_time = int(after) <= event["created"] and (not before or event["created"] <= int(before))
    return is_in_time and (not types or event["type"] in types)
