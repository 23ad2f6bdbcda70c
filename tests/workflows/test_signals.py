"""Signals and queries that people send by hand: no payload of any kind stops a run."""

import asyncio
import json
from collections.abc import Sequence

import pytest
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.workflowservice.v1 import (
    QueryWorkflowRequest,
)
from temporalio.client import WorkflowUpdateFailedError
from temporalio.service import RPCError

from domain.ids import EventId, ReplayId
from domain.lifecycle import LifecycleState
from tests.support.temporal import TEMPORAL
from tests.workflows.payloads import MEGABYTE, ODD, fields, plain, send
from tests.workflows.world import World
from workflows.messages import workflow_id

QUERIES = ("state", "timeline")


@pytest.mark.parametrize(
    "name", ["result", "reprocess", "resolve", "expire", "whatever", "__temporal_whatever"]
)
async def test_signal_with_any_payload_stops_no_run(makegood: World, name: str) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    for payloads in ODD.values():
        await send(makegood, event_id, name, payloads)

    assert await makegood.queried_state(event_id) == LifecycleState.WAITING
    await assert_works(makegood, event_id)
    assert await makegood.notes(event_id) == []  # payloads never reach the store
    assert len(makegood.receiver.calls) == 1


@pytest.mark.parametrize("name", QUERIES)
async def test_query_with_any_payload_is_answered(makegood: World, name: str) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await send(makegood, event_id, "expire", ())
    await makegood.ran(event_id, "open_incident", times=1)
    expected = await makegood.handle(event_id).query(name)

    answers = [await ask(makegood, event_id, name, payloads) for payloads in ODD.values()]

    assert answers == [expected] * len(ODD)


