"""Opens incidents that their workflows have not opened 25 s after the deadline.

The deadlines are those of receipts and of repairs without a result. It needs only the store, so
that no fault of Temporal delays an incident further. The workflow later finds the incident open.

1. Each item is a transaction of its own. One that fails is backed off and stops no other.
2. `worker.loops.overdue_selection` chooses the receipts of each turn.
3. Receipts and repairs have separate turns.

Every worker runs it, and an incident that two workers find due is opened once. Run by
`worker.build`.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Unavailable
from domain.ids import EventId, ProjectId
from domain.values.round_robin import round_robin
from store.db.database import Database
from store.db.sql import SessionStatements, limit_lock_wait
from store.receipts.deadlines import (
    Opened,
    deadlines_count_until,
    fail_due_repair,
    open_due_incident,
)
from store.receipts.outbox import enqueue_start_again
from store.receipts.reconcile.overdue import (
    OverdueReceipt,
    OverdueRepair,
    overdue_repairs,
)
from store.receipts.reconcile.stuck_runs import suspect_run
from store.receipts.state import lock_receipt
from store.receipts.timeline import note
from worker.loops.backoffs import Backoffs
from worker.loops.overdue_selection import OverdueSelection

# The workflow opens the incident within a second, or within some seconds after a burst of
# deadlines.
GRACE = timedelta(seconds=25)
REPAIRS_CHECKED = 10_000
# Fewer than the connections of the loops, since each may wait a second for a row lock.
AT_ONCE = 2
# After so many locked rows, the rest of the project waits for the next turn, so that other projects
# are not delayed.
UNAVAILABLE_AT_MOST = 2
# The rest waits for the next turn, which takes the next part.
TURN_SECONDS = 3.0
# Between transactions: on SQLite ingest waits while one writes.
PAUSE_SECONDS = 0.005
FIRST_BACKOFF_SECONDS = 2.0
OPENED = "The workflow did not open the incident within 25 s: it was opened from the store."
FAILED = "The workflow did not fail the overdue repair within 25 s: it was failed from the store."

log = structlog.get_logger(__name__)

Item = OverdueReceipt | OverdueRepair


@dataclass(frozen=True, slots=True)
class _TurnResult:
    """The result of one turn.

    `reached` is the last project that was handled; None: no project was left out.
    """

    has_left: bool
    count: int
    reached: ProjectId | None


class OverdueOpener:
    """Opens the incidents of deadlines that passed without their workflow noticing.

    `outage_seconds` is that of the lifecycle activities.
    """

    def __init__(self, database: Database, *, outage_seconds: int) -> None:
        self._database = database
        self._outage_seconds = outage_seconds
        self._selection = OverdueSelection()
        self._after_repair: OverdueRepair | None = None
        self._backoffs = Backoffs(first_seconds=FIRST_BACKOFF_SECONDS)

    async def overdue_loop(self, *, every_seconds: float) -> None:
        """Open overdue incidents, for ever, without a pause while there are more."""
        while True:
            has_more = await self.open_overdue()
            await asyncio.sleep(PAUSE_SECONDS if has_more else every_seconds)

    async def open_overdue(self) -> bool:
        """Open overdue incidents for a few seconds: receipts first, then repairs. Returns whether
        there is more to do.

        A turn that fails is logged and does not prevent the other.
        """
        has_more = False
        for turn in (self._turn_of_receipts, self._turn_of_repairs):
            try:
                has_more |= await turn()
            except Unavailable:
                log.warning("opening_store_unavailable")
            except Exception:
                # The edge of this loop: a turn that fails must not end the worker.
                log.exception("opening_failed")
        return has_more

    async def _turn_of_receipts(self) -> bool:
        async with self._database.reading() as session:
            until = await self._counts_until(session)
            receipts = await self._selection.select(session, until)
        result = await self._act_on_all(receipts, self._open)
        if result.reached is not None:
            self._selection.continue_after(result.reached)
        return result.has_left or result.count > 0 or self._selection.has_more

    async def _turn_of_repairs(self) -> bool:
        async with self._database.reading() as session:
            until = await self._counts_until(session)
            repairs = await overdue_repairs(
                session, until, after=self._after_repair, limit=REPAIRS_CHECKED
            )
        self._after_repair = repairs[-1] if len(repairs) == REPAIRS_CHECKED else None
        result = await self._act_on_all(repairs, self._fail)
        return result.has_left or self._after_repair is not None

    async def _counts_until(self, session: AsyncSession) -> datetime:
        now = await self._database.now(session)
        return min(
            await deadlines_count_until(session, now, outage_seconds=self._outage_seconds),
            now - GRACE,
        )

    async def _act_on_all(
        self, items: Sequence[Item], act: Callable[..., Awaitable[bool]]
    ) -> _TurnResult:
        """Act on the items, one of each project in turn, until the turn's time is over."""
        began = time.monotonic()
        self._backoffs.forget_old()
        ready = round_robin(
            (item for item in items if self._backoffs.is_ready(_key(item))),
            lambda item: item.project_id,
        )
        queue = deque(ready)
        projects: set[ProjectId] = set()
        unavailable: Counter[ProjectId] = Counter()
        batch: list[Item] = []
        count = skipped = 0
        while queue and (not batch or time.monotonic() - began <= TURN_SECONDS):
            batch = []
            while queue and len(batch) < AT_ONCE:
                item = queue.popleft()
                if unavailable[item.project_id] < UNAVAILABLE_AT_MOST:
                    batch.append(item)
                else:
                    skipped += 1
            count += sum(
                await asyncio.gather(*(self._guard(item, act, unavailable) for item in batch))
            )
            projects.update(item.project_id for item in batch)
            await asyncio.sleep(PAUSE_SECONDS)
        if count:
            log.warning(
                "opened_from_store",
                kind=type(items[0]).__name__,
                count=count,
                first_event_id=ready[0].event_id,
            )
        is_left_out = any(item.project_id not in projects for item in queue)
        reached = batch[-1].project_id if is_left_out and batch else None
        return _TurnResult(bool(queue) or skipped > 0, count, reached)

    async def _guard(
        self, item: Item, act: Callable[..., Awaitable[bool]], unavailable: Counter[ProjectId]
    ) -> bool:
        try:
            has_acted = await act(item)
        except Unavailable:
            # Another process holds the row lock, or the store is unavailable.
            self._backoffs.back_off(_key(item))
            unavailable[item.project_id] += 1
            return False
        except Exception:
            # The edge of one item: an incident that cannot be opened must not stop the others.
            self._backoffs.back_off(_key(item))
            log.exception("overdue_item_failed", event_id=item.event_id)
            return False
        self._backoffs.forget(_key(item))
        return has_acted

    async def _open(self, item: OverdueReceipt) -> bool:
        async with self._database.transaction() as session:
            await limit_lock_wait(SessionStatements(session))
            now = await self._database.now(session)
            outcome = await open_due_incident(
                session, item.event_id, now, outage_seconds=self._outage_seconds
            )
            if not isinstance(outcome, Opened) or not outcome.is_new:
                return False
            await self._suspect(session, item.event_id, item.project_id, OPENED)
        return True

    async def _fail(self, item: OverdueRepair) -> bool:
        async with self._database.transaction() as session:
            await limit_lock_wait(SessionStatements(session))
            now = await self._database.now(session)
            snapshot = await lock_receipt(SessionStatements(session), item.event_id)
            before = snapshot.state
            if snapshot.active_replay_id != item.replay_id:
                return False
            outcome = await fail_due_repair(
                session, item.event_id, item.replay_id, now, outage_seconds=self._outage_seconds
            )
            if outcome is before or not isinstance(outcome, type(before)):
                return False
            await self._suspect(session, item.event_id, item.project_id, FAILED)
        return True

    async def _suspect(
        self, session: AsyncSession, event_id: EventId, project_id: ProjectId, text: str
    ) -> None:
        """Note the action in the timeline, signal the run, and have it checked."""
        st = SessionStatements(session)
        now = await self._database.now(session)
        await note(st, event_id, now, text=text)
        await suspect_run(st, event_id, project_id, now)
        await enqueue_start_again(session, event_id, now)


def _key(item: Item) -> str:
    return item.replay_id if isinstance(item, OverdueRepair) else item.event_id
