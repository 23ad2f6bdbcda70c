"""The activity of a bulk repair: it records outcomes, decides, and begins a few repairs.

Every part is a short transaction that the store guards, so Temporal may run a step again after a
process died. A step holds a slot of its project. Built by `worker.build`, called from
`workflows.bulk_repair`.
"""

import asyncio
import math
from datetime import timedelta

import structlog
from temporalio import activity

from activities.messages import BulkOrder, BulkStep
from activities.slots import CallbackSlots, SlotLimits, SlotsExhausted
from domain.errors import NotFound, Unavailable
from domain.ids import BulkId, ProjectId
from domain.repairing.bulk import PACED_STEP, Begin, Finish, Over, Stop, Wait
from store.db.database import Database
from store.repairing.bulk_repairs import read_bulk_repair
from store.repairing.bulk_steps import (
    SETTLED_AT_ONCE,
    begin_next,
    decide,
    record_broken,
    settle_items,
)

# Fewer than the connections of the loops. The bulk repairs of one project leave a slot for others.
BULK_LIMITS = SlotLimits(total=3, per_project=1, per_host=3)
# Incidents that a step looks at: skipped ones take no part in the pace.
LOOKED_AT_ONCE = 100
BROKEN_AGAIN = timedelta(seconds=5)
HEARTBEAT_SECONDS = 2.0

log = structlog.get_logger(__name__)


class BulkActivities:
    """The activity of bulk repairs. One instance serves the whole process."""

    def __init__(self, database: Database, *, slots: CallbackSlots) -> None:
        self._database = database
        self._slots = slots

    @activity.defn(name="step_bulk_repair")
    async def step_bulk_repair(self, order: BulkOrder) -> BulkStep:
        """Take one step. One that is gone with its project is done.

        Raises:
            Unavailable: the store is unavailable. Temporal runs the activity again.
        """
        bulk_id = BulkId(order.bulk_id)
        heartbeats = asyncio.create_task(_heartbeat_loop())
        try:
            project_id = await self._project_of(bulk_id)
            with self._slots.acquire(bulk_id, project_id):
                return await self._step(bulk_id)
        except NotFound:
            return BulkStep(is_done=True)
        except SlotsExhausted as full:
            return BulkStep(is_done=False, wait_ms=math.ceil(full.seconds * 1_000))
        finally:
            heartbeats.cancel()

    async def _project_of(self, bulk_id: BulkId) -> ProjectId:
        async with self._database.reading() as session:
            return (await read_bulk_repair(session, None, bulk_id)).project_id

    async def _step(self, bulk_id: BulkId) -> BulkStep:
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            settled = await settle_items(session, bulk_id, now)
        if settled == SETTLED_AT_ONCE:
            return BulkStep(is_done=False, settled=settled)
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            decision = await decide(session, bulk_id, now)
        match decision:
            case Begin(count):
                return await self._begin(bulk_id, count, settled)
            case Wait(delay):
                return BulkStep(is_done=False, wait_ms=_ms(delay), settled=settled)
            case Stop():
                return BulkStep(is_done=False, settled=settled)
            case Finish() | Over():
                return BulkStep(is_done=True, settled=settled)

    async def _begin(self, bulk_id: BulkId, count: int, settled: int) -> BulkStep:
        """Begin `count` repairs, or look at as many incidents as a step may."""
        begun = 0
        for _ in range(LOOKED_AT_ONCE):
            if begun == count:
                break
            try:
                async with self._database.transaction() as session:
                    now = await self._database.now(session)
                    has_begun = await begin_next(session, bulk_id, now)
            except (NotFound, Unavailable):
                raise
            except Exception:
                # The edge of one incident: a broken one does not stop the others.
                log.exception("bulk_repair_item_broken", bulk_id=bulk_id)
                await self._record_broken(bulk_id)
                return BulkStep(False, wait_ms=_ms(BROKEN_AGAIN), begun=begun, settled=settled)
            if has_begun is None:
                break
            begun += has_begun
        # No result comes at once, and the pace allows the next repairs after this time.
        wait_ms = _ms(PACED_STEP) if begun else 0
        return BulkStep(is_done=False, wait_ms=wait_ms, begun=begun, settled=settled)

    async def _record_broken(self, bulk_id: BulkId) -> None:
        async with self._database.transaction() as session:
            await record_broken(session, bulk_id, await self._database.now(session))


async def _heartbeat_loop() -> None:
    while True:
        activity.heartbeat()
        await asyncio.sleep(HEARTBEAT_SECONDS)


def _ms(delay: timedelta) -> int:
    return max(0, math.ceil(delay / timedelta(milliseconds=1)))
