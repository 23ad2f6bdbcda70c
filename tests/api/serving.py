"""Serves the API over real HTTP on a free local port, and provides a client."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import httpx
from fastapi import FastAPI
from fastapi.routing import APIRoute

from api.composition import AppDependencies, AppSettings
from egress.policy import check_url
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.ingest.connection import open_ingest_connection
from store.ingest.group_commit import Committer
from tests.conftest import SECRET_KEY
from tests.support.prompt_server import listening

JSON_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}
# Any: JSON objects.
Json = dict[str, Any]

_numbers = count(1)


def receipt(**changes: object) -> Json:
    """A unique receipt; a value of None removes the field."""
    number = next(_numbers)
    fields = {
        "provider": "stripe",
        "provider_event_id": f"evt_stripe_{number}",
        "event_type": "checkout.session.completed",
        "effect_type": "access_unlock",
        "internal_reference": f"order-{number}",
        "occurred_at": "2026-11-23T11:13:55Z",
    }
    return {name: value for name, value in {**fields, **changes}.items() if value is not None}


@dataclass(frozen=True, slots=True)
class Caller:
    """A client with an API key. Every call is one HTTP request."""

    client: httpx.AsyncClient
    api_key: str

    def with_key(self, api_key: str) -> "Caller":
        return replace(self, api_key=api_key)

    async def send(
        self,
        endpoint: str,
        body: object,
        *,
        key: str | None = None,
        headers: Mapping[str, str | bytes | None] | None = None,
    ) -> httpx.Response:
        """Send a receipt or a result; `body` is JSON, or raw bytes. A header of None is omitted."""
        given = {
            "Authorization": f"Bearer {self.api_key}",
            **JSON_HEADERS,
            "Idempotency-Key": key or f"key-{next(_numbers)}",
            **(headers or {}),
        }
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = [
            (name.encode(), _bytes(value)) for name, value in given.items() if value is not None
        ]
        return await self.client.post(f"/api/v1/{endpoint}", content=content, headers=sent)

    async def accept(self, **changes: object) -> str:
        """Send a receipt and return its event id."""
        answer = await self.send("receipt", receipt(**changes))
        assert answer.status_code == 202, answer.text
        return str(answer.json()["event_id"])

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """Call REST; `options` are those of httpx."""
        headers = {"Authorization": f"Bearer {self.api_key}", **options.pop("headers", {})}
        return await self.client.request(method, f"/api/v1{path}", headers=headers, **options)

    async def incident_of(self, event_id: str) -> str:
        """Send a failed result and return the id of its incident."""
        answer = await self.send(
            "result", {"event_id": event_id, "status": "failed", "error_code": "boom"}
        )
        assert answer.status_code == 202, answer.text
        event = (await self.ask("GET", f"/events/{event_id}")).json()
        return str(event["incident"]["id"])


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


async def judge_shape(url: str, *, livemode: bool) -> str:
    """Judge a repair URL by its shape: literal addresses are refused, names not resolved."""
    return check_url(url, ()).canonical


def parts_on(database: Database, sealer: Sealer, **settings: Any) -> AppDependencies:
    """The application's dependencies on this store; `settings` are those of `AppSettings`."""
    return AppDependencies(
        database=database,
        sealer=sealer,
        committer=Committer(open_ingest_connection(database.url), database.clock),
        judge_repair_url=judge_shape,
        settings=AppSettings(
            **{"public_url": "http://makegood.example", "secret_key": SECRET_KEY, **settings}
        ),
    )


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """(method, path) of every route, including those of included routers."""
    routers = [getattr(route, "original_router", None) for route in app.routes]
    routes = [route for router in routers if router is not None for route in router.routes] + list(
        app.routes
    )
    return [
        (method, route.path)
        for route in routes
        if isinstance(route, APIRoute)
        for method in sorted(route.methods or ())
    ]


def is_a_request(task: asyncio.Task[Any] | None) -> bool:
    """Whether this task handles a request. The application also has background tasks."""
    return task is not None and "RequestResponseCycle" in repr(task.get_coro())


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, which uvicorn serves as in production, on this event loop."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
        limits = httpx.Limits(max_connections=100)
        async with (
            listening(app, listener),
            httpx.AsyncClient(
                base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=20
            ) as client,
        ):
            yield client
