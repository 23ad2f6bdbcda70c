"""A payment provider on loopback, over real HTTP: Stripe's list of events and Shopify's orders.

It lists as the providers do. `Faults` makes it throttle, fail, hang, lie or repeat itself.
"""

import bisect
import json
import random
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

STRIPE_KEY = "rk_test_ofTheTests"
SHOPIFY_TOKEN = "shpat_ofTheTests"
SHOP = "tests.myshopify.com"
STRIPE_PATH = "/v1/events"
STRIPE_MOST, SHOPIFY_MOST = 100, 250

Json = dict[str, Any]  # Any: JSON


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that the provider got."""

    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]  # names in lower case

    def value(self, name: str) -> str | None:
        """The first value of a parameter."""
        return self.query.get(name, [None])[0]


@dataclass(frozen=True, slots=True)
class Answer:
    """A response. A `body` of bytes is sent as it is, anything else as JSON."""

    status: int
    body: object
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(slots=True)
class Faults:
    """What goes wrong from now on. The defaults are an honest provider.

    1. `answers` are given to the next requests, one each. None in it closes the connection.
    2. `is_down`: every connection is closed. `hangs`: no request is answered while it is set.
    3. `valid_requests`: the key is revoked after so many. None: it is valid.
    4. `says_more`: the `has_more` of every page. None: the truth. `page_events`: the length of
       pages, whatever was asked for.
    5. `loops`: the page after the last one is the first. `repeats`: a page begins with the last
       event of the page before. `reorders`: the events of a page are in any order.
    6. `ignores_times`, `ignores_types`, `ignores_cursor`: so it does with those parameters.
       `refuses_cursor`: it answers 400 to its own.
    7. `extra`: these are in the first page, whatever was asked for.
    """

    answers: list[Answer | None] = field(default_factory=list)
    is_down: bool = False
    hangs: threading.Event = field(default_factory=threading.Event)
    valid_requests: int | None = None
    says_more: bool | None = None
    page_events: int | None = None
    loops: bool = False
    repeats: bool = False
    reorders: bool = False
    ignores_times: bool = False
    ignores_types: bool = False
    ignores_cursor: bool = False
    refuses_cursor: bool = False
    extra: list[Json] = field(default_factory=list)


class Provider:
    """One account at Stripe and one shop at Shopify, and every request that came for them."""

    def __init__(self) -> None:
        self.url = ""
        self.asked: list[Asked] = []
        self.faults = Faults()
        self.orders: list[Json] = []
        self._events: list[Json] = []  # oldest first
        self._places: dict[str, int] = {}
        self._random = random.Random(15)

    def add_events(self, *events: Json) -> None:
        """Let these events happen at Stripe."""
        self._events = sorted([*self._events, *events], key=lambda event: event["created"])
        self._places = {event["id"]: place for place, event in enumerate(self._events)}

    def answer(self, asked: Asked) -> Answer | None:
        """The answer to a request; None closes the connection."""
        faults = self.faults
        if faults.is_down:
            return None
        if faults.answers:
            return faults.answers.pop(0)
        if faults.valid_requests is not None:
            faults.valid_requests -= 1
            if faults.valid_requests < 0:
                return _refusal(401, "Expired API Key provided")
        if asked.path == STRIPE_PATH:
            return self._list_events(asked)
        if asked.path.startswith("/admin/api/") and asked.path.endswith("/orders.json"):
            return self._list_orders(asked)
        return _refusal(404, "Unrecognized request URL")

    def _list_events(self, asked: Asked) -> Answer:
        if asked.headers.get("authorization") != f"Bearer {STRIPE_KEY}":
            return _refusal(401, "Invalid API Key provided")
        after = None if self.faults.ignores_cursor else asked.value("starting_after")
        if after is not None and (after not in self._places or self.faults.refuses_cursor):
            return _refusal(400, f"No such event: '{after}'")
        found = self._page_of_events(asked, after)
        page, has_more = found[:-1], len(found) > self._limit(asked, STRIPE_MOST)
        if not has_more:
            page = found
        if not page and after is not None and self.faults.loops:
            page = self._page_of_events(asked, None)[: self._limit(asked, STRIPE_MOST)]
        if self.faults.repeats and after is not None:
            page = [self._events[self._places[after]], *page]
        if after is None:
            page = [*self.faults.extra, *page]
        if self.faults.reorders:
            page = self._random.sample(page, len(page))
        says_more = has_more if self.faults.says_more is None else self.faults.says_more
        has_more = says_more or self.faults.loops
        body = {"object": "list", "url": STRIPE_PATH, "has_more": has_more, "data": page}
        return Answer(200, body)

    def _page_of_events(self, asked: Asked, after: str | None) -> list[Json]:
        """The events of a page, newest first, and one more if there is one."""
        since, until = 0, len(self._events)
        if not self.faults.ignores_times:
            seconds = {"key": lambda event: event["created"]}
            if (least := asked.value("created[gte]")) is not None:
                since = bisect.bisect_left(self._events, int(least), **seconds)
            if (most := asked.value("created[lte]")) is not None:
                until = bisect.bisect_right(self._events, int(most), **seconds)
        if after is not None:
            until = min(until, self._places[after])
        types = None if self.faults.ignores_types else asked.query.get("types[]")
        found, place = [], until - 1
        while place >= since and len(found) <= self._limit(asked, STRIPE_MOST):
            event = self._events[place]
            if types is None or event["type"] in types:
                found.append(event)
            place -= 1
        return found

    def _list_orders(self, asked: Asked) -> Answer:
        if asked.headers.get("x-shopify-access-token") != SHOPIFY_TOKEN:
            return _refusal(401, "[API] Invalid API key or access token")
        page_info = asked.value("page_info")
        if page_info is None:
            bounds = (asked.value("updated_at_min"), asked.value("updated_at_max"))
            after = 0
        elif set(asked.query) - {"limit", "page_info", "fields"}:
            return _refusal(400, "page_info cannot be used with other filters")
        else:
            *bounds, place = json.loads(page_info)  # type: ignore[assignment]
            after = int(str(place))
        since, until = (None if text is None else _instant(text) for text in bounds)
        orders = sorted(self.orders, key=lambda order: str(order["updated_at"]))
        found = [
            order
            for order in orders
            if (since is None or _instant(order["updated_at"]) >= since)
            and (until is None or _instant(order["updated_at"]) <= until)
        ]
        limit = self._limit(asked, SHOPIFY_MOST)
        page, links = found[after : after + limit], []
        if len(found) > after + limit or self.faults.loops:
            after = 0 if self.faults.loops and len(found) <= after + limit else after + limit
            info = json.dumps([*bounds, after])
            links.append(("Link", f'<{self._next_url(asked, limit, info)}>; rel="next"'))
        if page_info is None:
            page = [*self.faults.extra, *page]
        return Answer(200, {"orders": page}, tuple(links))

    def _next_url(self, asked: Asked, limit: int, page_info: str) -> str:
        encoded = "".join(f"%{byte:02X}" for byte in page_info.encode())
        return f"https://{SHOP}{asked.path}?limit={limit}&page_info={encoded}"

    def _limit(self, asked: Asked, most: int) -> int:
        asked_for = int(asked.value("limit") or 10)
        return min(self.faults.page_events or asked_for, most)


@contextmanager
def providing() -> Iterator[Provider]:
    """A provider on a free port of this machine while the block runs."""
    provider = Provider()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            asked = Asked(parts.path, parse_qs(parts.query), headers)
            provider.asked.append(asked)
            while provider.faults.hangs.is_set() and not stopping.is_set():
                stopping.wait(0.02)
            answer = provider.answer(asked)
            with suppress(ConnectionError):  # the client may have disconnected
                self._send(answer)

        def _send(self, answer: Answer | None) -> None:
            self.close_connection = True
            if answer is None:
                return
            is_raw = isinstance(answer.body, bytes)
            body = answer.body if is_raw else json.dumps(answer.body).encode()
            assert isinstance(body, bytes)
            self.send_response(answer.status)
            for name, value in answer.headers:
                self.send_header(name, value)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Log nothing."""

    stopping = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    provider.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield provider
    finally:
        stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


