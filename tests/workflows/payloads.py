"""Wrong and odd payloads, and a signal with exactly the given payloads."""

import json
from collections.abc import Sequence

from temporalio.api.common.v1 import Payload, Payloads, WorkflowExecution
from temporalio.api.workflowservice.v1 import (
    SignalWorkflowExecutionRequest,
)

from domain.ids import EventId
from tests.workflows.world import World
from workflows.messages import workflow_id

MEGABYTE = "x" * 1_000_000


def plain(text: str | bytes) -> Payload:
    """A JSON payload, well-formed or not."""
    return Payload(
        metadata={"encoding": b"json/plain"}, data=text.encode() if isinstance(text, str) else text
    )


def fields(**values: object) -> Payload:
    return plain(json.dumps(values))


# Wrong payloads by people and programs. None of them names a stored result or repair.
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
    "success_twice": (
        fields(result_id="res_1", status="success"),
        fields(result_id="res_1", status="success"),
    ),
    "success_of_half_a_surrogate_pair": (
        plain('{"result_id": "res_\\ud800", "status": "success"}'),
    ),
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
    "protobuf_of_unknown_type": (
        Payload(metadata={"encoding": b"binary/protobuf", "messageType": b"a.B"}, data=b"\x08"),
    ),
}


async def send(world: World, event_id: EventId, name: str, payloads: Sequence[Payload]) -> None:
    """Send a signal with exactly these payloads."""
    request = SignalWorkflowExecutionRequest(
        namespace=world.client.namespace,
        workflow_execution=WorkflowExecution(workflow_id=workflow_id(event_id)),
        signal_name=name,
        input=Payloads(payloads=payloads) if payloads else None,
    )
    # Retried, as every client does: Temporal refuses signals while a run continues as new.
    await world.client.workflow_service.signal_workflow_execution(request, retry=True)
