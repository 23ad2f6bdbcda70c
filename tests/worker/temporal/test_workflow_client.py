"""The gateway does without what serves search: attributes that the namespace lacks, and visibility itself."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from domain.ids import EventId
from store.schema.mappers import RECEIPT_COLUMNS, RECEIPTS, receipt_from
from tests.support.waiting import wait_until_async
from tests.workflows.world import World
from worker.temporal.problems import NotConnected
from worker.temporal.search_attributes import NOTHING
from worker.temporal.workflow_client import ReceiptWorkflowClient
from workflows.messages import workflow_id


class Blind:
    """A real client of a Temporal that does not let us list or count."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:  # Any: in place of the library's own
        if name not in {"list_workflows", "count_workflows"}:
            return getattr(self._client, name)

        async def refuse(*_: object, **__: object) -> None:
            raise RPCError("not you", RPCStatusCode.PERMISSION_DENIED, b"")

        return refuse


def gateway_of(client: Any) -> ReceiptWorkflowClient:
    return ReceiptWorkflowClient(client, public_url="https://makegood.example.com", owns_namespace=True)


async def test_runs_that_are_gone_are_found_without_visibility(makegood: World) -> None:
    gone, there = await makegood.accept(), await makegood.accept()
    await makegood.started(gone)
    await makegood.started(there)
    makegood.built.reconciler.stop()
    await makegood.handle(gone).terminate()

    found = await gateway_of(Blind(makegood.client)).find_missing_runs([gone, there])

    assert (found.found, found.first_left) == ([gone], None)


async def test_without_its_state_no_run_is_looked_for_among_the_closed(makegood: World) -> None:
    gateway = gateway_of(None)
    gateway.attach(makegood.client, NOTHING)
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.handle(event_id).terminate()

    found = [one async for one in gateway.find_unexpectedly_closed(datetime.now(UTC) - timedelta(hours=1), limit=10)]

    assert found == []


async def test_start_that_is_refused_for_its_attributes_is_made_without_any(engine: WorkflowEnvironment, makegood: World) -> None:
    client = await _bare_client(engine)
    event_id = await makegood.accept(enqueue=False)
    async with makegood.database.reading() as session:
        stored = (await session.execute(RECEIPTS.select().with_only_columns(*RECEIPT_COLUMNS))).one()

    await wait_until_async(lambda: _is_woken(gateway_of(client), stored), what="a run where no attribute is known")

    described = await client.get_workflow_handle(workflow_id(event_id)).describe()
    assert dict(described.search_attributes) == {}
    history = await client.get_workflow_handle(workflow_id(event_id)).fetch_history()
    (sent,) = history.events[0].workflow_execution_started_event_attributes.input.payloads
    assert b'"MgIncidentId"' in sent.data


async def test_calls_without_a_connection_say_so() -> None:
    with pytest.raises(NotConnected):
        await gateway_of(None).find_missing_runs([EventId("evt_1")])


async def _bare_client(engine: WorkflowEnvironment) -> Client:
    """Of a namespace in which nobody registered an attribute."""
    register = RegisterNamespaceRequest(namespace=(name := f"bare-{secrets.token_hex(4)}"))
    register.workflow_execution_retention_period.FromSeconds(86_400)
    await engine.client.workflow_service.register_namespace(register)
    return await Client.connect(engine.client.service_client.config.target_host, namespace=name)


async def _is_woken(gateway: ReceiptWorkflowClient, stored: Any) -> bool:
    try:
        await gateway.wake(receipt_from(stored))
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:  # a namespace that has just been registered is not known everywhere
            raise
        return False
    return True
