"""A stuck run is shown and restarted, and its incident opens.

A start that Temporal refuses delays no other receipt.

The tests use the real Temporal server and move the store's clock.
"""

from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any  # of the library's handles

import pytest
from sqlalchemy import text
from temporalio.client import (
    Client,
    Interceptor,
    OutboundInterceptor,
    StartWorkflowInput,
    WorkflowHandle,
)
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from api.health.routes import Health
from cli.doctor.store import _check_runs
from domain.audit import Actor
from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.temporal.runs import StuckCause
from operations.composition import Operations
from operations.readiness import Check
from store.crypto.encryption import Sealer
from store.projects.projects import create_project
from store.receipts.outbox import enqueue_start_again
from store.receipts.reconcile.stuck_runs import count_stuck, stuck_run, stuck_runs
from tests.histories.changed import WithOneMoreTimerPatchedIn
from tests.support.given import Story, new_receipt
from tests.workflows.world import World, world_on
from worker.loops.overdue import OPENED
from workflows.messages import ReceiptInput, workflow_id
from workflows.receipt import ReceiptWorkflow


async def accept_url(url: str, *, livemode: bool) -> str:
    """Accept every URL."""
    return url


def operations(makegood: World, sealer: Sealer) -> Operations:
    return Operations.build(database=makegood.database, sealer=sealer, judge_repair_url=accept_url)


async def runs_check(makegood: World) -> Check:
    return next(
        check for check in await Health(database=makegood.database).checks() if check.name == "runs"
    )


async def with_failing_task(makegood: World) -> EventId:
    """Create a receipt whose run this release cannot replay, on a queue that a worker serves."""
    event_id = await makegood.accept()
    await makegood.started(event_id)
    async with makegood.database.reading() as session:
        now = await makegood.database.now(session)
    async with Worker(makegood.client, task_queue=event_id, workflows=[WithOneMoreTimerPatchedIn]):
        await makegood.client.start_workflow(
            "receipt",
            ReceiptInput(event_id, makegood.project.id, now + timedelta(minutes=30)),
            id=workflow_id(event_id),
            task_queue=event_id,
            task_timeout=timedelta(seconds=1),
            id_conflict_policy=WorkflowIDConflictPolicy.TERMINATE_EXISTING,
        )
        await makegood.started(event_id)
    return event_id


async def is_found(makegood: World, event_id: EventId) -> bool:
    async with makegood.database.reading() as session:
        return await stuck_run(session, event_id) is not None


async def count_checks(makegood: World, event_id: EventId) -> int:
    async with makegood.database.reading() as session:
        looks = await session.scalar(
            text("SELECT looks FROM stuck_runs WHERE event_id = :id"), {"id": event_id}
        )
    return looks or 0


async def test_run_whose_task_fails_is_shown_and_restarted_and_its_incident_opens(
    makegood: World, sealer: Sealer
) -> None:
    event_id = await with_failing_task(makegood)
    async with Worker(makegood.client, task_queue=event_id, workflows=[ReceiptWorkflow]):
        # Only the store's clock moves, to 26 s after the deadline. The signalled run then replays
        # and fails.
        makegood.database.clock.skew += timedelta(minutes=30, seconds=26)
        await makegood.signal(event_id, "expire")

        await makegood.eventually(
            lambda: _has_state(makegood, event_id, LifecycleState.OPEN),
            "the incident, from the store",
        )
        await makegood.eventually(lambda: is_found(makegood, event_id), "the run is found")

        assert OPENED in await makegood.notes(event_id)
        note_text = (
            f"its workflow task keeps failing. To restart it: makegood receipt restart {event_id}"
        )
        assert any(note_text in note for note in await makegood.notes(event_id))
        check = await runs_check(makegood)
        assert (check.status, check.detail[:46]) == (
            "failed",
            "1 receipts have a workflow that cannot go on: ",
        )
        finding = await _check_runs(makegood.database)
        assert (finding.verdict, finding.fix) == ("fail", "makegood receipt restart --stuck")
        await makegood.reprocess(event_id)

        restarted = await operations(makegood, sealer).runs.restart_stuck(
            after=None, actor=Actor("cli:ops")
        )

        assert restarted == [event_id]
        await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
        assert len(makegood.receiver.calls) == 1
        makegood.database.clock.skew += timedelta(seconds=16)
        await makegood.eventually(lambda: _is_ready(makegood), "readiness is ok again")
    assert "The workflow goes on again." in await makegood.notes(event_id)


async def test_run_whose_task_no_worker_takes_is_found(makegood: World) -> None:
    event_id = await with_failing_task(makegood)
    makegood.database.clock.skew += timedelta(minutes=30, seconds=26)
    await makegood.signal(event_id, "expire")
    await makegood.eventually(
        lambda: _has_state(makegood, event_id, LifecycleState.OPEN), "the incident, from the store"
    )

    checks = 0

    async def is_found_after_31_s() -> bool:
        # Temporal moves the task once, from the queue of the worker that ended to the common one.
        # The time that it waits begins anew then, so 31 s pass after each check.
        nonlocal checks
        if (seen := await count_checks(makegood, event_id)) > checks:
            checks = seen
            makegood.database.clock.skew += timedelta(seconds=31)
        return await is_found(makegood, event_id)

    await makegood.eventually(is_found_after_31_s, "the run is found")
    async with makegood.database.reading() as session:
        (found,) = await stuck_runs(session, after=None, limit=10)
    assert found.cause is StuckCause.TASK_NOT_TAKEN


