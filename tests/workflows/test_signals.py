"""People send signals and queries by hand, in Temporal's UI and command line: whatever they type, no run stops for it."""

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.query.v1 import WorkflowQuery
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.api.workflowservice.v1 import QueryWorkflowRequest, SignalWorkflowExecutionRequest, StartWorkflowExecutionRequest
from temporalio.client import WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.service import RPCError

from domain.ids import EventId, ReplayId
from domain.lifecycle import LifecycleState
from tests.workflows.world import TEMPORAL, World
from workflows.messages import TASK_QUEUE, workflow_id
from workflows.signals import INPUT_UNREADABLE

MEGABYTE = "x" * 1_000_000
QUERIES = ("state", "timeline")


def plain(text: str | bytes) -> Payload:
    """A JSON payload, well-formed or not."""
    return Payload(metadata={"encoding": b"json/plain"}, data=text.encode() if isinstance(text, str) else text)


def fields(**values: object) -> Payload:
    return plain(json.dumps(values))


# What people and programs type wrong. None of it names a result or a repair of ours.
ODD: dict[str, Sequence[Payload]] = {
    "nothing": (),
    "null": (plain("null"),),
    "binary_null": (Payload(metadata={"encoding": b"binary/null"}),),
    "null_that_is_not_empty": (Payload(metadata={"encoding": b"binary/null"}, data=b"x"),),
    "empty_text": (plain('""'),),
    "text": (plain('"now, please"'),),
    "number": (plain("5"),),
    "infinity": (plain("1e999"),),
    "number_of_ten_thousand_digits": (plain("9" * 10_000),),
    "true": (plain("true"),),
    "list": (plain("[]"),),
    "list_of_objects": (plain('[{"replay_id": "rpl_x"}]'),),
    "empty_object": (plain("{}"),),
    "unknown_fields": (fields(reason="why not", nested={"a": [1, {"b": None}]}),),
    "unknown_status": (fields(result_id="res_1", status="perhaps"),),
    "status_of_another_type": (fields(result_id="res_1", status=["success"]),),
    "success_of_no_result": (fields(status="success"),),
    "success_of_a_number": (fields(result_id=5, status="success"),),
    "success_of_a_megabyte": (fields(result_id="res_" + MEGABYTE, status="success"),),
    "success_twice": (fields(result_id="res_1", status="success"), fields(result_id="res_1", status="success")),
    "success_of_half_a_surrogate_pair": (plain('{"result_id": "res_\\ud800", "status": "success"}'),),
    "number_as_replay_id": (fields(replay_id=5, requested_by=7),),
    "list_as_replay_id": (fields(replay_id=["rpl_x"], requested_by={}),),
    "megabyte_as_replay_id": (fields(replay_id=MEGABYTE, requested_by=MEGABYTE),),
    "half_a_surrogate_pair": (plain('{"replay_id": "\\ud800", "requested_by": "\\udfff\\u0000"}'),),
    "address_as_requester": (fields(requested_by="jane@shop.example"),),
    "two_values": (plain('"a"'), plain('"b"')),
    "fifty_values": tuple(plain(str(number)) for number in range(50)),
    "no_json": (plain("reprocess"),),
    "nothing_as_json": (plain(""),),
    "no_utf_8": (plain(b'"\xff\xfe"'),),
    "as_deep_as_it_goes": (plain("[" * 100_000),),
    "unknown_encoding": (Payload(metadata={"encoding": b"xml/plain"}, data=b"<a/>"),),
    "no_encoding": (Payload(data=b"{}"),),
    "bytes": (Payload(metadata={"encoding": b"binary/plain"}, data=b"\x00\xff"),),
    "protobuf_of_no_type": (Payload(metadata={"encoding": b"json/protobuf"}, data=b"{}"),),
    "protobuf_of_unknown_type": (Payload(metadata={"encoding": b"binary/protobuf", "messageType": b"a.B"}, data=b"\x08"),),
}


@pytest.mark.parametrize("name", ["result", "reprocess", "resolve", "expire", "whatever", "__temporal_whatever"])
async def test_signal_with_any_payload_stops_no_run(makegood: World, name: str) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    for payloads in ODD.values():
        await send(makegood, event_id, name, payloads)

    assert await makegood.believed(event_id) == LifecycleState.WAITING
    await assert_works(makegood, event_id)
    assert await makegood.notes(event_id) == []  # what the store is told of is no payload
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


async def test_what_was_not_understood_is_noted_without_its_value(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await send(makegood, event_id, "result", (plain('"secret"'),))
    await send(makegood, event_id, "reprocess", (plain('"secret"'), plain("1")))
    await send(makegood, event_id, "expire", (Payload(metadata={"encoding": b"xml/plain"}, data=b"secret"),))
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
    [ODD[name] for name in ("null", "text", "unknown_fields", "number_as_replay_id", "two_values", "unknown_encoding", "bytes")],
    ids=["null", "text", "unknown_fields", "number_as_replay_id", "two_values", "unknown_encoding", "bytes"],
)
async def test_reprocess_that_names_no_repair_acts_as_one_without_a_payload(makegood: World, payloads: Sequence[Payload]) -> None:
    event_id = await opened(makegood)

    await send(makegood, event_id, "reprocess", payloads)

    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    assert [row["requested_by"] for row in await makegood.repairs(event_id)] == ["temporal"]


