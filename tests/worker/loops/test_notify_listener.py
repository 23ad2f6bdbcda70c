"""The dispatcher is notified by the writable server, also after a failover."""

import asyncio

import asyncpg
import pytest
from structlog.testing import capture_logs

from store.ingest.connection import OUTBOX_CHANNEL
from tests.store.db.test_failover import read_only
from tests.support.postgres import Postgres, running_postgres
from tests.support.processes import free_ports
from tests.support.waiting import wait_until_async
from worker.loops.notify_listener import listen_loop


async def test_listener_leaves_a_read_only_server_for_the_writable_one(postgres: Postgres) -> None:
    notified: list[str] = []

    async def is_notified_by(server: Postgres) -> bool:
        connection = await asyncpg.connect(server.url("postgres"))
        before = len(notified)
        await connection.execute(f"NOTIFY {OUTBOX_CHANNEL}")
        await connection.close()
        await asyncio.sleep(0.1)
        return len(notified) > before

    with running_postgres() as second:
        hosts = (
            server.url("postgres").partition("@")[2].partition("/")[0]
            for server in (postgres, second)
        )
        url = f"postgresql://postgres@{','.join(hosts)}/postgres"
        listening = asyncio.create_task(
            listen_loop(url, lambda: notified.append("notified"), alive_every_seconds=0.2)
        )
        await wait_until_async(lambda: is_notified_by(postgres), what="the first server notifies")
        async with read_only(postgres, for_all_sessions=True, name="postgres"):
            await wait_until_async(
                lambda: is_notified_by(second), what="the second server notifies"
            )
        listening.cancel()
        await asyncio.wait([listening])


async def test_listener_reconnects_after_an_unexpected_error(postgres: Postgres) -> None:
    notified: list[str] = []

    def notify() -> None:
        notified.append("notified")
        if len(notified) == 1:
            raise RuntimeError("unexpected")

    async def is_notified() -> bool:
        connection = await asyncpg.connect(postgres.url("postgres"))
        await connection.execute(f"NOTIFY {OUTBOX_CHANNEL}")
        await connection.close()
        return len(notified) > 2

    with capture_logs() as logs:
        listening = asyncio.create_task(
            listen_loop(postgres.url("postgres"), notify, pause=_at_once)
        )
        await wait_until_async(is_notified, what="a notification after the error")

    assert not listening.done()
    assert [line["event"] for line in logs] == ["listen_failed"]
    await _end(listening)


async def test_listener_without_a_server_backs_off_and_logs_it() -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        await asyncio.sleep(0)
        if len(pauses) == 6:
            raise asyncio.CancelledError

    with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
        await listen_loop(
            f"postgresql://postgres@127.0.0.1:{free_ports(1)[0]}/postgres",
            lambda: None,
            pause=pause,
        )

    assert pauses == [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]
    assert [line["event"] for line in logs] == ["listen_lost"] * 6


async def _at_once(_seconds: float) -> None:
    await asyncio.sleep(0)


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
