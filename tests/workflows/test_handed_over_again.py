"""Signals and activities that Temporal repeats, after a reset or continue-as-new, act only once."""

import asyncio
from collections.abc import Mapping, Sequence

import pytest
from structlog.testing import capture_logs
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.enums.v1 import EventType, ResetReapplyType
from temporalio.api.workflowservice.v1 import ResetWorkflowExecutionRequest
from temporalio.service import RPCError

from domain.ids import EventId
from domain.lifecycle import LifecycleState
from store.crypto.encryption import Sealer
from tests.workflows.test_signals import temporal_cli
from tests.workflows.world import World, worker_parts
from worker.build import build_worker
from workflows.messages import workflow_id

ALL, NONE = ResetReapplyType.RESET_REAPPLY_TYPE_SIGNAL, ResetReapplyType.RESET_REAPPLY_TYPE_NONE


@pytest.mark.spread
@pytest.mark.parametrize("to", ["first", "last"])
@pytest.mark.parametrize("reapply", [ALL, NONE], ids=["signals_again", "without_signals"])
async def test_reset_repairs_nothing_again_and_the_next_request_repairs_once(
    makegood: World, reapply: "ResetReapplyType.ValueType", to: str
) -> None:
    event_id = await failed_repair(makegood)

    await reset(makegood, event_id, to=to, reapply=reapply)

    await makegood.reaches(event_id, LifecycleState.OPEN)
    assert len(makegood.receiver.calls) == 1
    await makegood.signal(event_id, "reprocess")
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    assert len(makegood.receiver.calls) == 2
    assert len(await makegood.repairs(event_id)) == 2


async def test_receipt_goes_on_after_a_reset_at_temporals_command_line_with_one_incident(
    makegood: World,
) -> None:
    event_id = await opened(makegood)
    before = await makegood.run_id(event_id)

    await temporal_cli(
        makegood,
        "reset",
        "--workflow-id",
        workflow_id(event_id),
        "--type",
        "FirstWorkflowTask",
        "--reason",
        "by hand",
    )

    await makegood.eventually(lambda: makegood.has_other_run(event_id, before), "the new run")
    await makegood.reaches(event_id, LifecycleState.OPEN)
    replay_id = await makegood.reprocess(event_id)
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    await makegood.report(event_id, "success", replay_id=replay_id)
    assert await makegood.ended(event_id) == LifecycleState.RECOVERED
    assert (await makegood.timeline(event_id)).count("incident_opened") == 1
    assert len(await makegood.incidents(event_id)) == 1
    assert len(makegood.receiver.calls) == 1


async def test_reset_of_a_reset_run_repairs_nothing_again(makegood: World) -> None:
    event_id = await failed_repair(makegood)
    await reset(makegood, event_id, to="first", reapply=ALL)
    await makegood.reaches(event_id, LifecycleState.OPEN)
    await makegood.signal(event_id, "reprocess")
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    second = (await makegood.repairs(event_id))[-1]["replay_id"]
    await makegood.report(event_id, "failed", replay_id=second)
    await makegood.reaches(event_id, LifecycleState.OPEN)

    await reset(makegood, event_id, to="first", reapply=ALL)

    await makegood.reaches(event_id, LifecycleState.OPEN)
    await makegood.eventually(
        lambda: _is_noted(makegood, event_id, "carried out before"), "it is noted"
    )
    assert len(makegood.receiver.calls) == 2


async def test_request_that_was_adopted_begins_no_repair_after_a_reset(makegood: World) -> None:
    event_id = await opened(makegood)
    replay_id = await makegood.reprocess(event_id)
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    await makegood.signal(event_id, "reprocess")
    await makegood.ran(event_id, "begin_repair", times=2)
    await makegood.report(event_id, "failed", replay_id=replay_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)

    await reset(makegood, event_id, to="first", reapply=ALL)

    await makegood.eventually(
        lambda: _is_noted(makegood, event_id, "carried out before"), "it is noted"
    )
    assert len(makegood.receiver.calls) == 1


@pytest.mark.parametrize("name", ["expire", "result", "reprocess"])
@pytest.mark.parametrize("count", [400, pytest.param(10_000, marks=pytest.mark.long)])
async def test_flood_of_signals_during_a_series_is_handled_once_per_task(
    makegood: World, count: int, name: str
) -> None:
    makegood.receiver.status = 503
    event_id = await opened(makegood)
    replay_id = await makegood.reprocess(event_id)
    await makegood.attempted(event_id, 1)
    first = await makegood.run_id(event_id)

    await flood(makegood, event_id, name, count)

    await makegood.eventually(lambda: makegood.has_other_run(event_id, first), "another run")
    assert len(await makegood.attempts(event_id)) == 1
    await makegood.report(event_id, "success", replay_id=replay_id)
    assert await makegood.ended(event_id) == LifecycleState.RECOVERED
    assert len(await makegood.repairs(event_id)) == 1


