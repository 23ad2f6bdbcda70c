"""The reconciler finds undispatched starts, stuck repairs and lost runs."""

from collections.abc import AsyncIterator, Sequence
from datetime import datetime, timedelta

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs
from temporalio.service import RPCError, RPCStatusCode

from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.receipts import Receipt
from domain.retries import longest_delays
from store.receipts import outbox
from store.receipts.attempts import begin_attempt
from store.receipts.reconcile.queries import stuck_repairs
from store.receipts.reconcile.stalled_repairs import store_callback_delays
from store.receipts.reconcile.stuck_runs import is_repair_stalled, suspect_stalled_repairs
from store.status.heartbeats import NAMESPACE_FACT, write_fact
from store.status.installation import read_restart
from tests.support.given import Story
from tests.workflows.world import World
from worker.loops import new_namespace
from worker.loops.overdue import OverdueOpener
from worker.loops.reconcile import Reconciler
from worker.temporal.workflow_client import MissingRuns, ReceiptWorkflowClient


class WithoutVisibility(ReceiptWorkflowClient):
    """A client of a Temporal that answers nothing but starts."""

    def __init__(self) -> None:
        self.signalled: list[EventId] = []

    async def ensure_running(self, receipt: Receipt) -> None:
        self.signalled.append(receipt.event_id)

    async def namespace_id(self) -> str:
        raise _unavailable()

    async def find_missing_runs(self, event_ids: Sequence[EventId]) -> MissingRuns:
        raise _unavailable()

    async def find_unexpectedly_closed(
        self, since: datetime, *, limit: int
    ) -> AsyncIterator[EventId]:
        raise _unavailable()
        yield EventId("never")


