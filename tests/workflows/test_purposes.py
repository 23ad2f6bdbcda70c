"""Activity slots per purpose: a silent mail server or locked rows delay nothing else."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from sqlalchemy import text
from temporalio.testing import WorkflowEnvironment

from activities.alerts.email_smtp import SmtpMailer, parse_mail_server
from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.projects import Scope
from store.crypto.encryption import Sealer
from store.db.sql import SessionStatements
from store.projects.projects import create_project
from store.receipts.outbox import enqueue_start_again
from store.receipts.results import apply_result
from tests.support.given import Story, new_result
from tests.support.waiting import wait_until_async
from tests.workflows.world import World, world_on

# More than a worker's activity slots. Without slots per purpose, mail takes them all for 14 s.
CROWD = 120
# It takes about 0.2 s on an idle machine. Far less than the 14 s.
SOON_SECONDS = 3.0


class SilentServer:
    """Accepts connections and sends nothing."""

    def __init__(self) -> None:
        self.connections = 0
        self.url = ""
        self._may_end = asyncio.Event()

    async def _hold(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        await self._may_end.wait()
        writer.close()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator["SilentServer"]:
        server = await asyncio.start_server(self._hold, "127.0.0.1", 0)
        self.url = f"smtp://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        try:
            yield self
        finally:
            self._may_end.set()
            server.close()


async def waiting_crowd(world: World) -> list[EventId]:
    """Accept a crowd of receipts, and wait until their runs have begun."""
    story = Story(world.database, world.project)
    async with world.database.reading() as session:
        story.at = await world.database.now(session)
    events = await story.receipts(CROWD)
    async with world.database.transaction() as session:
        for event_id in events:
            await enqueue_start_again(session, event_id, story.at)
    # One after the other: a crowd of polls at once would slow Temporal down.
    for event_id in events:
        await world.started(event_id)
    return events


async def report_failures(world: World, events: list[EventId]) -> None:
    """A failed result of each, in one transaction: each commit waits for the disk."""
    async with world.database.transaction() as session:
        now = await world.database.now(session)
        for event_id in events:
            failed = new_result(world.project.id, event_id, "failed")
            await apply_result(SessionStatements(session), failed, now)


async def test_silent_mail_server_delays_no_callback(
    temporal: WorkflowEnvironment, sqlite_url: str, sealer: Sealer
) -> None:
    async with SilentServer().listening() as silent:
        mailer = SmtpMailer(parse_mail_server(silent.url))
        async with world_on(temporal, sqlite_url, sealer, mailer=mailer) as world:
            to_repair = await world.accept()
            events = await waiting_crowd(world)
            await report_failures(world, [to_repair, *events])
            for event_id in [to_repair, *events]:
                await world.reaches(event_id, LifecycleState.OPEN)
            # All slots of one project: four of the loop, and four of the workflows.
            await wait_until_async(lambda: silent.connections >= 8, what="mail that hangs")

            began = asyncio.get_running_loop().time()
            await world.reprocess(to_repair)
            await wait_until_async(lambda: world.receiver.calls, seconds=30, what="the callback")
            seconds = asyncio.get_running_loop().time() - began

    assert seconds < SOON_SECONDS


async def test_locked_rows_of_one_project_delay_no_incident_of_another(
    makegood_on_postgres: World, sealer: Sealer
) -> None:
    world = makegood_on_postgres
    events = await waiting_crowd(world)
    async with world.database.transaction() as session:
        now = await world.database.now(session)
        made = await create_project(
            session, sealer, name="other", livemode=False, scopes=frozenset(Scope), now=now
        )
    other = Story(world.database, made.project)
    other.at = now
    event_id = await other.receipt()
    await world.enqueue_start(event_id)
    await world.started(event_id)

    async with world.database.transaction() as session:
        locked = text("SELECT 1 FROM receipts WHERE project_id = :project FOR UPDATE")
        await session.execute(locked, {"project": world.project.id})
        # Each checks its deadline now, and waits for its row.
        await asyncio.gather(*(world.signal(event, "expire") for event in events))
        await asyncio.sleep(0)
        began = asyncio.get_running_loop().time()
        # A lifecycle activity for a receipt of the other project.
        await world.signal(event_id, "expire")
        await world.ran(event_id, "open_incident", times=1)
        seconds = asyncio.get_running_loop().time() - began

    assert seconds < SOON_SECONDS