async def test_attempt_in_flight_is_recorded_and_sent_once_while_the_run_continues(
    makegood: World,
) -> None:
    makegood.receiver.answering.clear()
    event_id = await opened(makegood)
    first = await makegood.run_id(event_id)
    await makegood.reprocess(event_id)
    await makegood.eventually(lambda: _is_calling(makegood, event_id), "an attempt has begun")

    await flood(makegood, event_id, "expire", 300)
    await makegood.eventually(lambda: makegood.has_other_run(event_id, first), "another run")
    makegood.receiver.answering.set()

    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    assert len(makegood.receiver.calls) == 1
    assert [row["state"] for row in await makegood.attempts(event_id)] == ["finished"]


async def test_attempt_in_flight_is_sent_once_when_the_temporal_worker_restarts(
    makegood: World, sealer: Sealer
) -> None:
    makegood.receiver.answering.clear()
    event_id = await opened(makegood)
    await makegood.reprocess(event_id)
    await makegood.eventually(lambda: _is_called(makegood), "the endpoint is called")

    await asyncio.gather(makegood.built.temporal.shutdown(), makegood.built.listing.shutdown())

    left = [row["state"] for row in await makegood.attempts(event_id)]
    parts = worker_parts(makegood.database, sealer, "smtp://127.0.0.1:1")
    with capture_logs() as logs:
        async with build_worker(
            makegood.client, parts, makegood.built.store_services
        ).running_temporal():
            await makegood.eventually(
                lambda: _has_joined(logs), "the next Temporal worker joins the attempt"
            )
            makegood.receiver.answering.set()
            await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    assert left == ["started"]
    assert len(makegood.receiver.calls) == 1
    assert [(row["number"], row["state"]) for row in await makegood.attempts(event_id)] == [
        (1, "finished")
    ]


async def test_long_run_continues_as_new_and_loses_no_request(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    first = await makegood.run_id(event_id)
    await makegood.signal(event_id, "reprocess")

    async def has_other_run_by_now() -> bool:
        # A run learns that it is long when its next task begins, so signals in one task are not
        # enough.
        await makegood.signal(event_id, "expire")
        return await makegood.has_other_run(event_id, first)

    await makegood.eventually(has_other_run_by_now, "another run")
    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)


async def flood(world: World, event_id: EventId, name: str, count: int) -> None:
    """Send `count` signals, as fast as Temporal accepts them."""
    permits = asyncio.Semaphore(32)

    async def one() -> None:
        async with permits:
            for _ in range(20):
                try:
                    await world.signal(event_id, name)
                    return
                except RPCError:
                    await asyncio.sleep(0.2)
            raise AssertionError("Temporal accepts no signal any more")

    await asyncio.gather(*(one() for _ in range(count)))


async def opened(world: World) -> EventId:
    event_id = await world.accept()
    await world.started(event_id)
    await world.expire(event_id)
    await world.reaches(event_id, LifecycleState.OPEN)
    return event_id


async def failed_repair(world: World) -> EventId:
    """An incident that is open again after a repair by a signal without payload failed."""
    event_id = await opened(world)
    await world.signal(event_id, "reprocess")
    await world.reaches(event_id, LifecycleState.AWAITING_RESULT)
    (repair,) = await world.repairs(event_id)
    await world.report(event_id, "failed", replay_id=repair["replay_id"])
    await world.reaches(event_id, LifecycleState.OPEN)
    return event_id


async def reset(
    world: World, event_id: EventId, *, to: str, reapply: "ResetReapplyType.ValueType"
) -> None:
    """Reset the run to its first or last completed task, and wait for the new run's first task."""
    before = await world.run_id(event_id)
    completed = EventType.EVENT_TYPE_WORKFLOW_TASK_COMPLETED
    done = [
        event.event_id
        async for event in world.handle(event_id).fetch_history_events()
        if event.event_type == completed
    ]
    request = ResetWorkflowExecutionRequest(
        namespace=world.client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=workflow_id(event_id), run_id=before),
        reason="test",
        workflow_task_finish_event_id=done[0 if to == "first" else -1],
        request_id=before,
        reset_reapply_type=reapply,
    )
    await world.client.workflow_service.reset_workflow_execution(request)
    await world.eventually(lambda: world.has_other_run(event_id, before), "the new run")
    await world.started(event_id)
    await world.queried_state(event_id)


async def _is_noted(world: World, event_id: EventId, text: str) -> bool:
    return any(text in note for note in await world.notes(event_id))


async def _is_calling(world: World, event_id: EventId) -> bool:
    return len(await world.attempts(event_id)) == 1


async def _is_called(world: World) -> bool:
    return len(world.receiver.calls) == 1


async def _has_joined(logs: Sequence[Mapping[str, object]]) -> bool:
    return any(line["event"] == "attempt_joined" for line in logs)
