"""Runs that people start by hand: wrong input fails clearly.

The tests share one system, since none of them stores anything.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.api.common.v1 import Payload, Payloads
from temporalio.api.workflowservice.v1 import (
    StartWorkflowExecutionRequest,
)
from temporalio.client import WorkflowFailureError
from temporalio.exceptions import ActivityError, ApplicationError
from temporalio.testing import WorkflowEnvironment

from domain.ids import EventId
from store.crypto.encryption import Sealer
from tests.conftest import SECRET_KEY
from tests.workflows.payloads import ODD, fields, send
from tests.workflows.world import World, world_on
from workflows.messages import TASK_QUEUE
from workflows.signals import INPUT_UNREADABLE

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def makegood(
    temporal: WorkflowEnvironment, sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[World]:
    """A system on SQLite for all tests of this file."""
    path = tmp_path_factory.mktemp("by_hand") / "makegood.db"
    shutil.copyfile(sqlite_template, path)
    async with world_on(temporal, f"sqlite:///{path}", Sealer(SECRET_KEY)) as made:
        yield made


@pytest.mark.parametrize("payloads", ODD.values(), ids=list(ODD))
async def test_run_started_by_hand_with_something_else_fails_clearly(
    makegood: World, payloads: Sequence[Payload]
) -> None:
    failure = await started_by_hand(makegood, "receipt-evt_by_hand", payloads)

    assert failure.type == INPUT_UNREADABLE
    assert failure.message.startswith('A receipt run takes one input, {"event_id"')


WELL_FORMED = {
    "event_id": "evt_by_hand",
    "project_id": "prj_1",
    "deadline_at": "2026-01-01T00:00:00Z",
}


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
async def test_run_started_by_hand_with_a_wrong_field_fails_clearly(
    makegood: World, changes: dict[str, object]
) -> None:
    failure = await started_by_hand(
        makegood, "receipt-evt_by_hand", (fields(**(WELL_FORMED | changes)),)
    )

    assert failure.type == INPUT_UNREADABLE


@pytest.mark.parametrize("is_resumed", [False, True], ids=["deadline_passed", "resumed"])
async def test_run_of_a_receipt_that_the_store_does_not_know_fails_clearly(
    makegood: World, is_resumed: bool
) -> None:
    far = (datetime.now(UTC) + timedelta(days=2_900_000)).isoformat()
    changes = {"resume": True, "deadline_at": far} if is_resumed else {}

    failure = await started_by_hand(
        makegood, "receipt-evt_by_hand", (fields(**(WELL_FORMED | changes)),)
    )

    assert failure.type == "receipt_unknown"
    assert failure.message == "the store has no receipt evt_by_hand"


@pytest.mark.parametrize("is_resumed", [False, True], ids=["deadline_passed", "resumed"])
async def test_run_whose_receipt_was_erased_with_its_project_logs_no_traceback(
    makegood: World, is_resumed: bool, caplog: pytest.LogCaptureFixture
) -> None:
    """Of thousands of receipts, the rows are gone before the last run has handled its signal."""
    changes = {"resume": is_resumed}

    await started_by_hand(makegood, "receipt-evt_by_hand", (fields(**(WELL_FORMED | changes)),))

    assert [record.getMessage() for record in caplog.records if record.exc_info] == []


async def test_run_started_by_hand_for_a_distant_year_is_signalled_like_any_other(
    makegood: World,
) -> None:
    far = {"deadline_at": "9999-12-31T23:59:59Z"}
    await start_by_hand(makegood, "receipt-evt_by_hand", (fields(**(WELL_FORMED | far)),))
    event_id = EventId("evt_by_hand")
    await makegood.started(event_id)

    await send(makegood, event_id, "expire", ())

    assert (await failure_of(makegood, "receipt-evt_by_hand")).type == "receipt_unknown"


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
    """The failure of a run that a person started."""
    await start_by_hand(world, name, payloads)
    return await failure_of(world, name)


async def failure_of(world: World, name: str) -> ApplicationError:
    with pytest.raises(WorkflowFailureError) as failed:
        await asyncio.wait_for(world.client.get_workflow_handle(name).result(), 10)
    cause = failed.value.cause
    error = cause.cause if isinstance(cause, ActivityError) else cause
    assert isinstance(error, ApplicationError)
    return error
