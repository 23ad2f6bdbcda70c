"""What operators do to a receipt whose workflow has ended, or still waits: the workflow follows."""

import re

from domain.lifecycle import LifecycleState
from tests.workflows.world import World


async def test_reopened_incident_has_a_workflow_again_that_repairs_it(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.report(event_id, "failed")
    await makegood.reaches(event_id, LifecycleState.OPEN)
    await makegood.resolve(event_id)
    assert await makegood.ended(event_id) == LifecycleState.CLOSED

    await makegood.reopen(event_id)

    await makegood.reaches(event_id, LifecycleState.OPEN)
    opened, _, again = await makegood.subjects(3)
    reopened = "This incident was reopened. "
    assert reopened not in opened
    # Each mail has a link of its own.
    first, second = (
        re.sub(r"/acknowledge/\S+", "", mail) for mail in (opened, again.replace(reopened, ""))
    )
    assert first == second
    replay_id = await makegood.reprocess(event_id)
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    await makegood.report(event_id, "success", replay_id=replay_id)
    assert await makegood.ended(event_id) == LifecycleState.RECOVERED


async def test_incident_that_is_reopened_before_its_workflow_has_ended_goes_on(
    makegood: World,
) -> None:
    event_id = await makegood.accept()
    await makegood.report(event_id, "failed")
    await makegood.reaches(event_id, LifecycleState.OPEN)
    await makegood.stop_worker()
    await makegood.resolve(event_id)
    await makegood.reopen(event_id)

    await makegood.start_worker()

    await makegood.eventually(makegood.outbox_is_empty, "signals delivered")
    await makegood.reaches(event_id, LifecycleState.OPEN)
    await makegood.report(event_id, "success")
    assert await makegood.ended(event_id) == LifecycleState.RECOVERED


async def test_incident_opens_at_the_deadline_that_was_moved_ahead(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    await makegood.move_deadline(event_id, minutes=5)
    await makegood.ran(event_id, "open_incident", times=1)
    assert await makegood.stored(event_id) is LifecycleState.WAITING
    await makegood.advance(event_id, minutes=5)

    await makegood.reaches(event_id, LifecycleState.OPEN)


async def test_no_incident_opens_at_a_deadline_that_was_moved_back(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.move_deadline(event_id, hours=2)
    await makegood.ran(event_id, "open_incident", times=1)

    await makegood.advance(event_id, minutes=31)
    assert await makegood.stored(event_id) is LifecycleState.WAITING
    assert await makegood.queried_state(event_id) == LifecycleState.WAITING
    await makegood.advance(event_id, minutes=90)

    await makegood.reaches(event_id, LifecycleState.OPEN)
