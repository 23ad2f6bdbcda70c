"""The run of an event that a source saw: it waits for the receipt, then for the result."""

from domain.lifecycle import LifecycleState
from tests.workflows.world import World
from workflows.search_attributes import MG_STATE


async def shown_state(makegood: World, event_id: str) -> object:
    """`MgState` as Temporal has it."""
    described = await makegood.handle(event_id).describe()  # type: ignore[arg-type]
    return described.typed_search_attributes.get(MG_STATE)


async def test_missing_receipt_opens_one_incident_and_its_repair_recovers_it(
    makegood: World,
) -> None:
    event_id = await makegood.expect(within_minutes=10.0)
    await makegood.started(event_id)
    assert await makegood.queried_state(event_id) == LifecycleState.EXPECTED
    assert await shown_state(makegood, event_id) == "expected"

    await makegood.advance(event_id, minutes=10)
    await makegood.reaches(event_id, LifecycleState.OPEN)
    replay_id = await makegood.reprocess(event_id)
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    await makegood.report(event_id, "success", replay_id=replay_id)

    assert await makegood.ended(event_id) == LifecycleState.RECOVERED
    assert "your app never reported it" in (await makegood.subjects(1))[0]
    assert [call.body["reason"] for call in makegood.receiver.calls] == ["missing_receipt"]
    assert len(await makegood.incidents(event_id)) == 1


async def test_receipt_gives_the_run_its_own_deadline(makegood: World) -> None:
    event_id = await makegood.expect(within_minutes=10.0)
    await makegood.started(event_id)

    await makegood.accept_expected(event_id, timeout_minutes=30.0)

    await makegood.reaches(event_id, LifecycleState.WAITING)
    assert await shown_state(makegood, event_id) == "waiting"
    await makegood.advance(event_id, minutes=29)
    assert await makegood.stored(event_id) is LifecycleState.WAITING
    await makegood.advance(event_id, minutes=1)
    await makegood.reaches(event_id, LifecycleState.OPEN)
    assert [row["reason"] for row in await makegood.incidents(event_id)] == ["missing_result"]


async def test_shorter_deadline_of_the_receipt_counts(makegood: World) -> None:
    event_id = await makegood.expect(within_minutes=60.0)
    await makegood.started(event_id)

    await makegood.accept_expected(event_id, timeout_minutes=5.0)
    await makegood.reaches(event_id, LifecycleState.WAITING)
    await makegood.advance(event_id, minutes=5)

    await makegood.reaches(event_id, LifecycleState.OPEN)


async def test_success_without_a_receipt_ends_the_run_without_an_activity(makegood: World) -> None:
    event_id = await makegood.expect()
    await makegood.started(event_id)

    await makegood.report(event_id, "success")

    assert await makegood.ended(event_id) == LifecycleState.APPLIED
    assert "ACTIVITY_TASK_SCHEDULED" not in await makegood.event_types(event_id)


async def test_receipt_before_the_run_begins_is_in_its_start(makegood: World) -> None:
    await makegood.stop_worker()
    event_id = await makegood.expect(within_minutes=10.0)
    await makegood.accept_expected(event_id, timeout_minutes=30.0)

    await makegood.start_worker()

    await makegood.reaches(event_id, LifecycleState.WAITING)
    await makegood.report(event_id, "success")
    assert await makegood.ended(event_id) == LifecycleState.APPLIED
