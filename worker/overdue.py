"""Opens from the store what its run should have opened: incidents of receipts, and of repairs without a result, 25 s past due.

It needs the store alone: whatever Temporal does or says, nobody waits longer for an incident. Each item is a transaction of its
own; one that fails is backed off and stops no other, projects take turns, and a long list is worked off part by part. The run
finds the incident open later. Run by `worker.parts`; every worker runs it, and what two find is opened once.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Unavailable
from domain.ids import EventId, ProjectId
from domain.turns import in_turns
from store.database import Database
from store.moves import Opened
from store.outbox import tell_again
from store.overdue import (
    OverdueReceipt,
    OverdueRepair,
    deadlines_count_until,
    fail_due_repair,
    open_due_incident,
    overdue_receipts,
    overdue_repairs,
)
from store.standing import hold_standing, note
from store.statements import SessionStatements, limit_lock_wait
from store.stuck_runs import suspect_run

# Its run has it open within a second, or, after a burst of deadlines, within some; then it is nobody's fault.
GRACE = timedelta(seconds=25)
LOOKED_AT = 10_000
AT_ONCE = 4
UNAVAILABLE_AT_ONCE = 2 * AT_ONCE
# What is left is for the next turn, which looks at the next part: nobody's turn takes longer because of others'.
TURN_SECONDS = 3.0
# Between transactions: on SQLite the front door waits meanwhile.
PAUSE_SECONDS = 0.005
FIRST_BACKOFF_SECONDS, LONGEST_BACKOFF_SECONDS = 2.0, 600.0
OPENED = "The workflow had not opened the incident 25 s after the deadline: it was opened from the store."
FAILED = "The workflow had not noticed the deadline of the repair after 25 s: the repair was failed from the store."

log = structlog.get_logger(__name__)

Item = OverdueReceipt | OverdueRepair


class OverdueOpener:
    """The opener of one worker process. `outage_seconds` as the ledger has it."""

    def __init__(self, database: Database, *, outage_seconds: int) -> None:
        self._database = database
        self._outage_seconds = outage_seconds
        self._after_receipt: OverdueReceipt | None = None
        self._after_repair: OverdueRepair | None = None
        self._unavailable = 0  # in a row
        self._backoffs: dict[str, tuple[int, float]] = {}  # tries and until when, by the monotonic clock

    async def keep_opening(self, *, every_seconds: float) -> None:
        """Open what is overdue, for ever; at once again while there is more."""
        while True:
            has_more = False
            try:
                has_more = await self.open_overdue()
            except Unavailable:
                log.warning("opening_store_unavailable")
            except Exception:
                # The edge of this loop: a turn that breaks must not end the worker.
                log.exception("opening_failed")
            await asyncio.sleep(PAUSE_SECONDS if has_more else every_seconds)

    async def open_overdue(self) -> bool:
        """One turn; whether there is more to do at once.

        Raises:
            Unavailable: the store cannot be reached.
        """
        async with self._database.reading() as session:
            now = await self._database.now(session)
            until = await deadlines_count_until(session, now, outage_seconds=self._outage_seconds)
            until = min(until, now - GRACE)
            receipts = await overdue_receipts(session, until, after=self._after_receipt, limit=LOOKED_AT)
            repairs = await overdue_repairs(session, until, after=self._after_repair, limit=LOOKED_AT)
        self._after_receipt = receipts[-1] if len(receipts) == LOOKED_AT else None
        self._after_repair = repairs[-1] if len(repairs) == LOOKED_AT else None
        is_all_opened = await self._act_on_all(receipts, self._open) & await self._act_on_all(repairs, self._fail)
        return not is_all_opened or self._after_receipt is not None or self._after_repair is not None

    async def _act_on_all(self, items: Sequence[Item], act: Callable[..., Awaitable[bool]]) -> bool:
        """Whether each had its turn."""
        now = time.monotonic()
        self._backoffs = {key: kept for key, kept in self._backoffs.items() if now < kept[1] + LONGEST_BACKOFF_SECONDS}
        ready = in_turns((item for item in items if not self._is_backed_off(item, now)), lambda item: item.project_id)
        acted = 0
        for first in range(0, len(ready), AT_ONCE):
            if time.monotonic() - now > TURN_SECONDS:
                break
            acted += sum(await asyncio.gather(*(self._guard(item, act) for item in ready[first : first + AT_ONCE])))
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            first = len(ready)
        if acted:
            log.warning("opened_from_the_store", kind=type(items[0]).__name__, count=acted, first_event_id=ready[0].event_id)
        return first >= len(ready)

    async def _guard(self, item: Item, act: Callable[..., Awaitable[bool]]) -> bool:
        try:
            has_acted = await act(item)
        except Unavailable:
            # Of one item alone when its row is held by a process that hangs; of the store when it is of all.
            self._back_off(item)
            self._unavailable += 1
            if self._unavailable >= UNAVAILABLE_AT_ONCE:
                raise
            return False
        except Exception:
            # The edge of one item: what cannot be opened must not stop what can.
            self._back_off(item)
            log.exception("overdue_item_failed", event_id=item.event_id)
            return False
        self._backoffs.pop(_key(item), None)
        self._unavailable = 0
        return has_acted

    async def _open(self, item: OverdueReceipt) -> bool:
        async with self._database.transaction() as session:
            await limit_lock_wait(SessionStatements(session))
            now = await self._database.now(session)
            outcome = await open_due_incident(session, item.event_id, now, outage_seconds=self._outage_seconds)
            if not isinstance(outcome, Opened) or not outcome.is_new:
                return False
            await self._suspect(session, item.event_id, item.project_id, OPENED)
        return True

    async def _fail(self, item: OverdueRepair) -> bool:
        async with self._database.transaction() as session:
            await limit_lock_wait(SessionStatements(session))
            now = await self._database.now(session)
            standing = await hold_standing(SessionStatements(session), item.event_id)
            before = standing.position
            if standing.active_replay_id != item.replay_id:
                return False
            outcome = await fail_due_repair(session, item.event_id, item.replay_id, now, outage_seconds=self._outage_seconds)
            if outcome is before or not isinstance(outcome, type(before)):
                return False
            await self._suspect(session, item.event_id, item.project_id, FAILED)
        return True

    async def _suspect(self, session: AsyncSession, event_id: EventId, project_id: ProjectId, told: str) -> None:
        """Say what was done, have the run told of it, and have it looked at."""
        st = SessionStatements(session)
        now = await self._database.now(session)
        await note(st, event_id, now, text=told)
        await suspect_run(st, event_id, project_id, now)
        await tell_again(session, event_id, now)

    def _is_backed_off(self, item: Item, now: float) -> bool:
        return now < self._backoffs.get(_key(item), (0, 0.0))[1]

    def _back_off(self, item: Item) -> None:
        tries, _ = self._backoffs.get(_key(item), (0, 0.0))
        seconds = min(LONGEST_BACKOFF_SECONDS, FIRST_BACKOFF_SECONDS * 2.0 ** min(tries, 10))
        self._backoffs[_key(item)] = (tries + 1, time.monotonic() + seconds)


def _key(item: Item) -> str:
    return item.replay_id if isinstance(item, OverdueRepair) else item.event_id
