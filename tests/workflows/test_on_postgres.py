"""The workflow on PostgreSQL, where NOTIFY starts the dispatcher and rows are locked."""

from domain.lifecycle import LifecycleState
from tests.workflows.world import World


async def test_repaired_receipt_is_recovered(makegood_on_postgres: World) -> None:
    world = makegood_on_postgres
    event_id = await world.accept()
    await world.started(event_id)
    await world.expire(event_id)
    await world.reaches(event_id, LifecycleState.OPEN)
    replay_id = await world.reprocess(event_id)
    await world.reaches(event_id, LifecycleState.AWAITING_RESULT)

    await world.report(event_id, "success", replay_id=replay_id)

    assert await world.ended(event_id) == LifecycleState.RECOVERED
    assert len(await world.subjects(2)) == 2


async def test_twenty_requests_by_signal_and_console_make_one_repair(
    makegood_on_postgres: World,
) -> None:
    world = makegood_on_postgres
    event_id = await world.accept()
    await world.started(event_id)
    await world.expire(event_id)
    await world.reaches(event_id, LifecycleState.OPEN)

    await world.crowd(event_id, 20)

    await world.reaches(event_id, LifecycleState.AWAITING_RESULT)
    assert len(await world.repairs(event_id)) == 1
    assert len(world.receiver.calls) == 1
