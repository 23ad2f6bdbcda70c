"""Sources are listed by Temporal's Schedules, as the table of sources says."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleSpec,
    WorkflowHistory,
)
from temporalio.testing import WorkflowEnvironment

from activities.sources.listing import LISTING_LIMITS
from domain.sources.source import Source
from store.crypto.encryption import Sealer
from store.status.heartbeats import write_fact
from tests.histories import sources
from tests.histories.fingerprint import FILE, commands_of
from tests.histories.lesson import assert_replays, assert_same_commands
from tests.histories.sources.scenarios import SCENARIOS, Scenario, changes_of
from tests.support.waiting import wait_until_async
from tests.workflows.sources import SourceWorld, source_world_on
from worker.loops.source_schedules import SCHEDULES_FACT, SourceSchedules
from workflows.source_listing import SOURCE_LISTING, SourceListingWorkflow, schedule_id

HISTORIES = Path(sources.__file__).parent
RECORDED = sorted(path for path in HISTORIES.glob("*.json") if path.name != FILE)
FINGERPRINT: dict[str, list[str]] = json.loads((HISTORIES / FILE).read_text())
# It takes some tenths of a second. A part of a provider that hangs takes 20 s.
SOON_SECONDS = 5.0
MOST_OF_A_PROJECT = LISTING_LIMITS.per_project


@pytest.fixture
async def world(
    temporal: WorkflowEnvironment, database_url: str, sealer: Sealer
) -> AsyncIterator[SourceWorld]:
    async with source_world_on(temporal, database_url, sealer) as made:
        yield made


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_recorded_listing_replays(path: Path) -> None:
    history = WorkflowHistory.from_json("recorded", path.read_text())

    await assert_replays(
        path.stem, history, committed=FINGERPRINT[path.stem], by=SourceListingWorkflow
    )


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_listing_has_the_commands_of_the_fingerprint(
    scenario: Scenario, temporal: WorkflowEnvironment, sqlite_url: str, sealer: Sealer
) -> None:
    async with source_world_on(temporal, sqlite_url, sealer, **changes_of(scenario)) as made:
        now = commands_of(await (await scenario(made)).fetch_history())

    assert_same_commands(scenario.__name__, committed=FINGERPRINT[scenario.__name__], now=now)


def test_every_scenario_of_listings_is_recorded_without_people_or_machines() -> None:
    assert {scenario.__name__ for scenario in SCENARIOS} == {path.stem for path in RECORDED}
    texts = [path.read_text() for path in RECORDED]
    words = ("@", "rk_test", "/home/", "/root/", "/work/", "127.0.0.1", "evt_provider")
    assert [word for word in words if any(word in text for text in texts)] == []


async def test_new_source_has_its_schedule_and_is_listed(world: SourceWorld) -> None:
    source = await world.add()
    ids = await world.happen(120)

    await listed(world, source)

    schedule = await world.schedule(source)
    assert schedule is not None
    assert schedule.schedule.policy.overlap.name == "SKIP"
    assert not schedule.schedule.state.paused
    (interval,) = schedule.schedule.spec.intervals
    assert interval.every.total_seconds() == 300
    assert await world.expected() == ids


async def test_expected_event_has_the_workflow_that_every_receipt_has(world: SourceWorld) -> None:
    source = await world.add()
    await world.happen(1)
    await listed(world, source)

    (event_id,) = await world.event_ids()

    await world.world.started(event_id)
    assert await world.world.queried_state(event_id) == "expected"


async def test_schedule_follows_the_source(world: SourceWorld) -> None:
    source = await world.add()
    await listed(world, source)

    await world.change(source, is_paused=True, every_minutes=30)
    await world.world.eventually(lambda: is_paused(world, source, True), "paused")
    await world.change(source, is_paused=False)
    await world.world.eventually(lambda: is_paused(world, source, False), "resumed")
    schedule = await world.schedule(source)
    assert schedule is not None
    assert schedule.schedule.spec.intervals[0].every.total_seconds() == 1_800
    await world.remove(source)

    await world.world.eventually(lambda: has_no_schedule(world, source), "deleted")


async def test_requested_check_is_a_listing_now(world: SourceWorld) -> None:
    source = await world.add()
    await listed(world, source)
    ids = await world.happen(3)
    assert await world.expected() == []

    await world.check(source)

    async def are_expected() -> bool:
        return await world.expected() == ids

    await world.world.eventually(are_expected, "the check has listed")


async def test_every_source_is_scheduled_again_in_a_new_temporal_database(
    world: SourceWorld,
) -> None:
    several = [await world.add() for _ in range(3)]
    for source in several:
        await listed(world, source)
    client = world.world.client
    for source in several:
        await client.get_schedule_handle(schedule_id(source.id)).delete()

    async with world.world.database.transaction() as session:
        await write_fact(session, SCHEDULES_FACT, "that of the database before")

    for source in several:
        await world.world.eventually(lambda s=source: has_schedule(world, s), "scheduled again")


async def test_schedule_of_a_source_that_is_gone_is_deleted_and_no_other(
    temporal: WorkflowEnvironment, sqlite_url: str, sealer: Sealer
) -> None:
    client = temporal.client
    await create_schedule(client, schedule_id(f"src_{'0' * 32}"))
    await create_schedule(client, "source-of-somebody-else")

    async with source_world_on(temporal, sqlite_url, sealer) as world:
        source = await world.add()
        await listed(world, source)

        async def is_swept() -> bool:
            ids = [one.id async for one in await client.list_schedules()]
            return schedule_id(f"src_{'0' * 32}") not in ids

        await world.world.eventually(is_swept, "the Schedule is deleted")
        assert await has_schedule(world, source)
    await client.get_schedule_handle("source-of-somebody-else").delete()


@pytest.mark.parametrize("fault", ["deleted", "paused"])
async def test_schedule_that_somebody_stopped_in_temporal_is_made_again(
    temporal: WorkflowEnvironment, sqlite_url: str, sealer: Sealer, fault: str
) -> None:
    async with source_world_on(temporal, sqlite_url, sealer) as world:
        source = await world.add()
        await listed(world, source)
        handle = temporal.client.get_schedule_handle(schedule_id(source.id))
        await (handle.delete() if fault == "deleted" else handle.pause())

        async def runs() -> bool:
            # Of a worker that starts now: it sweeps, compares, and schedules.
            schedules = SourceSchedules(world.world.database, temporal.client, every_seconds=1)
            for _ in range(3):
                await schedules.turn()
            found = await world.schedule(source)
            return found is not None and not found.schedule.state.paused

        await world.world.eventually(runs, "the Schedule runs again")


async def test_provider_that_hangs_takes_nothing_from_receipts(world: SourceWorld) -> None:
    world.provider.faults.hangs.set()
    for _ in range(6):
        await world.add()
    await wait_until_async(
        lambda: len(world.provider.asked) >= MOST_OF_A_PROJECT, what="listings hang"
    )

    began = asyncio.get_running_loop().time()
    event_id = await world.world.accept()
    await world.world.started(event_id)
    await world.world.report(event_id, "success")
    await world.world.ended(event_id)
    seconds = asyncio.get_running_loop().time() - began
    world.provider.faults.hangs.clear()

    assert seconds < SOON_SECONDS


async def create_schedule(client: Client, name: str) -> None:
    action = ScheduleActionStartWorkflow(
        SOURCE_LISTING, id=f"of-{name}", task_queue="nobody-polls-this"
    )
    await client.create_schedule(name, Schedule(action, ScheduleSpec()))


async def listed(world: SourceWorld, source: Source) -> None:
    """Return once a listing of the source has ended."""

    async def has_ended() -> bool:
        return (await world.read(source)).last_listed_at is not None

    await world.world.eventually(has_ended, "a listing has ended")


async def has_schedule(world: SourceWorld, source: Source) -> bool:
    return await world.schedule(source) is not None


async def has_no_schedule(world: SourceWorld, source: Source) -> bool:
    return await world.schedule(source) is None


async def is_paused(world: SourceWorld, source: Source, wanted: bool) -> bool:
    schedule = await world.schedule(source)
    return schedule is not None and schedule.schedule.state.paused is wanted
