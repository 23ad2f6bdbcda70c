"""What needs the store alone is at work from the first second, whether Temporal is away, silent, or speaks something else."""

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
from tests.worker.setting import Setting, problem_of
from tests.workflows.smtp_server import running_mail_server

AWAY = ("refused", "silent", "TLS wanted")


@asynccontextmanager
async def temporal_that_is(away: str) -> AsyncIterator[int]:
    """The port of something that is no Temporal: nothing at all, or what takes connections and never answers."""
    if away == "refused":
        yield free_ports(1)[0]
        return
    silences: set[asyncio.Task[None]] = set()

    async def stay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silences.add(asyncio.current_task())  # type: ignore[arg-type]
        try:
            while await reader.read(65_536):
                pass
        finally:
            writer.close()

    server = await asyncio.start_server(stay, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for silence in silences:
            silence.cancel()
        await asyncio.gather(*silences, return_exceptions=True)


@pytest.mark.parametrize("away", AWAY)
async def test_worker_without_its_temporal_sends_mail_purges_and_reconciles(
    away: str, sqlite_url: str, tmp_path: Path, sealer: Sealer
) -> None:
    tls = {"TEMPORAL_TLS": "true"} if away == "TLS wanted" else {}
    async with temporal_that_is(away) as port:
        with running_mail_server() as (post, smtp_url):
            setting = Setting(sqlite_url, tmp_path, port=port, MAKEGOOD_SMTP_URL=smtp_url, **tls)
            story = await _story(setting, sealer)
            await story.opened()
            story.at -= timedelta(hours=1)
            overdue = await story.receipt()
            await _keep_an_old_answer(setting)

            with running(*python("-m", "cli.main", "worker"), environment=setting.environment) as worker:
                await wait_until_async(lambda: bool(post.mails), seconds=15, what="a mail")
                await wait_until_async(lambda: _is_purged(setting), what="the old answer is purged")
                await wait_until_async(lambda: _is_told_again(story, overdue), what="what is overdue is in the outbox again")

                assert worker.process.poll() is None
            await setting.database.close()


@pytest.mark.long
async def test_temporal_that_never_answers_is_named_in_the_heartbeat(sqlite_url: str, tmp_path: Path) -> None:
    async with temporal_that_is("silent") as port:
        setting = Setting(sqlite_url, tmp_path, port=port)
        with running(*python("-m", "cli.main", "worker"), environment=setting.environment):
            said = problem_of(await setting.refuses("unreachable"))
        await setting.database.close()

    assert said["detail"] == f"127.0.0.1:{port} cannot be reached: no answer in time"


async def _story(setting: Setting, sealer: Sealer) -> Story:
    async with setting.database.transaction() as session:
        created = await create_project(
            session,
            sealer,
            name="shop",
            livemode=False,
            repair_url="https://shop.example/repair",
            alert_emails=("ops@shop.example",),
            scopes=frozenset(Scope),
            now=await setting.database.now(session),
        )
    return Story(setting.database, created.project)


async def _keep_an_old_answer(setting: Setting) -> None:
    async with setting.database.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO idempotency (project_id, endpoint, key, fingerprint, status, created_at) "
                "VALUES ('prj_1', 'receipt', 'key', 'f', 202, 0)"
            )
        )


async def _is_purged(setting: Setting) -> bool:
    async with setting.database.reading() as session:
        return await session.scalar(text("SELECT count(*) FROM idempotency")) == 0


async def _is_told_again(story: Story, event_id: str) -> bool:
    return "start" in [kind for kind, _ in await story.outbox(event_id)]  # type: ignore[arg-type]
