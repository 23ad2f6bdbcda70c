"""The loop that makes Schedules: what fails is stored, tried again, and delays no other."""

import asyncio
from datetime import timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from sqlalchemy import update
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from domain.ids import ProjectId
from domain.projects import CreatedProject
from domain.sources.changes import SourceChanges
from domain.sources.source import Source, SourceKind
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.projects import create_project
from store.schema.tables import SOURCES
from store.sources.schedules import read_not_scheduled
from store.sources.sources import change_source, read_source
from tests.support.sources import stored_source
from worker.loops.source_schedules import AT_ONCE, FIRST_BACKOFF_SECONDS, SourceSchedules
from workflows.source_listing import schedule_id


class BrokenService:
    """A connection to Temporal that fails in a way that nobody expects."""

    def __init__(self) -> None:
        self.calls = 0
        self.again = asyncio.Event()

    async def describe_namespace(self, *_: Any, **__: Any) -> None:
        self.calls += 1
        if self.calls > 1:
            self.again.set()
        raise RuntimeError("unexpected")


async def test_unexpected_error_backs_off_and_still_stops_at_once(database: Database) -> None:
    service = BrokenService()
    client = cast(Client, SimpleNamespace(workflow_service=service, namespace="default"))
    schedules = SourceSchedules(database, client, every_seconds=0.001)
    loop = asyncio.create_task(schedules.run())

    with pytest.raises(TimeoutError):  # the first backoff is of 5 seconds
        await asyncio.wait_for(service.again.wait(), 0.5)

    assert service.calls == 1
    schedules.stop()
    await asyncio.wait_for(loop, 2)


# Temporal refuses a Schedule with such an interval.
REFUSED = -5
REFUSED_OF_EACH = 49


async def add(
    database: Database, sealer: Sealer, project_id: ProjectId, count: int, *, is_refused: bool
) -> list[Source]:
    """Changed listings of the project, whose Schedules Temporal takes, or refuses."""
    sources = [
        await stored_source(database, sealer, project_id, SourceKind.STRIPE_API)
        for _ in range(count)
    ]
    if is_refused:
        of_project = update(SOURCES).where(SOURCES.c.project_id == project_id)
        async with database.transaction() as session:
            await session.execute(of_project.values(every_minutes=REFUSED))
    return sources


async def has_schedule(client: Client, source: Source) -> bool:
    try:
        await client.get_schedule_handle(schedule_id(source.id)).describe()
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True


async def test_refused_schedules_are_stored_with_their_time_and_delay_no_other_project(
    database: Database, sealer: Sealer, project: CreatedProject, temporal: WorkflowEnvironment
) -> None:
    others = [await project_of(database, sealer, name) for name in ("b", "c", "d")]
    await add(database, sealer, project.project.id, REFUSED_OF_EACH, is_refused=True)
    await add(database, sealer, others[0], REFUSED_OF_EACH, is_refused=True)
    taken = await add(database, sealer, others[1], 2, is_refused=False)
    await add(database, sealer, others[2], REFUSED_OF_EACH, is_refused=True)
    schedules = SourceSchedules(database, temporal.client, every_seconds=60)

    await schedules.turn()

    assert [await has_schedule(temporal.client, source) for source in taken] == [True, True]
    assert not any((await reread(database, source)).schedule_retry_at for source in taken)
    async with database.reading() as session:
        now = await database.now(session)
        found = await read_not_scheduled(session, limit=1_000)
    assert found.count == AT_ONCE - len(taken)
    assert found.retry_at is not None
    assert now - timedelta(minutes=1) < found.retry_at
    assert found.retry_at <= now + timedelta(seconds=FIRST_BACKOFF_SECONDS)
    # Those that were not tried come next, although the others are still refused.
    for _ in range(5):
        await schedules.turn()
    async with database.reading() as session:
        assert (await read_not_scheduled(session, limit=1_000)).count == 3 * REFUSED_OF_EACH


async def project_of(database: Database, sealer: Sealer, name: str) -> ProjectId:
    async with database.transaction() as session:
        now = await database.now(session)
        made = await create_project(session, sealer, name=name, livemode=False, now=now)
    return made.project.id


async def test_source_that_is_changed_after_a_failure_is_scheduled_at_once(
    database: Database, sealer: Sealer, project: CreatedProject, temporal: WorkflowEnvironment
) -> None:
    (source,) = await add(database, sealer, project.project.id, 1, is_refused=True)
    schedules = SourceSchedules(database, temporal.client, every_seconds=60)
    await schedules.turn()
    failed = await reread(database, source)

    async with database.transaction() as session:
        await change_source(
            session,
            sealer,
            project_id=source.project_id,
            source_id=source.id,
            changes=SourceChanges(every_minutes=5),
            now=await database.now(session),
        )
    await schedules.turn()

    mended = await reread(database, source)
    assert (failed.is_scheduled, failed.schedule_retry_at is None) == (False, False)
    assert (mended.is_scheduled, mended.schedule_retry_at) == (True, None)
    assert await has_schedule(temporal.client, source)


async def reread(database: Database, source: Source) -> Source:
    async with database.reading() as session:
        return await read_source(session, source.project_id, source.id)
