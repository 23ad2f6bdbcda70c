"""Every path through the `bulk-repair` workflow, as a scenario on a real Temporal server.

Each scenario returns the bulk repair's workflow, ended. The number of steps does not depend on how
fast the machine is.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from temporalio.client import WorkflowHandle

from domain.repairing.bulk import BulkState
from tests.workflows.bulk import BulkWorld

Scenario = Callable[[BulkWorld], Awaitable[WorkflowHandle[Any, Any]]]
# A paused bulk repair without a change looks every 15 s: a signal comes before.
LONG_UNCHANGED = timedelta(hours=1)


async def nothing_left(world: BulkWorld) -> WorkflowHandle[Any, Any]:
    """Its incidents are resolved when it begins."""
    members = await world.opened(2)
    for _, event_id in members:
        await world.makegood.report(event_id, "success")
    handle = await world.run(await world.store(members))
    await handle.result()
    return handle


async def gone(world: BulkWorld) -> WorkflowHandle[Any, Any]:
    """Its project was deleted."""
    handle = await world.run("blk_" + "0" * 32)
    await handle.result()
    return handle


async def aborted_while_paused(world: BulkWorld) -> WorkflowHandle[Any, Any]:
    """A signal ends the wait."""
    bulk_id = await world.store(await world.opened(1))
    await world.change(bulk_id, BulkState.PAUSED)
    await world.unchanged_for(bulk_id, LONG_UNCHANGED)
    handle = await world.run(bulk_id)
    await world.waits(handle)
    await world.change(bulk_id, BulkState.ABORTED)
    await handle.signal("changed")
    await handle.result()
    return handle


SCENARIOS: tuple[Scenario, ...] = (nothing_left, gone, aborted_while_paused)
