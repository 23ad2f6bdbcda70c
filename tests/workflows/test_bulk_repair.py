"""Bulk repairs run as workflows, over worker restarts and long histories."""

import json
from pathlib import Path
from uuid import uuid4

import pytest
from temporalio.client import WorkflowHistory
from temporalio.testing import WorkflowEnvironment

from domain.ids import BulkId
from domain.repairing.bulk import BulkState, Counts, ItemState, Plan
from store.crypto.encryption import Sealer
from tests.histories import bulk
from tests.histories.bulk.scenarios import SCENARIOS, Scenario
from tests.histories.fingerprint import FILE, commands_of
from tests.histories.lesson import assert_replays, assert_same_commands
from tests.workflows.bulk import BulkWorld, bulk_world_on
from workflows.bulk_repair import BulkRepairWorkflow, bulk_workflow_id

HISTORIES = Path(bulk.__file__).parent
RECORDED = sorted(path for path in HISTORIES.glob("*.json") if path.name != FILE)
FINGERPRINT: dict[str, list[str]] = json.loads((HISTORIES / FILE).read_text())
SLOW = Plan(first=2, then=1, per_minute=600, stop_at_failed_percent=100)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_recorded_bulk_repair_replays(path: Path) -> None:
    history = WorkflowHistory.from_json("recorded", path.read_text())

    await assert_replays(
        path.stem, history, committed=FINGERPRINT[path.stem], by=BulkRepairWorkflow
    )


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_bulk_repair_has_the_commands_of_the_fingerprint(
    scenario: Scenario, temporal: WorkflowEnvironment, sqlite_url: str, sealer: Sealer
) -> None:
    async with bulk_world_on(temporal, sqlite_url, sealer) as made:
        handle = await scenario(made)
        now = commands_of(await handle.fetch_history())

    assert_same_commands(scenario.__name__, committed=FINGERPRINT[scenario.__name__], now=now)


async def test_bulk_repair_repairs_in_steps_over_restarts_of_the_worker(
    temporal: WorkflowEnvironment, sqlite_url: str, sealer: Sealer
) -> None:
    async with bulk_world_on(temporal, sqlite_url, sealer, starts=True) as world:
        members = await world.opened(5)
        bulk_id = await world.store(members, SLOW)
        await _repairing(world, bulk_id, 2)
        first = [item.position for item in await world.items(bulk_id) if item.replay_id]
        await world.makegood.stop_worker()
        await _report(world, bulk_id)
        await world.makegood.start_worker()
        await _repairing(world, bulk_id, 3)
        await _report(world, bulk_id)

        async def is_finished() -> bool:
            return (await world.read(bulk_id)).state == BulkState.FINISHED

        await world.makegood.eventually(is_finished, "the bulk repair finishes")
        handle = world.makegood.client.get_workflow_handle(bulk_workflow_id(bulk_id))
        await handle.result()

        assert first == [1, 2]
        assert (await world.read(bulk_id)).counts == Counts(succeeded=5)
        assert [len(await world.makegood.repairs(event_id)) for _, event_id in members] == [1] * 5


async def test_long_bulk_repair_continues_as_new(
    temporal: WorkflowEnvironment, sqlite_url: str, sealer: Sealer
) -> None:
    async with bulk_world_on(temporal, sqlite_url, sealer) as world:
        bulk_id = await world.store(await world.opened(1))
        await world.change(bulk_id, BulkState.PAUSED)
        handle = await world.run(bulk_id)
        run_id = handle.first_execution_run_id
        for _ in range(40):
            await handle.signal("changed", str(uuid4()))
            if (await handle.describe()).run_id != run_id:
                break
            await world.waits(handle)

        async def is_another_run() -> bool:
            return (await handle.describe()).run_id != run_id

        any_run = world.makegood.client.get_workflow_handle(bulk_workflow_id(bulk_id))
        handle = any_run
        await world.makegood.eventually(is_another_run, "the next run")
        await world.change(bulk_id, BulkState.ABORTED)
        await any_run.signal("changed")
        await any_run.result()


async def _repairing(world: BulkWorld, bulk_id: BulkId, count: int) -> None:
    async def are_repairing() -> bool:
        items = await world.items(bulk_id)
        return sum(item.state == ItemState.REPAIRING for item in items) == count

    await world.makegood.eventually(are_repairing, f"{count} are repairing")


async def _report(world: BulkWorld, bulk_id: BulkId) -> None:
    """The app reports success of each repair that runs."""
    for item in await world.items(bulk_id):
        if item.state == ItemState.REPAIRING:
            await world.makegood.report(item.event_id, "success", replay_id=item.replay_id)
