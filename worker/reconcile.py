"""Mends what store and engine disagree on, by having the engine told again; incidents that are late open without it
(`worker.overdue`).

It moves nothing itself: whatever it suspects is put back into the outbox, and a run that is told again asks the store. A suspect
that was right all along costs one activity. Every worker runs it; what two find is told once. Run by `worker.main`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio.service import RPCError

from domain.errors import Unavailable
from domain.ids import EventId
from domain.outages import is_silent
from domain.turns import in_turns
from store.database import Database
from store.heartbeats import NAMESPACE_FACT, read_fact, read_ingest_beats
from store.installations import Adoption, adopt_namespace, end_restart, must_restart
from store.outbox import oldest_age, tell_again
from store.overdue import OverdueReceipt, overdue_receipts
from store.reading import unended
from store.sweeping import Unended, read_receipt, stuck_repairs, told_and_unended, untold_starts
from worker.gateway import Gateway
from worker.refusals import NotConnected, TemporalProblem
from worker.runs import RunWatch

GRACE_SECONDS = 5
# The same receipt is not told again sooner than this, so that a slow engine is not made slower.
AGAIN_AFTER_SECONDS = 60.0
# Sooner, when the engine itself says that its run is gone once more; not at every pass, since it may end at once each time.
GONE_AGAIN_AFTER_SECONDS = 10.0
NUDGE_AFTER_SECONDS = 60
# Longer than the dispatcher's lease.
UNTOLD_AFTER_SECONDS = 15
OVERDUE_AT_ONCE = 200
NUDGED_AT_ONCE = 50
FAILED_AT_ONCE = 3  # each takes some seconds
OVERDUE_LOOKED_AT = 2_000
CLOSED_LOOKED_AT = 2_000
# Visibility runs behind the engine, and hosts' clocks differ.
CLOSED_OVERLAP = timedelta(seconds=60)
SWEPT_AT_ONCE = 200
# Few, and with pauses: on SQLite the front door waits meanwhile.
RETOLD_AT_ONCE = 100
RETOLD_PAUSE_SECONDS = 0.2
OUTBOX_OLD = timedelta(seconds=60)

log = structlog.get_logger(__name__)


class Reconciler:
    """The reconciler of one worker process. `every_seconds` is the pause between passes.

    `outage_seconds` not 0: what is overdue while the front door is silent is left alone, as the ledger leaves it.
    """

    def __init__(
        self,
        database: Database,
        gateway: Gateway,
        *,
        every_seconds: float,
        outage_seconds: int,
    ) -> None:
        self._database = database
        self._gateway = gateway
        self._every_seconds = every_seconds
        self._outage_seconds = outage_seconds
        self._told_at: dict[EventId, float] = {}
        self._swept_until = datetime.now(UTC) - CLOSED_OVERLAP
        self._cursor: EventId | None = None
        # Where the last look ended when there was more than it could look at: the next one goes on there.
        self._untold_after = 0
        self._repairs_after: EventId | None = None
        self._overdue_after: OverdueReceipt | None = None
        self._runs = RunWatch(database, gateway)
        self._failing: set[str] = set()
        self._stopping = asyncio.Event()

    def stop(self) -> None:
        """`run` returns after the step it is in."""
        self._stopping.set()

    async def run(self) -> None:
        """Reconcile until `stop`."""
        while not self._stopping.is_set():
            await self.reconcile()
            await self._pause(self._every_seconds)

    async def reconcile(self) -> None:
        """One pass; a step that cannot be done now leaves the others to be done."""
        self._forget_long_told()
        # First what one call to the engine answers, then what its visibility must answer.
        steps = (
            ("outbox", self._watch_outbox),
            ("runs", self._runs.look),
            ("untold", self._wake_untold),
            ("repairs", self._wake_repairs),
            ("namespace", self._mend_lost_engine),
            ("overdue_without_run", self._mend_overdue),
            ("closed", self._mend_closed_early),
            ("sweep", self._sweep),
        )
        for name, step in steps:
            if self._stopping.is_set():
                return
            async with self._guarded(name):
                await step()

    async def _mend_lost_engine(self) -> None:
        """Another namespace id is another Temporal database: it knows of nothing, so that everything is told again."""
        namespace_id = await self._gateway.namespace_id()
        async with self._database.reading() as session:
            known, is_new = await read_fact(session, NAMESPACE_FACT), await must_restart(session)
        if known != namespace_id:
            async with self._database.transaction() as session:
                now = await self._database.now(session)
                adopted = await adopt_namespace(session, namespace_id, process=self._gateway.identity, now=now)
            if adopted.adoption is Adoption.ELSEWHERE:
                return  # `worker.membership` names it, and ends the work here
            is_new = adopted.adoption is Adoption.NEW
        if not is_new:
            return
        log.warning("engine_database_is_new", namespace_id=namespace_id)
        await self._gateway.prepare_namespace()
        told = await self._tell_everything()
        log.warning("engine_told_everything", receipts=told)
        if not self._stopping.is_set():
            async with self._database.transaction() as session:
                await end_restart(session, namespace_id)

    async def _tell_everything(self) -> int:
        cursor: EventId | None = None
        told = 0
        while not self._stopping.is_set():
            async with self._database.reading() as session:
                batch = await unended(session, after=cursor, limit=RETOLD_AT_ONCE)
            if not batch:
                break
            cursor = batch[-1][0]
            told += await self._tell([event_id for event_id, _ in batch], why="engine_lost")
            await self._pause(RETOLD_PAUSE_SECONDS)
        return told

    async def _wake_untold(self) -> None:
        """Overdue, and its start still in the outbox: its run is started from here, and the dispatcher finds it."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            if await self._is_held(session, now):
                return
            untold, self._untold_after = await untold_starts(
                session, now, older_than_seconds=UNTOLD_AFTER_SECONDS, after=self._untold_after, limit=OVERDUE_LOOKED_AT
            )
        await self._wake(untold, why="overdue_untold")

    async def _wake_repairs(self) -> None:
        """A repair past its deadline, or never called: its run has forgotten it."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            grace_seconds = None if await self._is_held(session, now) else NUDGE_AFTER_SECONDS
            stuck = await stuck_repairs(
                session,
                now,
                grace_seconds=grace_seconds,
                silent_seconds=NUDGE_AFTER_SECONDS,
                limit=OVERDUE_LOOKED_AT,
                after=self._repairs_after,
            )
        self._repairs_after = stuck[-1].event_id if len(stuck) == OVERDUE_LOOKED_AT else None
        await self._wake(stuck, why="repair_stuck")

    async def _mend_overdue(self) -> None:
        """Overdue receipts without a run are told at once; what has one is opened from the store when it is long overdue.

        After a burst of deadlines many runs are on their way to the store: to nudge them would slow them down.
        """
        async with self._database.reading() as session:
            now = await self._database.now(session)
            if await self._is_held(session, now):
                return
            until = now - timedelta(seconds=GRACE_SECONDS)
            lately = await overdue_receipts(session, until, after=self._overdue_after, limit=OVERDUE_AT_ONCE)
            self._overdue_after = lately[-1] if len(lately) == OVERDUE_AT_ONCE else None
            event_ids = [receipt.event_id for receipt in lately]
            suspects = await told_and_unended(session, self._untold(event_ids, for_seconds=GONE_AGAIN_AFTER_SECONDS))
        await self._tell((await self._gateway.without_run(suspects)).found, why="overdue_without_run")

    async def _is_held(self, session: AsyncSession, now: datetime) -> bool:
        beats = await read_ingest_beats(session)
        return is_silent(beats, now, outage_seconds=self._outage_seconds)

    async def _mend_closed_early(self) -> None:
        """Runs that closed lately without having said in their search attributes that the receipt ended."""
        began_at = datetime.now(UTC)
        closed = {event_id async for event_id in self._gateway.closed_early(self._swept_until, limit=CLOSED_LOOKED_AT)}
        suspects = await self._told_and_unended(closed)
        untold = self._untold(suspects)
        # Those told lately have a run again, unless that one has ended too.
        told = [event_id for event_id in suspects if event_id not in set(untold)]
        gone_again = (await self._gateway.without_run(self._untold(told, for_seconds=GONE_AGAIN_AFTER_SECONDS))).found
        await self._tell([*untold, *gone_again], why="closed_early")
        self._swept_until = began_at - CLOSED_OVERLAP

    async def _sweep(self) -> None:
        """Everything that has not ended, a part in each pass: for what closed otherwise, or was lost."""
        async with self._database.reading() as session:
            batch = [event_id for event_id, _ in await unended(session, after=self._cursor, limit=SWEPT_AT_ONCE)]
        without_run = await self._gateway.without_run(await self._told_and_unended(batch))
        gone = self._untold(without_run.found, for_seconds=GONE_AGAIN_AFTER_SECONDS)
        await self._tell(await self._told_and_unended(gone), why="without_run")
        self._cursor = batch[-1] if len(batch) == SWEPT_AT_ONCE else None
        if without_run.first_left is not None:
            self._cursor = batch[batch.index(without_run.first_left) - 1]

    async def _told_and_unended(self, event_ids: Collection[EventId]) -> list[EventId]:
        async with self._database.reading() as session:
            return await told_and_unended(session, event_ids)

    async def _pause(self, seconds: float) -> None:
        """At most so long: `stop` ends it."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._stopping.wait(), seconds)

    async def _watch_outbox(self) -> None:
        async with self._database.reading() as session:
            age = await oldest_age(session, await self._database.now(session))
        if age is not None and age > OUTBOX_OLD:
            log.warning("outbox_is_old", oldest_seconds=int(age.total_seconds()))

    async def _tell(self, event_ids: Collection[EventId], *, why: str) -> int:
        if not event_ids:
            return 0
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            told = [event_id for event_id in event_ids if await tell_again(session, event_id, now)]
        at = time.monotonic()
        # Not those whose start still waits in the outbox: what becomes of it is not known yet.
        self._told_at.update((event_id, at) for event_id in told)
        if told:
            log.info("told_again", why=why, receipts=len(told), first_event_id=told[0])
        return len(told)

    async def _wake(self, receipts: Sequence[Unended], *, why: str) -> None:
        """Straight to the engine, past the outbox; a run that exists is only told to ask the store.

        What fails is left alone for a minute, like what was told, so that it is in nobody's way; when several fail in a row,
        the engine is away.
        """
        known = set(self._untold([receipt.event_id for receipt in receipts]))
        ready = in_turns((receipt for receipt in receipts if receipt.event_id in known), lambda receipt: receipt.project_id)
        woken, failed = 0, 0
        for receipt in ready[:NUDGED_AT_ONCE]:
            self._told_at[receipt.event_id] = time.monotonic()
            try:
                async with self._database.reading() as session:
                    stored = await read_receipt(session, receipt.event_id)
                await self._gateway.wake(stored)
                woken, failed = woken + 1, 0
            except (RPCError, TimeoutError) as error:
                failed += 1
                log.warning("wake_failed", event_id=receipt.event_id, error=type(error).__name__)
                if failed == FAILED_AT_ONCE:
                    raise
            except Unavailable:
                raise
            except Exception:
                # The edge of one item: a row that cannot be read must not keep the others from being told.
                log.exception("wake_broken", event_id=receipt.event_id)
        if woken:
            log.info("woken", why=why, receipts=woken, first_event_id=ready[0].event_id)

    def _untold(self, event_ids: Collection[EventId], *, for_seconds: float = AGAIN_AFTER_SECONDS) -> list[EventId]:
        told_since = time.monotonic() - for_seconds
        return [event_id for event_id in event_ids if self._told_at.get(event_id, told_since) <= told_since]

    def _forget_long_told(self) -> None:
        oldest = time.monotonic() - AGAIN_AFTER_SECONDS
        self._told_at = {event_id: at for event_id, at in self._told_at.items() if at > oldest}

    @asynccontextmanager
    async def _guarded(self, step: str) -> AsyncIterator[None]:
        """A step that fails is logged once, and again when it works."""
        try:
            yield
        except NotConnected:
            pass  # the step has nobody to ask; `worker.temporal_part` says why
        except (RPCError, TemporalProblem, Unavailable, TimeoutError) as error:
            if step not in self._failing:
                self._failing.add(step)
                log.warning("reconcile_step_failed", step=step, error=type(error).__name__)
        except Exception:
            # The edge of this loop: one broken step must not stop the others for good.
            log.exception("reconcile_step_broken", step=step)
        else:
            if step in self._failing:
                self._failing.discard(step)
                log.info("reconcile_step_works_again", step=step)
