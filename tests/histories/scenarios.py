"""Every path through the `receipt` workflow, as a scenario on a real Temporal server.

The scenarios are recorded, replayed and fingerprinted. Time is not skipped, so that a history
contains only what a real one would. Each scenario returns its receipt.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from activities.callback.send import CallbackRules
from domain.ids import EventId
from domain.lifecycle import LifecycleState
from tests.workflows.world import World

Scenario = Callable[[World], Awaitable[EventId]]
SECOND_MINUTES = 1 / 60
# Attempts one second apart, so that a series is short.
PACE = {"rules": CallbackRules(schedule=(0, 1, 1), jitter=0)}


async def success(world: World) -> EventId:
    event_id = await _started(world)
    await world.report(event_id, "success")
    return await _ended(world, event_id, LifecycleState.APPLIED)


async def success_before_the_start(world: World) -> EventId:
    return await _ended(world, await world.accept_with_success(), LifecycleState.APPLIED)


async def failed(world: World) -> EventId:
    event_id = await _started(world)
    await world.report(event_id, "failed", error_code="out_of_seats")
    await _open(world, event_id)
    await world.resolve(event_id)
    return await _ended(world, event_id, LifecycleState.CLOSED)


async def timeout(world: World) -> EventId:
    event_id = await _started(world, timeout_minutes=SECOND_MINUTES)
    await _open(world, event_id)
    await world.resolve(event_id)
    return await _ended(world, event_id, LifecycleState.CLOSED)


async def late(world: World) -> EventId:
    event_id = await _opened(world)
    await world.report(event_id, "success")
    return await _ended(world, event_id, LifecycleState.RECOVERED)


async def repaired(world: World) -> EventId:
    event_id = await _opened(world)
    replay_id = await world.reprocess(event_id)
    await world.reaches(event_id, LifecycleState.AWAITING_RESULT)
    await world.report(event_id, "success", replay_id=replay_id)
    return await _ended(world, event_id, LifecycleState.RECOVERED)


async def repair_failed_then_repaired(world: World) -> EventId:
    event_id = await _opened(world)
    first = await world.reprocess(event_id)
    await world.reaches(event_id, LifecycleState.AWAITING_RESULT)
    await world.report(event_id, "failed", replay_id=first)
    await world.reaches(event_id, LifecycleState.OPEN)
    await world.subjects(2)
    second = await world.reprocess(event_id)
    await world.reaches(event_id, LifecycleState.AWAITING_RESULT)
    await world.report(event_id, "success", replay_id=second)
    return await _ended(world, event_id, LifecycleState.RECOVERED)


async def exhausted(world: World) -> EventId:
    world.receiver.status = 503
    event_id = await _opened(world)
    await world.reprocess(event_id)
    await world.attempted(event_id, 3)
    await world.reaches(event_id, LifecycleState.OPEN)
    await world.subjects(2)
    await world.resolve(event_id)
    return await _ended(world, event_id, LifecycleState.CLOSED)


async def settled_during_the_series(world: World) -> EventId:
    world.receiver.status = 503
    event_id = await _opened(world)
    replay_id = await world.reprocess(event_id)
    await world.attempted(event_id, 1)
    await world.report(event_id, "success", replay_id=replay_id)
    return await _ended(world, event_id, LifecycleState.RECOVERED)


async def duplicate_reprocess(world: World) -> EventId:
    event_id = await _opened(world)
    await world.signal(event_id, "reprocess")
    await world.reaches(event_id, LifecycleState.AWAITING_RESULT)
    for requests in (2, 3, 4):
        await world.signal(event_id, "reprocess")
        await world.ran(event_id, "begin_repair", times=requests)
    replay_id = (await world.repairs(event_id))[0]["replay_id"]
    await world.report(event_id, "success", replay_id=replay_id)
    return await _ended(world, event_id, LifecycleState.RECOVERED)


async def dropped_request(world: World) -> EventId:
    event_id = await _started(world)
    await world.signal(event_id, "reprocess")
    await world.report(event_id, "success")
    return await _ended(world, event_id, LifecycleState.APPLIED)


async def resumed(world: World) -> EventId:
    event_id = await _opened(world)
    first = await world.run_id(event_id)
    await world.handle(event_id).terminate()
    await world.eventually(lambda: world.has_other_run(event_id, first), "another run")
    await _open(world, event_id)
    # The reconciler's signal, which was sent with the start, has been handled.
    await world.ran(event_id, "sync_state", times=1)
    await world.resolve(event_id)
    return await _ended(world, event_id, LifecycleState.CLOSED)


async def expected(world: World) -> EventId:
    event_id = await world.expect()
    await world.started(event_id)
    await world.accept_expected(event_id, timeout_minutes=SECOND_MINUTES)
    await _open(world, event_id)
    await world.resolve(event_id)
    return await _ended(world, event_id, LifecycleState.CLOSED)


SCENARIOS: tuple[Scenario, ...] = (
    success,
    success_before_the_start,
    failed,
    timeout,
    late,
    repaired,
    repair_failed_then_repaired,
    exhausted,
    settled_during_the_series,
    duplicate_reprocess,
    dropped_request,
    resumed,
    expected,
)


async def _started(world: World, **changes: Any) -> EventId:
    event_id = await world.accept(**changes)
    await world.started(event_id)
    return event_id


async def _opened(world: World) -> EventId:
    event_id = await _started(world)
    await world.expire(event_id)
    await _open(world, event_id)
    return event_id


async def _open(world: World, event_id: EventId) -> None:
    await world.reaches(event_id, LifecycleState.OPEN)
    await world.subjects(1)


async def _ended(world: World, event_id: EventId, state: LifecycleState) -> EventId:
    assert await world.ended(event_id) == state
    return event_id
