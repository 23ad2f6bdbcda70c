"""A repair that an operator stops, with a real Temporal server, worker and repair endpoint."""

from domain.lifecycle import LifecycleState
from tests.workflows.world import World


async def test_stopped_repair_calls_no_more_and_another_one_begins(makegood: World) -> None:
    makegood.receiver.status = 503
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)
    await makegood.reprocess(event_id)
    await makegood.attempted(event_id, 1)

    await makegood.stop(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)
    makegood.receiver.status = 202
    await makegood.reprocess(event_id)

    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    causes = [(row["state"], row["cause"]) for row in await makegood.repairs(event_id)]
    assert causes == [("failed", "stopped"), ("awaiting_result", None)]