def stripe_event(number: int, at: datetime, **changes: Any) -> Json:
    """An event as Stripe lists it. Its object's id is the default reference."""
    event = {
        "id": f"evt_provider_{number:06}",
        "object": "event",
        "api_version": "2025-08-27.basil",
        "created": int(at.timestamp()),
        "livemode": False,
        "pending_webhooks": 0,
        "request": {"id": None, "idempotency_key": None},
        "type": "invoice.paid",
        "data": {
            "object": {
                "id": f"in_provider_{number:06}",
                "object": "invoice",
                "amount_paid": 1_000 + number,
                "currency": "eur",
                "customer": f"cus_provider_{number:06}",
            }
        },
    }
    return event | changes


def shopify_order(number: int, at: datetime, **changes: Any) -> Json:
    """A paid order as Shopify lists it."""
    moment = at.astimezone(UTC).isoformat(timespec="seconds")
    order = {
        "id": 5_000_000_000_000 + number,
        "name": f"#{1_000 + number}",
        "order_number": 1_000 + number,
        "created_at": moment,
        "processed_at": moment,
        "updated_at": moment,
        "financial_status": "paid",
        "fulfillment_status": None,
        "fulfillments": [],
        "test": True,
        "total_price": "19.90",
        "currency": "EUR",
    }
    return order | changes


def throttled(retry_after: str | None = None) -> Answer:
    """The answer to too many requests."""
    headers = () if retry_after is None else (("Retry-After", retry_after),)
    return Answer(429, {"error": {"message": "Request rate limit exceeded."}}, headers)


def _refusal(status: int, message: str) -> Answer:
    return Answer(status, {"error": {"type": "invalid_request_error", "message": message}})


def _instant(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))
