"""Deliveries in the gathered commit: durable before their response, and never in receipts' way."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from domain.errors import Unavailable
from domain.ids import SourceId
from domain.projects import CreatedProject
from domain.sources.events import sightings_of
from domain.sources.source import Source
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.ingest.connection import IngestConnection
from store.ingest.hooks import HOOK_BATCH_LIMIT, HOOK_QUEUE_LIMIT, HookDelivery
from store.sources.sources import read_source
from tests.store.ingest.desk import Desk, body_of, committing, count
from tests.support.fakes import CountingConnection, PausedConnection
from tests.support.sources import provider_event, stored_source
from tests.support.waiting import wait_until_async


@pytest.fixture
async def source(database: Database, sealer: Sealer, project: CreatedProject) -> Source:
    return await stored_source(database, sealer, project.project.id)


def delivery(source: Source, **changes: Any) -> HookDelivery:
    """A delivery of one event; `changes` are those of what is expected of the app."""
    (sighting,) = sightings_of(source, [provider_event()])
    return HookDelivery(
        source.id, (replace(sighting, receipt=replace(sighting.receipt, **changes)),)
    )


@asynccontextmanager
async def counting(
    database: Database, project: CreatedProject, *failures: Exception
) -> AsyncIterator[tuple[Desk, CountingConnection]]:
    connections: list[CountingConnection] = []

    def count_commits(real: IngestConnection) -> IngestConnection:
        connections.append(CountingConnection(real, *failures))
        return connections[0]

    async with committing(database, project, count_commits) as desk:
        yield desk, connections[0]


async def test_deliveries_that_wait_together_share_commits(
    database: Database, project: CreatedProject, source: Source
) -> None:
    async with counting(database, project) as (desk, connection):
        hooks = desk.committer.hooks
        await asyncio.gather(*(hooks.accept(delivery(source)) for _ in range(320)))

    assert await count(database, "source_events") == await count(database, "receipts") == 320
    assert await count(database, "outbox", "kind = 'start'") == 320
    assert connection.commits <= 320 / HOOK_BATCH_LIMIT + 1


async def test_nothing_is_acknowledged_before_its_commit(
    database: Database, project: CreatedProject, source: Source
) -> None:
    connections: list[PausedConnection] = []

    def pause(real: IngestConnection) -> IngestConnection:
        connections.append(PausedConnection(real))
        return connections[0]

    async with committing(database, project, pause) as desk:
        accepted = asyncio.create_task(desk.committer.hooks.accept(delivery(source)))
        await connections[0].has_worked.wait()
        was_acknowledged = accepted.done()
        connections[0].release.set()
        await accepted

    assert not was_acknowledged
    assert await count(database, "source_events") == 1


async def test_bad_delivery_fails_alone(
    database: Database, project: CreatedProject, source: Source
) -> None:
    async with committing(database, project) as desk:
        good = [delivery(source) for _ in range(20)]
        bad = delivery(source, within_minutes=float("nan"))

        answers = await asyncio.gather(
            *(desk.committer.hooks.accept(one) for one in (*good[:10], bad, *good[10:])),
            *(desk.say(desk.receipt()) for _ in range(20)),
            return_exceptions=True,
        )

    assert [index for index, one in enumerate(answers) if isinstance(one, Exception)] == [10]
    assert isinstance(answers[10], ValueError)
    assert await count(database, "source_events") == 20
    assert await count(database, "receipts") == 40


async def test_store_that_fails_refuses_its_deliveries_and_goes_on(
    database: Database, project: CreatedProject, source: Source
) -> None:
    async with counting(database, project, Unavailable()) as (desk, _):
        hooks = desk.committer.hooks
        answers = await asyncio.gather(
            *(hooks.accept(delivery(source)) for _ in range(3)), return_exceptions=True
        )
        stored_before = await count(database, "source_events")
        await hooks.accept(delivery(source))

    assert all(isinstance(answer, Unavailable) for answer in answers)
    assert stored_before == 0
    assert await count(database, "source_events") == 1


async def test_queue_is_bounded_apart_from_that_of_receipts(
    database: Database, project: CreatedProject, source: Source
) -> None:
    async with committing(database, project) as desk:
        hooks = desk.committer.hooks
        flood = [
            asyncio.create_task(hooks.accept(delivery(source)))
            for _ in range(HOOK_QUEUE_LIMIT + 50)
        ]
        answer = await desk.say(desk.receipt())
        answers = await asyncio.gather(*flood, return_exceptions=True)

    assert answer.status == 202
    assert sum(isinstance(one, Unavailable) for one in answers) == 50
    assert await count(database, "source_events") == HOOK_QUEUE_LIMIT


async def test_receipt_waits_for_few_of_many_deliveries(
    database: Database, project: CreatedProject, source: Source
) -> None:
    async with committing(database, project) as desk:
        hooks = desk.committer.hooks
        flood = [asyncio.create_task(hooks.accept(delivery(source))) for _ in range(600)]
        await wait_until_async(lambda: any(one.done() for one in flood), what="the flood began")

        before = sum(one.done() for one in flood)
        body_of(await desk.say(desk.receipt()))
        after = sum(one.done() for one in flood)
        await asyncio.gather(*flood)

    assert after - before <= 3 * HOOK_BATCH_LIMIT


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_event_whose_receipt_is_locked_fails_alone(
    database: Database, project: CreatedProject, source: Source
) -> None:
    async with committing(database, project) as desk:
        event_id = await desk.stored(provider_event_id="evt_locked", stripe_event_id="evt_locked")
        (locked,) = sightings_of(source, [provider_event(id="evt_locked")])
        found = replace(locked, receipt=replace(locked.receipt, effect_type="access_unlock"))
        async with database.transaction() as session:
            lock = text("SELECT 1 FROM receipts WHERE event_id = :event_id FOR UPDATE")
            await session.execute(lock, {"event_id": event_id})
            answers = await asyncio.gather(
                desk.committer.hooks.accept(HookDelivery(source.id, (found,))),
                *(desk.committer.hooks.accept(delivery(source)) for _ in range(5)),
                return_exceptions=True,
            )
        await desk.committer.hooks.accept(HookDelivery(source.id, (found,)))

    assert isinstance(answers[0], Unavailable)
    assert answers[1:] == [None] * 5
    assert await count(database, "source_events") == 6


async def test_what_is_received_is_written_soon_and_seldom(
    database: Database, project: CreatedProject, source: Source
) -> None:
    async def received_at() -> object:
        async with database.reading() as session:
            return (await read_source(session, source.project_id, source.id)).last_event_at

    async with counting(database, project) as (desk, connection):
        for _ in range(50):
            desk.committer.hooks.note_received(source.id)
        first = await wait_until_async(received_at, what="it was written")
        commits = connection.commits
        database.clock.skew += timedelta(seconds=9)
        desk.committer.hooks.note_received(source.id)
        await desk.committer.hooks.accept(HookDelivery(SourceId("src_none"), ()))
        again = await received_at()
        database.clock.skew += timedelta(seconds=2)
        desk.committer.hooks.note_received(source.id)

        async def is_later() -> bool:
            return await received_at() != first

        await wait_until_async(is_later, what="it was written again")

    assert commits == 1
    assert again == first


async def test_stopping_stores_what_was_accepted_and_refuses_the_rest(
    database: Database, project: CreatedProject, source: Source
) -> None:
    async with committing(database, project) as desk:
        hooks = desk.committer.hooks
        accepted = [asyncio.create_task(hooks.accept(delivery(source))) for _ in range(100)]
        await asyncio.sleep(0)
    answers = await asyncio.gather(*accepted)
    with pytest.raises(Unavailable):
        await hooks.accept(delivery(source))

    assert answers == [None] * 100
    assert await count(database, "source_events") == 100