async def test_reprocess_by_the_text_of_a_replay_id_asks_for_that_repair_alone(makegood: World) -> None:
    event_id = await opened(makegood)

    await send(makegood, event_id, "reprocess", (plain('" rpl_made_up "'),))

    await makegood.ran(event_id, "begin_repair", times=1)
    assert await makegood.repairs(event_id) == []
    assert "A reprocess request was dropped: the repair that it names is not active." in await makegood.notes(event_id)


async def test_signals_typed_wrong_at_temporals_command_line_stop_no_run(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    await temporal(makegood, "signal", "--workflow-id", workflow_id(event_id), "--name", "result")
    odd = ("--input", '{"replay_id": 5}', "--input", '"now"')
    await temporal(makegood, "signal", "--workflow-id", workflow_id(event_id), "--name", "reprocess", *odd)

    await makegood.eventually(lambda: _has_lines(makegood, event_id, 2), "both are noted")
    await assert_works(makegood, event_id)


async def test_signals_sent_while_no_worker_runs_are_all_consumed_and_the_good_one_acts(makegood: World) -> None:
    event_id = await opened(makegood)
    await makegood.stop_worker()
    odd = [(name, ODD[payload]) for name in ("result", "expire", "whatever") for payload in ("text", "bytes", "no_json")]
    made_up = ("reprocess", (fields(replay_id="rpl_made_up"),))

    for name, payloads in (*odd, made_up, ("reprocess", ()), *odd):
        await send(makegood, event_id, name, payloads)
    await makegood.start_worker()

    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    assert (await makegood.event_types(event_id)).count("WORKFLOW_EXECUTION_SIGNALED") == 21  # one is of the deadline
    not_understood = "(its payload was not understood, or only in part)"
    odd_lines = [f"signal result {not_understood}", f"signal expire {not_understood}", "signal whatever: unknown, and ignored"]
    good_lines = ["signal reprocess: rpl_made_up", "signal reprocess"]
    # Equal lines that follow each other are one.
    assert await signals_noted(makegood, event_id) == ["signal expire", *odd_lines, *good_lines, *odd_lines]
    (repair,) = await makegood.repairs(event_id)
    assert repair["requested_by"] == "temporal"
    assert len(makegood.receiver.calls) == 1
    await makegood.report(event_id, "success", replay_id=repair["replay_id"])
    assert await makegood.ended(event_id) == LifecycleState.RECOVERED
    assert [kind for kind in await makegood.event_types(event_id) if "TASK_FAILED" in kind] == []


async def test_signals_and_queries_keep_their_names_and_descriptions_in_temporals_ui(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    metadata = await makegood.handle(event_id).query("__temporal_workflow_metadata", result_type=WorkflowMetadata)

    signals = {known.name: known.description for known in metadata.definition.signal_definitions}
    queries = {known.name: known.description for known in metadata.definition.query_definitions}
    assert set(signals) == {"", "result", "reprocess", "resolve", "expire"}
    assert signals["reprocess"] == "Repair this receipt now, as the console's Reprocess does. Needs no payload."
    assert all(signals.values())
    assert all(queries[name] for name in QUERIES)


async def test_cancelled_run_does_not_lose_its_receipt(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    first = await makegood.run_id(event_id)

    await makegood.handle(event_id).cancel()

    await makegood.eventually(lambda: makegood.has_other_run(event_id, first), "another run")
    await assert_works(makegood, event_id)


@pytest.mark.parametrize("payloads", ODD.values(), ids=list(ODD))
async def test_run_started_by_hand_with_something_else_fails_clearly(makegood: World, payloads: Sequence[Payload]) -> None:
    failure = await started_by_hand(makegood, "receipt-evt_by_hand", payloads)

    assert failure.type == INPUT_UNREADABLE
    assert failure.message.startswith('A receipt run takes one input, {"event_id"')


WELL_FORMED = {"event_id": "evt_by_hand", "project_id": "prj_1", "deadline_at": "2026-01-01T00:00:00Z"}


@pytest.mark.parametrize(
    "changes",
    [
        {"event_id": "evt_another"},
        {"event_id": "evt_\ud800"},
        {"deadline_at": "2026-01-01T00:00:00"},
        {"deadline_at": "tomorrow"},
        {"resume": "yes"},
        {"request": 5},
    ],
    ids=["another_receipt", "no_id", "no_zone", "no_instant", "no_truth", "no_request"],
)
async def test_run_started_by_hand_with_a_wrong_field_fails_clearly(makegood: World, changes: dict[str, object]) -> None:
    failure = await started_by_hand(makegood, "receipt-evt_by_hand", (fields(**(WELL_FORMED | changes)),))

    assert failure.type == INPUT_UNREADABLE


@pytest.mark.parametrize("is_resumed", [False, True], ids=["deadline_passed", "resumed"])
async def test_run_of_a_receipt_that_the_store_does_not_know_fails_clearly(makegood: World, is_resumed: bool) -> None:
    far = (datetime.now(UTC) + timedelta(days=2_900_000)).isoformat()
    changes = {"resume": True, "deadline_at": far} if is_resumed else {}

    failure = await started_by_hand(makegood, "receipt-evt_by_hand", (fields(**(WELL_FORMED | changes)),))

    assert failure.type == "receipt_unknown"
    assert failure.message == "the store has no receipt evt_by_hand"


async def test_run_started_by_hand_for_a_distant_year_is_signalled_like_any_other(makegood: World) -> None:
    far = {"deadline_at": "9999-12-31T23:59:59Z"}
    await start_by_hand(makegood, "receipt-evt_by_hand", (fields(**(WELL_FORMED | far)),))
    event_id = EventId("evt_by_hand")
    await makegood.started(event_id)

    await send(makegood, event_id, "expire", ())

    assert (await failure_of(makegood, "receipt-evt_by_hand")).type == "receipt_unknown"


async def send(world: World, event_id: EventId, name: str, payloads: Sequence[Payload]) -> None:
    """A signal with these very payloads."""
    request = SignalWorkflowExecutionRequest(
        namespace=world.client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=workflow_id(event_id)),
        signal_name=name,
        input=Payloads(payloads=payloads) if payloads else None,
    )
    # Retried, as every client does: a run that has grown long is refused a signal for the moment in which it continues as new.
    await world.client.workflow_service.signal_workflow_execution(request, retry=True)


async def ask(world: World, event_id: EventId, name: str, payloads: Sequence[Payload]) -> object:
    """The answer to a query with these very payloads."""
    request = QueryWorkflowRequest(
        namespace=world.client.namespace,
        execution=WorkflowExecution(workflow_id=workflow_id(event_id)),
        query=WorkflowQuery(query_type=name, query_args=Payloads(payloads=payloads) if payloads else None),
    )
    answer = await world.client.workflow_service.query_workflow(request)
    return json.loads(answer.query_result.payloads[0].data)


async def start_by_hand(world: World, name: str, payloads: Sequence[Payload]) -> None:
    request = StartWorkflowExecutionRequest(
        namespace=world.client.namespace,
        workflow_id=name,
        input=Payloads(payloads=payloads) if payloads else None,
        request_id=uuid4().hex,
    )
    request.workflow_type.name = "receipt"
    request.task_queue.name = TASK_QUEUE
    await world.client.workflow_service.start_workflow_execution(request)


async def started_by_hand(world: World, name: str, payloads: Sequence[Payload]) -> ApplicationError:
    """What a run fails with that a person started."""
    await start_by_hand(world, name, payloads)
    return await failure_of(world, name)


async def failure_of(world: World, name: str) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(world.client.get_workflow_handle(name).result(), 10)
    cause = failed.value.cause
    error = cause.cause if isinstance(cause, ActivityError) else cause
    assert isinstance(error, ApplicationError)
    return error


async def temporal(world: World, *arguments: str) -> None:
    """Temporal's own command line."""
    address = world.client.service_client.config.target_host
    command = (str(TEMPORAL), "workflow", *arguments, "--address", address, "--namespace", world.client.namespace)
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()


async def opened(world: World) -> EventId:
    event_id = await world.accept()
    await world.started(event_id)
    await world.expire(event_id)
    await world.reaches(event_id, LifecycleState.OPEN)
    return event_id


async def assert_works(world: World, event_id: EventId) -> None:
    """The deadline opens the incident, Reprocess calls, and no task of the run has failed."""
    await world.advance(event_id, minutes=30)
    await world.eventually(lambda: world.told_of(event_id, "incident_opened"), "the incident is open")
    replay_id: ReplayId = await world.reprocess(event_id)
    await world.reaches(event_id, LifecycleState.AWAITING_RESULT)
    await world.report(event_id, "success", replay_id=replay_id)
    assert await world.ended(event_id) == LifecycleState.RECOVERED
    assert [kind for kind in await world.event_types(event_id) if kind.startswith("WORKFLOW_TASK_") and "FAILED" in kind] == []


async def signals_noted(world: World, event_id: EventId) -> list[str]:
    """The run's own lines about signals, in the order in which they came."""
    answer = await world.handle(event_id).query("timeline")
    return [line["text"] for line in answer["lines"] if line["text"].startswith("signal")]


async def _has_lines(world: World, event_id: EventId, count: int) -> bool:
    return len(await signals_noted(world, event_id)) >= count
