"""Generates a bounded load of POSTs: each caller has its own connection and one request in flight.

It implements only a small part of HTTP/1.1, to use little CPU time beside the measured server. The
programs of this folder run it as a process of its own (`python -m bench.load`). It prints one JSON
line.
"""

import argparse
import asyncio
import hashlib
import hmac
import json
import secrets
import time
from collections.abc import Iterator
from itertools import count
from urllib.parse import urlsplit

from uvicorn.loops.auto import auto_loop_factory

SECONDS_AT_MOST = 120


def receipt_body(number: str) -> bytes:
    """The body of a Stripe receipt with this number."""
    receipt = {
        "provider": "stripe",
        "stripe_event_id": f"evt_{number}",
        "event_type": "checkout.session.completed",
        "effect_type": "access_unlock",
        "internal_reference": f"order-{number}",
        "occurred_at": "2026-11-23T12:00:00.000Z",
    }
    return json.dumps(receipt).encode()


def delivery_body(number: str) -> bytes:
    """The body of a Stripe event with this number, of about the size of an invoice."""
    item = {"object": "invoice", "id": f"in_{number}", "amount_paid": 1999, "currency": "usd"}
    event = {
        "id": f"evt_{number}",
        "object": "event",
        "created": int(time.time()),
        "data": {"object": item | {"lines": ["x" * 100] * 25}},
        "livemode": True,
        "type": "invoice.paid",
    }
    return json.dumps(event).encode()


def _signature(body: bytes, secret: str) -> str:
    at = int(time.time())
    digest = hmac.digest(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={digest.hex()}"


async def _begin(turns: Iterator[float] | None) -> float:
    """Wait for the next turn; returns since when the request takes time."""
    now = time.perf_counter()
    if turns is None:
        return now
    turn = next(turns)
    if turn <= now:
        return turn
    await asyncio.sleep(turn - now)
    return time.perf_counter()


async def call(
    host: str,
    port: int,
    path: str,
    key: str,
    secret: str | None,
    until: float,
    limit: int,
    turns: Iterator[float] | None,
    took_ms: list[float],
    bad: list[int],
) -> None:
    """Send receipts one after another until the time or the request limit is reached.

    With a `secret` they are a provider's deliveries, signed with it. With `turns`, each is sent at
    the next one. If every caller is busy then, the wait counts.
    """
    reader, writer = await asyncio.open_connection(host, port)
    head = f"POST {path} HTTP/1.1\r\nHost: {host}:{port}\r\n"
    head += "Accept: application/json\r\nContent-Type: application/json\r\n"
    for _ in range(limit):
        started = await _begin(turns)
        if started >= until:
            break
        number = secrets.token_hex(12)
        if secret is None:
            body = receipt_body(number)
            own = f"Authorization: Bearer {key}\r\nIdempotency-Key: {number}\r\n"
        else:
            body = delivery_body(number)
            own = f"Stripe-Signature: {_signature(body, secret)}\r\n"
        writer.write(f"{head}{own}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        response = await reader.readuntil(b"\r\n\r\n")
        status = int(response[9:12])
        lengths = [
            line[16:]
            for line in response.lower().split(b"\r\n")
            if line.startswith(b"content-length: ")
        ]
        await reader.readexactly(int(lengths[0]))
        took_ms.append((time.perf_counter() - started) * 1000)
        if status not in (200, 202):
            bad.append(status)
    writer.close()


async def load(
    url: str,
    *,
    key: str,
    secret: str | None,
    callers: int,
    seconds: float,
    limit: int,
    rate: float | None,
) -> dict[str, float]:
    """Run one slice of load, at most `rate` requests a second; None: as many as are answered.

    `rate` is per second, the quantiles are in ms, `refused` counts other responses than 200 and
    202.
    """
    parts = urlsplit(url)
    took_ms: list[float] = []
    bad: list[int] = []
    started = time.perf_counter()
    until = started + min(seconds, SECONDS_AT_MOST)
    each = max(1, limit // callers)
    turns = None if rate is None else (started + n / rate for n in count())
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    await asyncio.gather(
        *(
            call(host, port, parts.path, key, secret, until, each, turns, took_ms, bad)
            for _ in range(callers)
        )
    )
    spent = time.perf_counter() - started
    took_ms.sort()
    last = len(took_ms) - 1
    return {
        "rate": len(took_ms) / spent,
        "requests": len(took_ms),
        "refused": len(bad),
        "p50_ms": took_ms[last // 2],
        "p99_ms": took_ms[int(last * 0.99)],
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("url")
    parser.add_argument("--key", default="none")
    parser.add_argument("--signing-secret", help="send a provider's deliveries, signed with it")
    parser.add_argument("--callers", type=int, default=16)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--limit", type=int, default=1_000_000)
    parser.add_argument("--rate", type=float, help="requests a second at most, of all callers")
    chosen = parser.parse_args()
    with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
        figures = runner.run(
            load(
                chosen.url,
                key=chosen.key,
                secret=chosen.signing_secret,
                callers=chosen.callers,
                seconds=chosen.seconds,
                limit=chosen.limit,
                rate=chosen.rate,
            )
        )
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