async def test_unknown_query_is_an_error_and_harms_nobody(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    for payloads in ODD.values():
        with pytest.raises(RPCError):
            await ask(makegood, event_id, "whatever", payloads)

    await assert_works(makegood, event_id)


async def test_unknown_update_is_refused_and_harms_nobody(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    for argument in ([], ["now"], [{"a": 1}, 2]):
        with pytest.raises(WorkflowUpdateFailedError):
            await makegood.handle(event_id).execute_update("whatever", args=argument)

    await assert_works(makegood, event_id)


async def test_unreadable_payload_is_noted_without_its_value(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await send(makegood, event_id, "result", (plain('"secret"'),))
    await send(makegood, event_id, "reprocess", (plain('"secret"'), plain("1")))
    await send(
        makegood,
        event_id,
        "expire",
        (Payload(metadata={"encoding": b"xml/plain"}, data=b"secret"),),
    )
    await send(makegood, event_id, "reproces " + MEGABYTE[:900], (plain('"secret"'),))

    answer = await makegood.handle(event_id).query("timeline")

    not_understood = "(its payload was not understood, or only in part)"
    signals = [line["text"] for line in answer["lines"] if line["text"].startswith("signal")]
    assert signals == [
        f"signal result {not_understood}",
        f"signal reprocess {not_understood}",
        f"signal expire {not_understood}",
        f"signal reproces?{'x' * 31}…: unknown, and ignored",
    ]
    assert "secret" not in json.dumps(answer)


@pytest.mark.parametrize(
    "payloads",
    [
        ODD[name]
        for name in (
            "null",
            "text",
            "unknown_fields",
            "number_as_replay_id",
            "two_values",
            "unknown_encoding",
            "bytes",
        )
    ],
    ids=[
        "null",
        "text",
        "unknown_fields",
        "number_as_replay_id",
        "two_values",
        "unknown_encoding",
        "bytes",
    ],
)
async def test_reprocess_that_names_no_repair_acts_as_one_without_a_payload(
    makegood: World, payloads: Sequence[Payload]
) -> None:
    event_id = await opened(makegood)

    await send(makegood, event_id, "reprocess", payloads)

    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    assert [row["requested_by"] for row in await makegood.repairs(event_id)] == ["temporal"]


async def test_reprocess_with_the_text_of_a_replay_id_requests_only_that_repair(
    makegood: World,
) -> None:
    event_id = await opened(makegood)

    await send(makegood, event_id, "reprocess", (plain('" rpl_made_up "'),))

    await makegood.ran(event_id, "begin_repair", times=1)
    assert await makegood.repairs(event_id) == []
    assert (
        "A reprocess request was dropped: the repair that it names is not active."
        in await makegood.notes(event_id)
    )


async def test_signals_typed_wrong_at_temporals_command_line_stop_no_run(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    await temporal_cli(
        makegood, "signal", "--workflow-id", workflow_id(event_id), "--name", "result"
    )
    odd = ("--input", '{"replay_id": 5}', "--input", '"now"')
    await temporal_cli(
        makegood, "signal", "--workflow-id", workflow_id(event_id), "--name", "reprocess", *odd
    )

    await makegood.eventually(lambda: _has_lines(makegood, event_id, 2), "both are noted")
    await assert_works(makegood, event_id)


async def test_signals_sent_while_no_worker_runs_are_all_consumed_and_the_good_one_acts(
    makegood: World,
) -> None:
    event_id = await opened(makegood)
    await makegood.stop_worker()
    odd = [
        (name, ODD[payload])
        for name in ("result", "expire", "whatever")
        for payload in ("text", "bytes", "no_json")
    ]
    made_up = ("reprocess", (fields(replay_id="rpl_made_up"),))

    for name, payloads in (*odd, made_up, ("reprocess", ()), *odd):
        await send(makegood, event_id, name, payloads)
    await makegood.start_worker()

    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    # one of them moved the deadline
    assert (await makegood.event_types(event_id)).count("WORKFLOW_EXECUTION_SIGNALED") == 21
    not_understood = "(its payload was not understood, or only in part)"
    odd_lines = [
        f"signal result {not_understood}",
        f"signal expire {not_understood}",
        "signal whatever: unknown, and ignored",
    ]
    good_lines = ["signal reprocess: rpl_made_up", "signal reprocess"]
    # Consecutive equal lines are merged.
    assert await signals_noted(makegood, event_id) == [
        "signal expire",
        *odd_lines,
        *good_lines,
        *odd_lines,
    ]
    (repair,) = await makegood.repairs(event_id)
    assert repair["requested_by"] == "temporal"
    assert len(makegood.receiver.calls) == 1
    await makegood.report(event_id, "success", replay_id=repair["replay_id"])
    assert await makegood.ended(event_id) == LifecycleState.RECOVERED
    assert [kind for kind in await makegood.event_types(event_id) if "TASK_FAILED" in kind] == []


async def test_signals_and_queries_keep_their_names_and_descriptions_in_temporals_ui(
    makegood: World,
) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    metadata = await makegood.handle(event_id).query(
        "__temporal_workflow_metadata", result_type=WorkflowMetadata
    )

    signals = {known.name: known.description for known in metadata.definition.signal_definitions}
    queries = {known.name: known.description for known in metadata.definition.query_definitions}
    assert set(signals) == {"", "result", "reprocess", "resolve", "expire"}
    assert (
        signals["reprocess"]
        == "Repair this receipt now, as the console's Reprocess does. Needs no payload."
    )
    assert all(signals.values())
    assert all(queries[name] for name in QUERIES)


async def test_cancelled_run_does_not_lose_its_receipt(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    first = await makegood.run_id(event_id)

    await makegood.handle(event_id).cancel()

    await makegood.eventually(lambda: makegood.has_other_run(event_id, first), "another run")
    await assert_works(makegood, event_id)


async def ask(world: World, event_id: EventId, name: str, payloads: Sequence[Payload]) -> object:
    """The result of a query with exactly these payloads."""
    request = QueryWorkflowRequest(
        namespace=world.client.namespace,
        execution=WorkflowExecution(workflow_id=workflow_id(event_id)),
        query=WorkflowQuery(
            query_type=name, query_args=Payloads(payloads=payloads) if payloads else None
        ),
    )
    answer = await world.client.workflow_service.query_workflow(request)
    return json.loads(answer.query_result.payloads[0].data)


async def temporal_cli(world: World, *arguments: str) -> None:
    """Run Temporal's command line."""
    address = world.client.service_client.config.target_host
    command = (
        str(TEMPORAL),
        "workflow",
        *arguments,
        "--address",
        address,
        "--namespace",
        world.client.namespace,
    )
    process = await asyncio.create_subprocess_exec(
        *command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def opened(world: World) -> EventId:
    event_id = await world.accept()
    await world.started(event_id)
    await world.expire(event_id)
    await world.reaches(event_id, LifecycleState.OPEN)
    return event_id


async def assert_works(world: World, event_id: EventId) -> None:
    """The deadline opens the incident, Reprocess calls, and no workflow task has failed."""
    await world.advance(event_id, minutes=30)
    await world.eventually(
        lambda: world.has_timeline_entry(event_id, "incident_opened"), "the incident is open"
    )
    replay_id: ReplayId = await world.reprocess(event_id)
    await world.reaches(event_id, LifecycleState.AWAITING_RESULT)
    await world.report(event_id, "success", replay_id=replay_id)
    assert await world.ended(event_id) == LifecycleState.RECOVERED
    assert [
        kind
        for kind in await world.event_types(event_id)
        if kind.startswith("WORKFLOW_TASK_") and "FAILED" in kind
    ] == []


async def signals_noted(world: World, event_id: EventId) -> list[str]:
    """The run's timeline lines about signals, in order of arrival."""
    answer = await world.handle(event_id).query("timeline")
    return [line["text"] for line in answer["lines"] if line["text"].startswith("signal")]


async def _has_lines(world: World, event_id: EventId, count: int) -> bool:
    return len(await signals_noted(world, event_id)) >= count
