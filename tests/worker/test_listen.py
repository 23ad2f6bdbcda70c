"""The dispatcher is notified by the server that takes the writes, also once that is another one."""

import asyncio

import asyncpg

from store.front_door import OUTBOX_CHANNEL
from tests.postgres import Postgres, running_postgres
from tests.store.test_failover import read_only
from tests.waiting import wait_until_async
from worker.listen import keep_listening


async def test_listener_leaves_a_server_that_takes_no_writes_for_the_one_that_does(postgres: Postgres) -> None:
    notified: list[str] = []

    async def is_notified_by(server: Postgres) -> bool:
        connection = await asyncpg.connect(server.url("postgres"))
        before = len(notified)
        await connection.execute(f"NOTIFY {OUTBOX_CHANNEL}")
        await connection.close()
        await asyncio.sleep(0.1)
        return len(notified) > before

    with running_postgres() as second:
        hosts = (server.url("postgres").partition("@")[2].partition("/")[0] for server in (postgres, second))
        url = f"postgresql://postgres@{','.join(hosts)}/postgres"
        listening = asyncio.create_task(keep_listening(url, lambda: notified.append("notified"), alive_every_seconds=0.2))
        await wait_until_async(lambda: is_notified_by(postgres), what="the first server notifies")
        async with read_only(postgres, for_all_sessions=True, name="postgres"):
            await wait_until_async(lambda: is_notified_by(second), what="the second server notifies")
        listening.cancel()
        await asyncio.wait([listening])
