"""Writes the ingest heartbeat at least every 2 s, on the ingest connection.

A heartbeat records that ingest could commit (`store.ingest.outage_evidence`). None is written while
most requests are refused because the store is unavailable. Used by `store.ingest.group_commit`
between its batches.
"""

import asyncio
from collections.abc import Callable

import structlog
import uuid_utils

from domain.outage import heartbeat_interval
from store.db.database import Clock
from store.ingest.connection import IngestConnection
from store.ingest.outage_evidence import write_ingest_heartbeat
from store.ingest.outcomes import IngestOutcomes

log = structlog.get_logger(__name__)


class IngestHeartbeat:
    """Writes the heartbeat row of an API process for as long as it can commit receipts.

    It calls `on_due` when `write_if_due` is due again.
    """

    def __init__(
        self,
        connection: IngestConnection,
        clock: Clock,
        outcomes: IngestOutcomes,
        *,
        on_due: Callable[[], None],
    ) -> None:
        self._connection = connection
        self._clock = clock
        self._outcomes = outcomes
        self._on_due = on_due
        self._process = f"ingest_{uuid_utils.uuid7().hex}"
        self._outage_seconds: int | None = None
        self._due_at = 0.0
        self._is_failing = False

    async def start(self, *, outage_seconds: int | None) -> None:
        """Write heartbeats from now on. None: never."""
        self._outage_seconds = outage_seconds
        await self.write_if_due()

    async def write_if_due(self) -> None:
        loop = asyncio.get_running_loop()
        if self._outage_seconds is not None and loop.time() >= self._due_at:
            await self._write(self._outage_seconds)
            every_seconds = heartbeat_interval(self._outage_seconds).total_seconds()
            self._due_at = loop.time() + every_seconds
            loop.call_later(every_seconds, self._on_due)

    async def end(self) -> None:
        """Write the last heartbeat: this committer accepts no more requests."""
        if self._outage_seconds is not None:
            await self._write(self._outage_seconds, has_ended=True)

    async def _write(self, outage_seconds: int, *, has_ended: bool = False) -> None:
        """Write a heartbeat, unless most requests since the last call were refused."""
        is_refusing = self._outcomes.reset_and_check_refusing(outage_seconds=outage_seconds)
        try:
            if not is_refusing:
                async with self._connection.transaction(short_lock_timeout=True) as statements:
                    outage = await write_ingest_heartbeat(
                        statements,
                        self._clock,
                        process=self._process,
                        outage_seconds=outage_seconds,
                        has_ended=has_ended,
                    )
                if outage is not None:
                    seconds = (outage.up_at - outage.down_from) // 1000
                    log.warning("outage_recorded", outage=outage.id, seconds=seconds)
            self._log_failing(is_refusing, "refuses")
        # a process edge: a later heartbeat succeeds, or this is an outage
        except Exception as error:
            self._log_failing(True, type(error).__name__)

    def _log_failing(self, is_failing: bool, reason: str) -> None:
        if is_failing and not self._is_failing:
            log.warning("ingest_heartbeat_missing", reason=reason)
        self._is_failing = is_failing
