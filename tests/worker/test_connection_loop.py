"""The store services work from the first second, with Temporal unavailable, silent, or TLS-only."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import text

from domain.projects import Scope
from store.crypto.encryption import Sealer
from store.projects.projects import create_project
from tests.support.given import Story
from tests.support.processes import free_ports, python, running
from tests.support.waiting import wait_until_async
from tests.worker.worker_setup import WorkerSetup, problem_of
from tests.workflows.smtp_server import running_mail_server

FAULTS = ("refused", "silent", "TLS needed")


@asynccontextmanager
async def faulty_temporal(fault: str) -> AsyncIterator[int]:
    """The port of a faulty Temporal: nothing listens, or connections are never answered."""
    if fault == "refused":
        yield free_ports(1)[0]
        return
    connections: set[asyncio.Task[None]] = set()

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        connections.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            while await reader.read(65_536):
                pass
        finally:
            writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)


@pytest.mark.parametrize("fault", FAULTS)
async def test_worker_without_temporal_sends_mail_purges_and_reconciles(
    fault: str, sqlite_url: str, tmp_path: Path, sealer: Sealer
) -> None:
    tls = {"TEMPORAL_TLS": "true"} if fault == "TLS needed" else {}
    async with faulty_temporal(fault) as port:
        with running_mail_server() as (post, smtp_url):
            setup = WorkerSetup(sqlite_url, tmp_path, port=port, MAKEGOOD_SMTP_URL=smtp_url, **tls)
            story = await _story(setup, sealer)
            await story.opened()
            story.at -= timedelta(hours=1)
            overdue = await story.receipt()
            await _insert_expired_response(setup)

            with running(
                *python("-m", "cli.main", "worker"), environment=setup.environment
            ) as worker:
                await wait_until_async(lambda: bool(post.mails), seconds=15, what="a mail")
                await wait_until_async(
                    lambda: _is_purged(setup), what="the expired response is purged"
                )
                await wait_until_async(
                    lambda: _is_enqueued_again(story, overdue),
                    what="the overdue receipt is enqueued",
                )

                assert worker.process.poll() is None
            await setup.database.close()


@pytest.mark.long
async def test_silent_temporal_is_reported_in_the_heartbeat(
    sqlite_url: str, tmp_path: Path
) -> None:
    async with faulty_temporal("silent") as port:
        setup = WorkerSetup(sqlite_url, tmp_path, port=port)
        with running(*python("-m", "cli.main", "worker"), environment=setup.environment):
            problem = problem_of(await setup.wait_for_problem("unreachable"))
        await setup.database.close()

    assert problem["detail"] == f"127.0.0.1:{port} cannot be reached: no answer in time"


async def _story(setup: WorkerSetup, sealer: Sealer) -> Story:
    async with setup.database.transaction() as session:
        created = await create_project(
            session,
            sealer,
            name="shop",
            livemode=False,
            repair_url="https://shop.example/repair",
            alert_emails=("ops@shop.example",),
            scopes=frozenset(Scope),
            now=await setup.database.now(session),
        )
    return Story(setup.database, created.project)


async def _insert_expired_response(setup: WorkerSetup) -> None:
    async with setup.database.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO idempotency "
                "(project_id, endpoint, key, fingerprint, status, created_at) "
                "VALUES ('prj_1', 'receipt', 'key', 'f', 202, 0)"
            )
        )


async def _is_purged(setup: WorkerSetup) -> bool:
    async with setup.database.reading() as session:
        return await session.scalar(text("SELECT count(*) FROM idempotency")) == 0


async def _is_enqueued_again(story: Story, event_id: str) -> bool:
    return "start" in [kind for kind, _ in await story.outbox(event_id)]  # type: ignore[arg-type]
