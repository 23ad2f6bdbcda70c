"""A merchant's app and its operator, speaking to the real API over HTTP; all behind it is
`World`'s.

The API runs in this process on a free port, on the same store and clock as the worker, so that time
can be skipped for both.
"""

import functools
import itertools
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
from temporalio.client import Client
from temporalio.testing import TimeSkipper, TimeSkippingConfig, WorkflowEnvironment

from api.app import create_app
from api.composition import AppDependencies, AppSettings
from domain.ids import EventId
from domain.projects import CreatedProject, ProjectChanges
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.ingest.connection import open_ingest_connection
from store.ingest.group_commit import Committer
from store.projects.projects import change_project
from tests.conftest import SECRET_KEY
from tests.console.receiver import receiving
from tests.support.prompt_server import listening
from tests.support.waiting import wait_until_async
from tests.workflows.smtp_server import running_mail_server
from tests.workflows.world import World, worker_parts
from worker.build import build_worker
from worker.temporal.connect import prepare_namespace

# Skipped time would look like an outage of ingest.
NEVER_SECONDS = 10**9
_numbers = itertools.count(1)


class Shop:
    """The app of one project: what it sends, and what Makegood shows about it."""

    def __init__(self, http: httpx.AsyncClient, created: CreatedProject) -> None:
        self.http = http
        self.project = created.project
        self.signing_secret = created.signing_secret
        self._authorization = {"Authorization": f"Bearer {created.api_key}"}

    async def post(self, path: str, body: dict[str, Any], key: str | None = None) -> httpx.Response:
        """Send one POST as the app does. Without `key` the idempotency key is new."""
        headers = self._authorization | {"Idempotency-Key": key or f"key {next(_numbers)}"}
        return await self.http.post(path, json=body, headers=headers)

    async def receipt(self, **changes: Any) -> dict[str, Any]:
        """The answer to a new receipt."""
        answer = await self.post("/api/v1/receipt", self.receipt_body(**changes))
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def receipt_body(self, **changes: Any) -> dict[str, Any]:
        number = next(_numbers)
        return {
            "provider": "stripe",
            "provider_event_id": f"evt_stripe_{number}",
            "event_type": "checkout.session.completed",
            "effect_type": "access_unlock",
            "internal_reference": f"order_{number}",
            "occurred_at": "2026-11-23T11:13:55.123Z",
        } | changes

    async def accepted(self, **changes: Any) -> EventId:
        """A new receipt's event."""
        return EventId((await self.receipt(**changes))["event_id"])

    async def result(self, event_id: str, status: str, **fields: Any) -> str:
        """The state after a result."""
        answer = await self.post(
            "/api/v1/result", {"event_id": event_id, "status": status, **fields}
        )
        assert answer.status_code == 202, answer.text
        return str(answer.json()["state"])

    async def event(self, event_id: str) -> dict[str, Any]:
        """The event, as an operator's program reads it."""
        answer = await self.http.get(f"/api/v1/events/{event_id}", headers=self._authorization)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    async def operate(self, incident_id: str, verb: str, **fields: Any) -> httpx.Response:
        """`reprocess`, `resolve` or `acknowledge`."""
        return await self.http.post(
            f"/api/v1/incidents/{incident_id}/{verb}", json=fields, headers=self._authorization
        )

    async def reprocess(self, event_id: str) -> str:
        """The `replay_id` that a request for a repair is answered with."""
        answer = await self.operate((await self.event(event_id))["incident"]["id"], "reprocess")
        assert answer.status_code == 202, answer.text
        return str(answer.json()["replay_id"])

    async def becomes(self, event_id: str, *, seconds: float = 20, **wanted: str) -> dict[str, Any]:
        """The event once it is so:

        `state`, `incident` (its state), `repair` (the last one's state).
        """
        last: dict[str, Any] = {}

        async def is_so() -> bool:
            nonlocal last
            last = await self.event(event_id)
            repairs = [repair["state"] for repair in last["repairs"]]
            current = {
                "state": last["state"],
                "incident": (last["incident"] or {}).get("state"),
                "repair": (repairs or [None])[-1],
            }
            return wanted.items() <= current.items()

        await wait_until_async(is_so, seconds=seconds, what=f"{wanted}")
        return last


@asynccontextmanager
async def serving(database: Database, sealer: Sealer) -> AsyncIterator[httpx.AsyncClient]:
    """The API on this store while the block runs, and a client of it."""
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    parts = AppDependencies(
        database=database,
        sealer=sealer,
        committer=Committer(open_ingest_connection(database.url), database.clock),
        judge_repair_url=_judge_nothing,
        settings=AppSettings(
            public_url=url,
            secret_key=SECRET_KEY,
            outage_seconds=NEVER_SECONDS,
            rate_limit=10**6,
            rate_burst=10**6,
        ),
    )
    with listener:
        async with (
            listening(create_app(parts), listener),
            httpx.AsyncClient(
                base_url=url, trust_env=False, timeout=20, headers={"Accept": "application/json"}
            ) as http,
        ):
            yield http


@asynccontextmanager
async def working(
    temporal: WorkflowEnvironment, database: Database, sealer: Sealer, created: CreatedProject
) -> AsyncIterator[World]:
    """Worker, mail server and repair endpoint for a project that exists."""

    client = await Client.connect(
        temporal.client.service_client.config.target_host, namespace=temporal.client.namespace
    )
    await prepare_namespace(client, is_ours=True)
    skipper = TimeSkipper(client, config=TimeSkippingConfig(enabled=False))
    with running_mail_server() as (post, smtp_url), receiving() as receiver:
        changes = ProjectChanges(repair_url=receiver.url)
        async with database.transaction() as session:
            await change_project(session, created.project.id, changes=changes)
        build = functools.partial(
            build_worker, skipper.client, worker_parts(database, sealer, smtp_url)
        )
        made = World(database, created, skipper=skipper, build=build, post=post, receiver=receiver)
        async with made.working():
            yield made


async def _judge_nothing(url: str, *, livemode: bool) -> str:
    """Every repair URL is fine here; what may be called has tests of its own."""
    return url