class TwoChecked(WithoutVisibility):
    """No receipt has a run, and each call checks two of the receipts."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[list[EventId]] = []

    async def find_missing_runs(self, event_ids: Sequence[EventId]) -> MissingRuns:
        self.calls.append(list(event_ids))
        unchecked = event_ids[2:]
        return MissingRuns(
            found=list(event_ids[:2]), first_unchecked=unchecked[0] if unchecked else None
        )


class AnotherNamespace(WithoutVisibility):
    """A client of a new Temporal database."""

    identity = "worker-of-the-test"

    async def namespace_id(self) -> str:
        return "another"

    async def prepare_namespace(self) -> None:
        pass


def _unavailable() -> RPCError:
    return RPCError("unavailable", RPCStatusCode.UNAVAILABLE, b"")


def reconciler(story: Story, workflow_client: ReceiptWorkflowClient) -> Reconciler:
    return Reconciler(story.database, workflow_client, every_seconds=1, outage_seconds=0)


async def read_outbox(story: Story, event_id: EventId) -> list[str]:
    return [kind for kind, _ in await story.outbox(event_id)]


async def test_long_overdue_receipt_is_enqueued_although_visibility_is_unavailable(
    story: Story,
) -> None:
    event_id = await _long_overdue(story)

    with capture_logs() as logs:
        await OverdueOpener(story.database, outage_seconds=0).open_overdue()
        await reconciler(story, WithoutVisibility()).reconcile()

    assert await read_outbox(story, event_id) == ["start"]
    assert (await story.snapshot(event_id)).state is LifecycleState.OPEN
    failed = {line["step"] for line in logs if line["event"] == "reconcile_step_failed"}
    assert failed == {"namespace", "overdue_without_run", "closed", "sweep"}


async def test_undispatched_receipt_is_signalled_once_a_minute(story: Story) -> None:
    event_id = await _long_overdue(story)
    async with story.database.transaction() as session:
        await outbox.enqueue_start_again(session, event_id, story.at)
    workflow_client = WithoutVisibility()
    under_test = reconciler(story, workflow_client)

    await under_test.reconcile()
    await under_test.reconcile()

    assert workflow_client.signalled == [event_id]


async def test_sweep_continues_at_the_first_unchecked_receipt(story: Story) -> None:
    story.at = await _now(story)
    events = [await story.receipt() for _ in range(5)]
    workflow_client = TwoChecked()
    under_test = reconciler(story, workflow_client)

    for _ in range(3):
        await under_test.reconcile()

    calls = [batch for batch in workflow_client.calls if batch]
    assert calls == [events, events[2:], events[4:]]
    assert [await read_outbox(story, event_id) for event_id in events] == [["start"]] * 5


async def test_failed_sweep_is_repeated(story: Story) -> None:
    story.at = await _now(story)
    event_id = await story.receipt()
    workflow_client = WithoutVisibility()
    under_test = reconciler(story, workflow_client)
    await under_test.reconcile()

    under_test._workflow_client = TwoChecked()
    await under_test.reconcile()

    assert await read_outbox(story, event_id) == ["start"]


async def test_repairs_are_stuck_past_their_deadline_or_without_an_attempt(story: Story) -> None:
    uncalled, _ = await story.repairing()
    unanswered, _ = await story.awaiting_result()
    called, replay_id = await story.repairing()
    await story.attempt(called, replay_id, status=500)

    async def stuck(*, grace_seconds: float | None, **after: float) -> set[EventId]:
        async with story.database.reading() as session:
            now = story.at + timedelta(**after)
            found = await stuck_repairs(
                session, now, grace_seconds=grace_seconds, silent_seconds=60, limit=10
            )
        return {receipt.event_id for receipt in found}

    assert await stuck(grace_seconds=60, minutes=31) == {uncalled, unanswered}
    assert await stuck(grace_seconds=None, minutes=31) == {uncalled}
    assert await stuck(grace_seconds=60, minutes=-61) == set()


@pytest.mark.parametrize(
    ("ended", "is_schedule_known", "overdue_after"),
    [
        ([500], True, 66),
        ([500, 500], True, 660),
        ([500, 500, 500], True, 660),
        ([429], True, 3600),
        ([503], True, 3600),
        ([500], False, 3600),
        ([None], True, 660),
        ([500, None], True, 660),
    ],
    ids=[
        "first",
        "second",
        "third",
        "429",
        "503",
        "no schedule known",
        "first in flight",
        "second in flight",
    ],
)
async def test_repair_is_stuck_a_minute_after_its_next_attempt_was_due(
    story: Story, ended: list[int | None], is_schedule_known: bool, overdue_after: float
) -> None:
    event_id, replay_id = await story.repairing()
    if is_schedule_known:
        async with story.database.transaction() as session:
            await store_callback_delays(session, longest_delays((0, 60, 600), 0.1), attempts=3)
    for status in ended:
        story.later(minutes=20)
        if status is None:
            await story.do(begin_attempt, event_id, replay_id, holder="a worker that lost it")
        else:
            await story.attempt(event_id, replay_id, status=status)

    async def stuck(*, seconds: float) -> tuple[bool, bool, int]:
        now = story.at + timedelta(seconds=seconds)
        async with story.database.transaction() as session:
            found = await stuck_repairs(session, now, grace_seconds=60, silent_seconds=60, limit=10)
            is_suspected = await suspect_stalled_repairs(
                session, now, silent_seconds=60, limit=10, after=""
            )
            is_forgotten = await is_repair_stalled(session, event_id, now, silent_seconds=60)
        return is_forgotten, bool(found), len(is_suspected)

    assert await stuck(seconds=overdue_after + 59) == (False, False, 0)
    assert await stuck(seconds=overdue_after + 61) == (True, True, 1)


async def test_receipt_whose_start_is_never_dispatched_gets_its_incident(makegood: World) -> None:
    event_id = await makegood.accept(enqueue=False)
    async with makegood.database.transaction() as session:
        now = await makegood.database.now(session)
        await outbox.enqueue_start_again(session, event_id, now)
        # A dispatcher leased it and never delivered it.
        await outbox.claim(session, now, limit=1, lease_seconds=1_000_000)

    makegood.database.clock.skew += timedelta(minutes=31)

    await makegood.reaches(event_id, LifecycleState.OPEN)


async def test_runs_of_stuck_repairs_are_signalled(story: Story) -> None:
    story.at = await _now(story) - timedelta(hours=2)
    uncalled, _ = await story.repairing()
    unanswered, _ = await story.awaiting_result()
    workflow_client = WithoutVisibility()

    await reconciler(story, workflow_client).reconcile()

    assert workflow_client.signalled == [uncalled, unanswered]


async def test_restart_of_all_receipts_continues_in_another_process(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(new_namespace, "AT_ONCE", 2)
    monkeypatch.setattr(new_namespace, "BATCHES", 2)
    monkeypatch.setattr(new_namespace, "PAUSE_SECONDS", 0.0)
    story.at = await _now(story)
    events = [await story.receipt() for _ in range(5)]
    async with story.database.transaction() as session:
        await write_fact(session, NAMESPACE_FACT, "of a database that was lost")

    first = await _enqueued_by_a_pass(story, events)
    second = await _enqueued_by_a_pass(story, events)
    third = await _enqueued_by_a_pass(story, events)

    assert (first, second, third) == (events[:4], events[4:], [])
    async with story.database.reading() as session:
        assert await read_restart(session) is None


async def _enqueued_by_a_pass(story: Story, events: list[EventId]) -> list[EventId]:
    """Run one pass of a new process, empty the outbox, and return what was enqueued."""
    await reconciler(story, AnotherNamespace()).reconcile()
    enqueued = [event_id for event_id in events if await read_outbox(story, event_id)]
    async with story.database.transaction() as session:
        await session.execute(text("DELETE FROM outbox"))
    return enqueued


async def _long_overdue(story: Story) -> EventId:
    story.at = await _now(story) - timedelta(hours=1)
    return await story.receipt()


async def _now(story: Story) -> datetime:
    async with story.database.reading() as session:
        return await story.database.now(session)