async def test_stuck_run_of_a_requested_repair_is_restarted_automatically(makegood: World) -> None:
    event_id = await with_failing_task(makegood)
    async with Worker(makegood.client, task_queue=event_id, workflows=[ReceiptWorkflow]):
        makegood.database.clock.skew += timedelta(minutes=30, seconds=26)
        await makegood.signal(event_id, "expire")
        await makegood.eventually(lambda: is_found(makegood, event_id), "the run is found")
        await makegood.reprocess(event_id)

        makegood.database.clock.skew += timedelta(seconds=61)

        await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    assert len(makegood.receiver.calls) == 1


class _Refusing(OutboundInterceptor):
    def __init__(self, next_one: OutboundInterceptor, refusing: "Refusing") -> None:
        super().__init__(next_one)
        self._refusing = refusing

    async def start_workflow(self, input: StartWorkflowInput) -> WorkflowHandle[Any, Any]:
        if input.args[0].project_id == self._refusing.project_id or (
            self._refusing.attributes and input.search_attributes is not None
        ):
            raise RPCError("refused", RPCStatusCode.INVALID_ARGUMENT, b"")
        return await super().start_workflow(input)


class Refusing(Interceptor):
    """Refuses every start of the project. `attributes`: and each start with search attributes."""

    def __init__(self) -> None:
        self.project_id: str | None = None
        self.attributes = False

    def intercept_client(self, next: OutboundInterceptor) -> OutboundInterceptor:
        return _Refusing(next, self)


@pytest.fixture
def refusing() -> Refusing:
    return Refusing()


@pytest.fixture
async def refused(
    temporal: WorkflowEnvironment,
    sqlite_url: str,
    sealer: Sealer,
    refusing: Refusing,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[World]:
    """A world whose Temporal refuses the starts that `refusing` selects."""
    connect = Client.connect

    async def connect_refusing(*values: object, **named: object) -> Client:
        return await connect(*values, **named, interceptors=[refusing])  # type: ignore[arg-type]

    monkeypatch.setattr(Client, "connect", connect_refusing)
    async with world_on(temporal, sqlite_url, sealer) as made:
        yield made


async def test_start_that_is_refused_for_its_attributes_is_retried_without_them(
    refused: World, refusing: Refusing
) -> None:
    refusing.attributes = True

    event_id = await refused.accept()

    await refused.started(event_id)
    described = await refused.handle(event_id).describe()
    assert "MgProject" not in described.search_attributes
    assert await described.static_summary() == "stripe invoice.paid: access_unlock"


async def test_id_of_200_emoji_is_cut_and_its_run_starts(makegood: World) -> None:
    event_id = await makegood.accept(provider_event_id="\N{FIRE}" * 200)

    await makegood.started(event_id)

    described = await makegood.handle(event_id).describe()
    assert described.search_attributes["MgProviderEventId"] == ["\N{FIRE}" * 166]


async def test_refused_receipts_of_one_project_delay_no_other_project(
    refused: World, refusing: Refusing, sealer: Sealer
) -> None:
    async with refused.database.transaction() as session:
        now = await refused.database.now(session)
        other = await create_project(session, sealer, name="other", livemode=False, now=now)
    refusing.project_id = refused.project.id
    theirs = [await refused.accept(enqueue=False, timeout_minutes=0.05) for _ in range(50)]
    story = Story(refused.database, other.project)
    story.at = now
    async with refused.database.transaction() as session:
        for event_id in theirs:
            await enqueue_start_again(session, event_id, now)
    ours = await story.receipt(**_facts(other.project.id))
    async with refused.database.transaction() as session:
        await enqueue_start_again(session, ours, now)

    await refused.eventually(
        lambda: _has_state(refused, ours, LifecycleState.OPEN), "ours, by its own run"
    )

    async with refused.database.reading() as session:
        late_by = await refused.database.now(session) - (await story.snapshot(ours)).deadline_at
    assert late_by < timedelta(seconds=10)

    assert [note for note in await refused.notes(ours) if note == OPENED] == []
    assert await refused.stored(theirs[0]) is LifecycleState.WAITING
    refused.database.clock.skew += timedelta(seconds=26)
    for event_id in theirs:
        await refused.eventually(
            lambda event_id=event_id: _has_state(refused, event_id, LifecycleState.OPEN), "theirs"
        )
    refused.database.clock.skew += timedelta(seconds=31)
    await refused.eventually(lambda: _are_found(refused, 50), "all are shown")


def _facts(project_id: object) -> dict[str, object]:
    new = new_receipt(project_id)  # type: ignore[arg-type]
    return {"provider_event_id": new.provider_event_id, "timeout_minutes": 0.05}


async def _are_found(makegood: World, count: int) -> bool:
    async with makegood.database.reading() as session:
        return await count_stuck(session) == count


async def _has_state(makegood: World, event_id: EventId, state: LifecycleState) -> bool:
    return await makegood.stored(event_id) is state


async def _is_ready(makegood: World) -> bool:
    return (await runs_check(makegood)).status == "ok"
