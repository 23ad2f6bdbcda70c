"""A provider as hooks see it: signs what it delivers, and delivers it by one HTTP request."""

import base64
import hashlib
import hmac
import json
import time
from collections.abc import AsyncIterable, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import httpx
from sqlalchemy import select

from domain.sources.source import Source
from store.db.database import Database
from store.schema.tables import RECEIPTS, SOURCE_EVENTS
from store.sources.sources import read_source
from tests.support.given import START
from tests.support.sources import SECRET

# Any: JSON objects.
Json = dict[str, Any]
RECEIVED = {"received": True}
SHOP = "shop.myshopify.com"
_numbers = count(1)


def snapshot(**changes: object) -> Json:
    """An event of Stripe that no other one names, of a type that test sources expect."""
    number = next(_numbers)
    event: Json = {
        "id": f"evt_hook_{number}",
        "object": "event",
        "api_version": "2025-09-30.clover",
        "created": int(START.timestamp()),
        "data": {"object": {"object": "invoice", "id": f"in_{number}", "amount_paid": 1999}},
        "livemode": False,
        "type": "invoice.paid",
    }
    event["data"]["object"]["currency"] = "usd"
    return event | changes


def order(**changes: object) -> Json:
    """A paid test order of Shopify that no other one names."""
    fields: Json = {
        "id": 820_982_911_946_000_000 + next(_numbers),
        "created_at": START.isoformat(),
        "currency": "USD",
        "financial_status": "paid",
        "test": True,
        "total_price": "409.94",
    }
    return fields | changes


def stripe_signature(body: bytes, *, secret: str = SECRET, age_seconds: int = 0) -> str:
    """The header of any bytes. The package of Stripe, which signs text only, is the oracle of
    `tests/domain/sources/test_signatures.py`.
    """
    at = int(time.time()) - age_seconds
    digest = hmac.digest(secret.encode(), f"{at}.".encode() + body, hashlib.sha256)
    return f"t={at},v1={digest.hex()}"


def shopify_signature(body: bytes, *, secret: str = SECRET) -> str:
    return base64.b64encode(hmac.digest(secret.encode(), body, hashlib.sha256)).decode()


@dataclass(frozen=True, slots=True)
class Provider:
    """Delivers to the hook of one source."""

    client: httpx.AsyncClient
    source: Source

    @property
    def path(self) -> str:
        return f"/hooks/{self.source.id}"

    async def deliver(self, event: object, **options: Any) -> httpx.Response:
        """Deliver an event as Stripe does; `options` are those of its signature."""
        body = json.dumps(event).encode()
        return await self.send(body, ("Stripe-Signature", stripe_signature(body, **options)))

    async def deliver_order(self, event: object, **headers: str) -> httpx.Response:
        """Deliver an order as Shopify does. A header is named like `topic` or `test`."""
        body = json.dumps(event).encode()
        given = {"topic": "orders/paid", "shop_domain": SHOP} | headers
        named = [(f"X-Shopify-{name.replace('_', '-')}", value) for name, value in given.items()]
        signature = ("X-Shopify-Hmac-Sha256", shopify_signature(body))
        return await self.send(body, signature, *named)

    async def send(
        self, body: bytes | AsyncIterable[bytes], *headers: tuple[str, str | bytes]
    ) -> httpx.Response:
        given = [("Content-Type", "application/json"), *headers]
        sent = [(name.encode(), _bytes(value)) for name, value in given]
        return await self.client.post(self.path, content=body, headers=sent)


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


async def seen(database: Database) -> Sequence[Any]:
    """The rows of what sources saw, the oldest first."""
    async with database.reading() as session:
        return (await session.execute(select(SOURCE_EVENTS).order_by(SOURCE_EVENTS.c.id))).all()


async def receipts(database: Database) -> Sequence[Any]:
    async with database.reading() as session:
        return (await session.execute(select(RECEIPTS))).all()


async def reread(database: Database, source: Source) -> Source:
    async with database.reading() as session:
        return await read_source(session, source.project_id, source.id)
