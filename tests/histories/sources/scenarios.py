"""Every path through the `source-listing` workflow, as a scenario on a real Temporal server.

Each scenario returns the listing, ended.
"""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any

from temporalio.client import WorkflowHandle

from tests.support.provider import throttled
from tests.workflows.sources import PACE, SourceWorld

Scenario = Callable[[SourceWorld], Awaitable[WorkflowHandle[Any, Any]]]
ONE_PAGE = replace(PACE, part_seconds=0.0)


async def listed(world: SourceWorld) -> WorkflowHandle[Any, Any]:
    source = await world.add(has_schedule=False)
    await world.happen(3)
    handle = await world.start(source)
    await handle.result()
    return handle


async def listed_in_parts(world: SourceWorld) -> WorkflowHandle[Any, Any]:
    world.provider.faults.page_events = 2
    return await listed(world)


async def waited(world: SourceWorld) -> WorkflowHandle[Any, Any]:
    world.provider.faults.answers = [throttled("1")]
    return await listed(world)


async def nothing_to_list(world: SourceWorld) -> WorkflowHandle[Any, Any]:
    source = await world.add(has_schedule=False)
    await world.change(source, is_paused=True)
    handle = await world.start(source)
    await handle.result()
    return handle


SCENARIOS: tuple[Scenario, ...] = (listed, listed_in_parts, waited, nothing_to_list)


def changes_of(scenario: Scenario) -> dict[str, Any]:
    """The parts of the worker that the scenario needs otherwise."""
    return {"listing_pace": ONE_PAGE} if scenario is listed_in_parts else {}
