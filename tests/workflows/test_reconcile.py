"""What the engine forgets, is told wrongly, or is told twice, the store and the reconciler put right."""

from datetime import timedelta

from domain.lifecycle import Position
from domain.results import ResultStatus
from store.heartbeats import write_fact
from store.standing import tell_engine
from store.statements import SessionStatements
from tests.workflows.world import World
from worker.reconcile import NAMESPACE_FACT
from workflows.messages import ResultSignal


async def test_terminated_workflow_does_not_lose_its_receipt(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    first = await makegood.run_id(event_id)

    await makegood.handle(event_id).terminate()

    await makegood.eventually(lambda: makegood.has_other_run(event_id, first), "another run")
    await makegood.expire(event_id)
    await makegood.reaches(event_id, Position.OPEN)


async def test_made_up_success_does_not_lose_the_receipt(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    first = await makegood.run_id(event_id)

    await makegood.signal(event_id, "result", ResultSignal("res_madeup", ResultStatus.SUCCESS))

    await makegood.eventually(lambda: makegood.has_other_run(event_id, first), "another run")
    assert await makegood.stored(event_id) is Position.WAITING
    await makegood.expire(event_id)
    await makegood.reaches(event_id, Position.OPEN)


async def test_made_up_failure_is_noted_and_ignored(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    await makegood.signal(event_id, "result", ResultSignal("res_madeup", ResultStatus.FAILED))

    await makegood.ran(event_id, "open_incident", times=1)
    assert await makegood.stored(event_id) is Position.WAITING
    assert await makegood.notes(event_id) == ["A signal named a result that is not stored; it was ignored."]


async def test_workflow_terminated_during_a_repair_goes_on_where_the_store_stands(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.expire(event_id)
    await makegood.reaches(event_id, Position.OPEN)
    replay_id = await makegood.reprocess(event_id)
    await makegood.reaches(event_id, Position.AWAITING_RESULT)
    first = await makegood.run_id(event_id)

    await makegood.handle(event_id).terminate()

    await makegood.eventually(lambda: makegood.has_other_run(event_id, first), "another run")
    await makegood.report(event_id, "success", replay_id=replay_id)
    assert await makegood.ended(event_id) == Position.RECOVERED
    assert len(makegood.receiver.calls) == 1


async def test_receipt_that_was_never_told_is_found(makegood: World) -> None:
    event_id = await makegood.accept(telling=False)

    await makegood.started(event_id)

    await makegood.expire(event_id)
    await makegood.reaches(event_id, Position.OPEN)


async def test_another_temporal_database_is_told_everything(makegood: World) -> None:
    waiting = await makegood.accept()
    await makegood.started(waiting)
    await makegood.handle(waiting).terminate()
    async with makegood.database.transaction() as session:
        await write_fact(session, NAMESPACE_FACT, "of a database that was lost")

    await makegood.eventually(makegood.knows_namespace, "the new namespace id")

    await makegood.expire(waiting)
    await makegood.reaches(waiting, Position.OPEN)


async def test_telling_twice_changes_nothing(makegood: World) -> None:
    event_id = await makegood.accept_applied()
    assert await makegood.ended(event_id) == Position.APPLIED
    first = await makegood.run_id(event_id)

    await makegood.tell(event_id)

    await makegood.eventually(makegood.outbox_is_empty, "an empty outbox")
    assert await makegood.run_id(event_id) == first


async def test_alert_that_was_not_sent_is_sent_later(makegood: World) -> None:
    makegood.post.is_refusing = True
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.report(event_id, "failed")
    await makegood.eventually(lambda: makegood.told_of(event_id, "alert_failed"), "a failed alert")
    makegood.post.is_refusing = False

    await makegood.advance(event_id, seconds=6)

    assert len(await makegood.subjects(1)) == 1
    await makegood.eventually(lambda: makegood.told_of(event_id, "alert_sent"), "a sent alert")


async def test_one_row_that_cannot_be_told_stops_no_other(makegood: World) -> None:
    broken = await makegood.accept(telling=False)
    async with makegood.database.transaction() as session:
        await tell_engine(SessionStatements(session), broken, "nonsense", await makegood.database.now(session))

    event_id = await makegood.accept()

    await makegood.started(event_id)


async def test_run_that_overslept_is_woken(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    # The store's clock alone: for the engine the deadline is still ahead.
    makegood.database.clock.skew += timedelta(minutes=32)

    await makegood.reaches(event_id, Position.OPEN)
    assert "deadline_passed" in await makegood.timeline(event_id)


async def test_run_on_its_way_to_a_deadline_is_not_disturbed(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    # What still waits in the outbox would rightly be woken.
    await makegood.eventually(makegood.outbox_is_empty, "an empty outbox")
    makegood.database.clock.skew += timedelta(minutes=30, seconds=20)

    await makegood.reconciled(3)

    assert await makegood.believed(event_id) == Position.WAITING
    assert "WORKFLOW_EXECUTION_SIGNALED" not in await makegood.event_types(event_id)
