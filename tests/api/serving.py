"""The API served over real HTTP on a free port of this machine, and a caller of it."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import httpx
import uvicorn
from fastapi import FastAPI
from fastapi.routing import APIRoute

from api.composition import AppDependencies, AppSettings
from api.main import server_config
from egress.policy import check_url
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.ingest.connection import open_ingest_connection
from store.ingest.group_commit import Committer
from tests.conftest import SECRET_KEY
from tests.support.waiting import wait_until_async

JSON_HEADERS = {"Accept": "application/json", "Content-Type": "application/json"}
# JSON objects: their values are of any JSON type.
Json = dict[str, Any]

_numbers = count(1)


def receipt(**changes: object) -> Json:
    """A receipt that no other one equals; None takes a field away."""
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
    """Somebody with an API key; every call is one HTTP request."""

    client: httpx.AsyncClient
    api_key: str

    def with_key(self, api_key: str) -> "Caller":
        return replace(self, api_key=api_key)

    async def send(
        self, endpoint: str, body: object, *, key: str | None = None, headers: Mapping[str, str | bytes | None] | None = None
    ) -> httpx.Response:
        """A receipt or a result; `body` is JSON, or bytes as they are. A header of None is left out."""
        given = {
            "Authorization": f"Bearer {self.api_key}",
            **JSON_HEADERS,
            "Idempotency-Key": key or f"key-{next(_numbers)}",
            **(headers or {}),
        }
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = [(name.encode(), _bytes(value)) for name, value in given.items() if value is not None]
        return await self.client.post(f"/api/v1/{endpoint}", content=content, headers=sent)

    async def accept(self, **changes: object) -> str:
        """The id of the event whose receipt was just accepted."""
        answer = await self.send("receipt", receipt(**changes))
        assert answer.status_code == 202, answer.text
        return str(answer.json()["event_id"])

    async def ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        """A call of REST; `options` are httpx's."""
        headers = {"Authorization": f"Bearer {self.api_key}", **options.pop("headers", {})}
        return await self.client.request(method, f"/api/v1{path}", headers=headers, **options)

    async def incident_of(self, event_id: str) -> str:
        """The id of the incident that a failed result has just opened."""
        answer = await self.send("result", {"event_id": event_id, "status": "failed", "error_code": "boom"})
        assert answer.status_code == 202, answer.text
        event = (await self.ask("GET", f"/events/{event_id}")).json()
        return str(event["incident"]["id"])


def _bytes(value: str | bytes) -> bytes:
    return value.encode() if isinstance(value, str) else value


async def judge_shape(url: str) -> str:
    """Judges a repair URL without looking its name up: literal addresses are refused as ever."""
    return check_url(url, ()).canonical


def parts_on(database: Database, sealer: Sealer, **settings: Any) -> AppDependencies:
    """The application's parts on this store; `settings` are those of `AppSettings`."""
    return AppDependencies(
        database=database,
        sealer=sealer,
        committer=Committer(open_ingest_connection(database.url), database.clock),
        judge_repair_url=judge_shape,
        settings=AppSettings(**{"public_url": "http://makegood.example", "secret_key": SECRET_KEY, **settings}),
    )


def routes_of(app: FastAPI) -> list[tuple[str, str]]:
    """(method, path) of every route, within the routers that were included too."""
    routers = [getattr(route, "original_router", None) for route in app.routes]
    routes = [route for router in routers if router is not None for route in router.routes] + list(app.routes)
    return [(method, route.path) for route in routes if isinstance(route, APIRoute) for method in sorted(route.methods or ())]


def is_a_request(task: asyncio.Task[Any] | None) -> bool:
    """Whether the server answers a request in this task; the application has others of its own."""
    return task is not None and "RequestResponseCycle" in repr(task.get_coro())


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the application, which is served by uvicorn as in production, on this event loop."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        server = uvicorn.Server(server_config(app, host="127.0.0.1", port=port))
        task = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            await wait_until_async(lambda: server.started or task.done(), what="the server started")
            limits = httpx.Limits(max_connections=100)
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", limits=limits, timeout=20) as client:
                yield client
        finally:
            server.should_exit = True
            await task
