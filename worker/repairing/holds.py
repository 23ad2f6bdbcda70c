"""Ends holds whose time is over, and releases their repairs in order.

A turn ends due holds, then releases some repairs of each hold that ended. Holds of all projects get
a turn, and a project with thousands of held repairs delays no other. Every worker runs it; each
repair is released once. Needs only the store. Run by `worker.build`.
"""

import asyncio

import structlog

from domain.errors import Unavailable
from domain.ids import EventId, HoldId, ProjectId, ReplayId
from domain.values.round_robin import round_robin
from store.db.database import Database
from store.db.sql import SessionStatements, limit_lock_wait
from store.receipts.held.release import (
    end_due_holds,
    held_repairs,
    holds_to_release,
    mark_released,
    release_repair,
)
from worker.loops.backoffs import Backoffs

HOLDS_AT_ONCE = 50
RELEASED_AT_ONCE = 20  # of one hold, in one turn
# Repairs that are backed off do not hide the others of their hold.
READ_AT_ONCE = 200
# Between transactions: on SQLite ingest waits while one writes.
PAUSE_SECONDS = 0.005

log = structlog.get_logger(__name__)


class HoldReleases:
    """The loop of one worker process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._after: HoldId | None = None
        self._backoffs = Backoffs(first_seconds=5)

    async def release_loop(self, *, every_seconds: float) -> None:
        """Take turns for ever, without a pause while there is more to release."""
        while True:
            has_more = False
            try:
                has_more = await self.turn()
            except Unavailable:
                log.warning("holds_store_unavailable")
            except Exception:
                # The edge of this loop: it must not end the worker.
                log.exception("holds_failed")
            await asyncio.sleep(PAUSE_SECONDS if has_more else every_seconds)

    async def turn(self) -> bool:
        """End due holds, and release the next repairs. Returns whether there is more."""
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            await end_due_holds(session, now, limit=HOLDS_AT_ONCE)
        async with self._database.reading() as session:
            holds = await holds_to_release(session, after=self._after, limit=HOLDS_AT_ONCE)
        self._after = holds[-1][0] if len(holds) == HOLDS_AT_ONCE else None
        in_turn = round_robin(holds, lambda hold: hold[1])
        left = [await self._release_some(hold_id, project) for hold_id, project in in_turn]
        self._backoffs.forget_old()
        return any(left) or self._after is not None

    async def _release_some(self, hold_id: HoldId, project_id: ProjectId) -> bool:
        """Release the next repairs of one ended hold. Returns whether it has more that are ready.

        A hold that fails is tried again later, and does not stop the others.
        """
        if not self._backoffs.is_ready(hold_id):
            return False
        try:
            async with self._database.reading() as session:
                held = await held_repairs(session, hold_id, limit=READ_AT_ONCE)
            ready = [repair for repair in held if self._backoffs.is_ready(repair[1])]
            for event_id, replay_id in ready[:RELEASED_AT_ONCE]:
                await self._release(event_id, replay_id, project_id)
            if not held:
                async with self._database.transaction() as session:
                    await mark_released(session, hold_id, await self._database.now(session))
        except Unavailable:
            raise
        except Exception:
            self._backoffs.back_off(hold_id)
            log.exception("hold_not_released", hold_id=hold_id)
            return False
        self._backoffs.forget(hold_id)
        return bool(ready)

    async def _release(self, event_id: EventId, replay_id: ReplayId, project_id: ProjectId) -> None:
        try:
            async with self._database.transaction() as session:
                st = SessionStatements(session)
                await limit_lock_wait(st)
                now = await self._database.now(session)
                await release_repair(st, event_id, replay_id, now)
        except Exception as error:
            # The edge of one repair: a locked or broken one does not stop the others.
            self._backoffs.back_off(replay_id)
            log.warning(
                "held_repair_not_released",
                replay_id=replay_id,
                event_id=event_id,
                project_id=project_id,
                error=type(error).__name__,
            )
        else:
            self._backoffs.forget(replay_id)
        await asyncio.sleep(PAUSE_SECONDS)
