"""The reconciler repairs lost runs, forged signals and repeated starts from the stored state."""

from datetime import UTC, datetime, timedelta

import pytest
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.worker import Worker

from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.results import ResultStatus
from domain.values.timestamps import to_unix_ms
from store.db.sql import SessionStatements
from store.status.heartbeats import NAMESPACE_FACT, write_fact
from tests.histories.changed import WithOneMoreTimerPatchedIn
from tests.workflows.world import World
from workflows.messages import ReceiptInput, ResultSignal, workflow_id
from workflows.receipt import ReceiptWorkflow


async def test_terminated_workflow_does_not_lose_its_receipt(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    first = await makegood.run_id(event_id)

    await makegood.handle(event_id).terminate()

    await makegood.eventually(lambda: makegood.has_other_run(event_id, first), "another run")
    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)


async def test_made_up_success_does_not_lose_the_receipt(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    first = await makegood.run_id(event_id)

    await makegood.signal(event_id, "result", ResultSignal("res_madeup", ResultStatus.SUCCESS))

    await makegood.eventually(lambda: makegood.has_other_run(event_id, first), "another run")
    assert await makegood.stored(event_id) is LifecycleState.WAITING
    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)


async def test_made_up_failure_is_noted_and_ignored(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    await makegood.signal(event_id, "result", ResultSignal("res_madeup", ResultStatus.FAILED))

    await makegood.ran(event_id, "open_incident", times=1)
    assert await makegood.stored(event_id) is LifecycleState.WAITING
    assert await makegood.notes(event_id) == [
        "A signal named a result that is not stored; it was ignored."
    ]


async def test_workflow_terminated_during_a_repair_continues_from_the_stored_state(
    makegood: World,
) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)
    replay_id = await makegood.reprocess(event_id)
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    first = await makegood.run_id(event_id)

    await makegood.handle(event_id).terminate()

    await makegood.eventually(lambda: makegood.has_other_run(event_id, first), "another run")
    await makegood.report(event_id, "success", replay_id=replay_id)
    assert await makegood.ended(event_id) == LifecycleState.RECOVERED
    assert len(makegood.receiver.calls) == 1


async def test_receipt_that_was_never_dispatched_is_found(makegood: World) -> None:
    event_id = await makegood.accept(enqueue=False)

    await makegood.started(event_id)

    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)


async def test_every_receipt_is_started_again_in_another_temporal_database(makegood: World) -> None:
    waiting = await makegood.accept()
    await makegood.started(waiting)
    await makegood.handle(waiting).terminate()
    async with makegood.database.transaction() as session:
        await write_fact(session, NAMESPACE_FACT, "of a database that was lost")

    await makegood.eventually(makegood.stores_namespace_id, "the new namespace id")

    await makegood.expire(waiting)
    await makegood.reaches(waiting, LifecycleState.OPEN)


async def test_run_that_an_older_version_cannot_continue_is_repaired_by_terminating_it(
    makegood: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The first run is terminated as well, so that the next restart is a repeated one.
    monkeypatch.setattr("worker.loops.reconcile.GONE_AGAIN_AFTER_SECONDS", 1.0)
    event_id = await makegood.accept()
    await makegood.started(event_id)
    start = ReceiptInput(event_id, makegood.project.id, datetime.now(UTC) + timedelta(minutes=30))
    names = {
        "id": workflow_id(event_id),
        "task_queue": event_id,
        "id_conflict_policy": WorkflowIDConflictPolicy.TERMINATE_EXISTING,
    }
    async with Worker(makegood.client, task_queue=event_id, workflows=[WithOneMoreTimerPatchedIn]):
        newer = await makegood.client.start_workflow("receipt", start, **names)
        await makegood.started(event_id)
    async with Worker(makegood.client, task_queue=event_id, workflows=[ReceiptWorkflow]):
        await newer.signal("expire")
        await makegood.eventually(
            lambda: _has_event(makegood, event_id, "WORKFLOW_TASK_FAILED"),
            "a run that cannot continue",
        )

        await newer.terminate("rollback")

        await makegood.eventually(
            lambda: makegood.has_other_run(event_id, newer.first_execution_run_id), "another run"
        )
    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)
    assert len(await makegood.subjects(1)) == 1


async def test_second_start_changes_nothing(makegood: World) -> None:
    event_id = await makegood.accept_with_success()
    assert await makegood.ended(event_id) == LifecycleState.APPLIED
    first = await makegood.run_id(event_id)

    await makegood.enqueue_start(event_id)

    await makegood.eventually(makegood.outbox_is_empty, "an empty outbox")
    assert await makegood.run_id(event_id) == first


async def test_alert_that_was_not_sent_is_sent_later(makegood: World) -> None:
    makegood.post.is_refusing = True
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.report(event_id, "failed")
    await makegood.eventually(
        lambda: makegood.has_timeline_entry(event_id, "alert_failed"), "a failed alert"
    )
    makegood.post.is_refusing = False

    await makegood.advance(event_id, seconds=6)

    assert len(await makegood.subjects(1)) == 1
    await makegood.eventually(
        lambda: makegood.has_timeline_entry(event_id, "alert_sent"), "a sent alert"
    )


async def test_row_that_cannot_be_dispatched_stops_no_other(makegood: World) -> None:
    broken = await makegood.accept(enqueue=False)
    async with makegood.database.transaction() as session:
        await SessionStatements(session).fetch(
            "INSERT INTO outbox (event_id, kind, fields, created_at)"
            " VALUES ($1, 'nonsense', '{}', $2)",
            broken,
            to_unix_ms(await makegood.database.now(session)),
        )

    event_id = await makegood.accept()

    await makegood.started(event_id)


async def test_run_that_missed_its_deadline_is_signalled(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    # Only the store's clock moves: for Temporal the deadline is still ahead.
    makegood.database.clock.skew += timedelta(minutes=32)

    await makegood.reaches(event_id, LifecycleState.OPEN)
    assert "deadline_passed" in await makegood.timeline(event_id)


async def test_run_on_its_way_to_a_deadline_is_not_disturbed(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    # A receipt that is still in the outbox would rightly be signalled.
    await makegood.eventually(makegood.outbox_is_empty, "an empty outbox")
    makegood.database.clock.skew += timedelta(minutes=30, seconds=20)

    await makegood.reconciled(3)

    assert await makegood.queried_state(event_id) == LifecycleState.WAITING
    assert "WORKFLOW_EXECUTION_SIGNALED" not in await makegood.event_types(event_id)


async def _has_event(makegood: World, event_id: EventId, kind: str) -> bool:
    return kind in await makegood.event_types(event_id)
