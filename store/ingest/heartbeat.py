"""Says every 2 s or oftener, on the front door's own connection, that it could commit: the beat of ingest
(`store.ingest.outage_evidence`).

No beat is written while most of what comes is refused for want of the store. Used by `store.ingest.group_commit` between its
batches.
"""

import asyncio
import logging
from collections.abc import Callable

import uuid_utils

from domain.outage import beat_interval
from store.db.database import Clock
from store.ingest.connection import IngestConnection
from store.ingest.outage_evidence import beat_ingest
from store.ingest.outcomes import Served

log = logging.getLogger(__name__)


class IngestHeartbeat:
    """The beats of one front door. `wake` has it ask `beat_if_due` again."""

    def __init__(self, front_door: IngestConnection, clock: Clock, served: Served, *, wake: Callable[[], None]) -> None:
        self._front_door, self._clock, self._served, self._wake = front_door, clock, served, wake
        self._process = f"ingest_{uuid_utils.uuid7().hex}"
        self._outage_seconds: int | None = None
        self._due_at = 0.0
        self._is_failing = False

    async def start(self, *, outage_seconds: int | None) -> None:
        """Beat from now on; None: never."""
        self._outage_seconds = outage_seconds
        await self.beat_if_due()

    async def beat_if_due(self) -> None:
        if self._outage_seconds is not None and asyncio.get_running_loop().time() >= self._due_at:
            await self._beat(self._outage_seconds)
            every_seconds = beat_interval(self._outage_seconds).total_seconds()
            loop = asyncio.get_running_loop()
            self._due_at = loop.time() + every_seconds
            loop.call_later(every_seconds, self._wake)

    async def end(self) -> None:
        """The last beat: this front door takes nothing more."""
        if self._outage_seconds is not None:
            await self._beat(self._outage_seconds, has_ended=True)

    async def _beat(self, outage_seconds: int, *, has_ended: bool = False) -> None:
        """Say that ingest could commit now, unless it could not, or most of what came since the last time was refused."""
        is_refusing = self._served.take_is_refusing(outage_seconds=outage_seconds)
        try:
            if not is_refusing:
                async with self._front_door.transaction(short_lock_timeout=True) as statements:
                    outage = await beat_ingest(
                        statements,
                        self._clock,
                        process=self._process,
                        outage_seconds=outage_seconds,
                        has_ended=has_ended,
                    )
                if outage is not None:
                    seconds = (outage.up_at - outage.down_from) // 1000
                    log.warning("an outage of ingest is credited", extra={"outage": outage.id, "seconds": seconds})
            self._say_failing(is_refusing, "refuses")
        except Exception as error:  # a process edge: what cannot be said now is said later, or is an outage
            self._say_failing(True, type(error).__name__)

    def _say_failing(self, is_failing: bool, reason: str) -> None:
        if is_failing and not self._is_failing:
            log.warning("ingest does not commit: no beat", extra={"reason": reason})
        self._is_failing = is_failing
