"""The workflow client works without search attributes and without visibility."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from domain.ids import EventId
from store.schema.mappers import RECEIPT_COLUMNS, receipt_from
from store.schema.tables import RECEIPTS
from tests.support.waiting import wait_until_async
from tests.workflows.world import World
from worker.temporal.problems import NotConnected
from worker.temporal.search_attributes import NOTHING
from worker.temporal.workflow_client import ReceiptWorkflowClient
from workflows.messages import workflow_id


class WithoutVisibility:
    """A real client of a Temporal that refuses to list or count workflows."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:  # Any: replaces the library's own type
        if name not in {"list_workflows", "count_workflows"}:
            return getattr(self._client, name)

        async def refuse(*_: object, **__: object) -> None:
            raise RPCError("not permitted", RPCStatusCode.PERMISSION_DENIED, b"")

        return refuse


def workflow_client_over(client: Any) -> ReceiptWorkflowClient:
    return ReceiptWorkflowClient(
        client, public_url="https://makegood.example.com", owns_namespace=True
    )


async def test_runs_that_are_gone_are_found_without_visibility(makegood: World) -> None:
    gone, there = await makegood.accept(), await makegood.accept()
    await makegood.started(gone)
    await makegood.started(there)
    makegood.built.reconciler.stop()
    await makegood.handle(gone).terminate()

    missing = await workflow_client_over(WithoutVisibility(makegood.client)).find_missing_runs(
        [gone, there]
    )

    assert (missing.found, missing.first_unchecked) == ([gone], None)


async def test_closed_runs_are_not_searched_without_the_state_attribute(makegood: World) -> None:
    workflow_client = workflow_client_over(None)
    workflow_client.attach(makegood.client, NOTHING)
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.handle(event_id).terminate()

    found = [
        one
        async for one in workflow_client.find_unexpectedly_closed(
            datetime.now(UTC) - timedelta(hours=1), limit=10
        )
    ]

    assert found == []


async def test_start_in_a_namespace_without_attributes_has_none(
    temporal: WorkflowEnvironment, makegood: World
) -> None:
    client = await _bare_client(temporal)
    event_id = await makegood.accept(enqueue=False)
    async with makegood.database.reading() as session:
        stored = (
            await session.execute(RECEIPTS.select().with_only_columns(*RECEIPT_COLUMNS))
        ).one()

    await wait_until_async(
        lambda: _is_started(workflow_client_over(client), stored), what="a run in the namespace"
    )

    described = await client.get_workflow_handle(workflow_id(event_id)).describe()
    assert dict(described.search_attributes) == {}
    history = await client.get_workflow_handle(workflow_id(event_id)).fetch_history()
    (sent,) = history.events[0].workflow_execution_started_event_attributes.input.payloads
    assert b'"MgIncidentId"' in sent.data


async def test_call_without_a_connection_raises_not_connected() -> None:
    with pytest.raises(NotConnected):
        await workflow_client_over(None).find_missing_runs([EventId("evt_1")])


async def _bare_client(temporal: WorkflowEnvironment) -> Client:
    """A client of a namespace without custom search attributes."""
    register = RegisterNamespaceRequest(namespace=(name := f"bare-{secrets.token_hex(4)}"))
    register.workflow_execution_retention_period.FromSeconds(86_400)
    await temporal.client.workflow_service.register_namespace(register)
    return await Client.connect(temporal.client.service_client.config.target_host, namespace=name)


async def _is_started(workflow_client: ReceiptWorkflowClient, stored: Any) -> bool:
    try:
        await workflow_client.ensure_running(receipt_from(stored))
    except RPCError as error:
        # a new namespace is not known everywhere at once
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return False
    return True
