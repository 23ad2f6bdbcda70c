"""Writes a heartbeat of this API process every 2 s, and periodically which keys were used.

The heartbeat does not describe ingest: the committer records itself whether it can commit
(`store.ingest.outage_evidence`). Each heartbeat is a separate transaction, so that maintenance
work cannot delay it.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
import uuid_utils

from api.auth.api_keys import ApiKeyCache
from domain.errors import Unavailable
from domain.outage import heartbeat_interval
from store.crypto.encryption import Sealer
from store.crypto.process_secrets import redigest_keys
from store.db.database import Database
from store.projects import api_keys as keys
from store.status import heartbeats

logger = structlog.get_logger(__name__)

HEARTBEATS_BETWEEN_MAINTENANCE = 15


class ApiHeartbeat:
    """The heartbeat of one API process."""

    def __init__(
        self,
        *,
        database: Database,
        key_cache: ApiKeyCache,
        accepted: Callable[[], int],
        outage_seconds: int,
        sealer: Sealer,
        host_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`accepted` returns the number of 202 responses since this process started."""
        self._host_now = host_now
        self._host_ahead = timedelta()
        self._database, self._sealer = database, sealer
        self._key_cache, self._accepted = key_cache, accepted
        self._every_seconds = heartbeat_interval(outage_seconds).total_seconds()
        self.process = f"api_{uuid_utils.uuid7().hex}"
        self._started_at: datetime | None = None
        self._accepted_before = 0
        self._written = 0
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def store_now(self) -> datetime:
        """The time of the store's clock, estimated from the last heartbeat without a query."""
        return self._host_now() - self._host_ahead + self._database.clock.skew

    async def start(self) -> None:
        """Write the first heartbeat and start the loop. An unreachable store is tried again."""
        await self._try_to_write()
        self._task = asyncio.create_task(self._run(), name="api-heartbeat")

    async def stop(self) -> None:
        """Stop the loop and write a last heartbeat, marked as the last."""
        self._stop.set()
        if self._task is not None:
            await self._task
            await self._try_to_write(is_last=True)

    async def write(self, *, is_last: bool = False) -> None:
        """Write one heartbeat, then run the maintenance that is due.

        Raises: Unavailable.
        """
        accepted = self._accepted()
        per_second = round((accepted - self._accepted_before) / self._every_seconds, 1)
        report: dict[str, object] = {"accepted_per_second": per_second, "accepted": accepted}
        report |= {heartbeats.SECRETS: [root.fingerprint for root in self._sealer.roots]}
        report |= {heartbeats.ENDED: True} if is_last else {}
        async with self._database.heartbeat() as session:
            now, clocks = await heartbeats.read_clocks(self._database, session, self._host_now)
            report |= clocks
            ahead_seconds = clocks.get(heartbeats.CLOCK, self._host_ahead.total_seconds())
            self._host_ahead = timedelta(seconds=ahead_seconds)
            self._started_at = self._started_at or now
            await heartbeats.write_heartbeat(
                session,
                process=self.process,
                role="api",
                started_at=self._started_at,
                now=now,
                report=report,
            )
        self._accepted_before = accepted
        self._written += 1
        is_due = is_last or (self._written - 1) % HEARTBEATS_BETWEEN_MAINTENANCE == 0
        await self._run_maintenance(is_due=is_due)

    async def _run_maintenance(self, *, is_due: bool) -> None:
        outdated = self._key_cache.drain_outdated_keys()
        if not is_due and not outdated:
            return
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            if is_due:
                used = self._key_cache.drain_used_keys()
                await keys.touch_keys(session, dict.fromkeys(used, now))
                await heartbeats.forget_stale(session, now)
            await redigest_keys(session, self._sealer, outdated)

    async def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._every_seconds)
            if not self._stop.is_set():
                await self._try_to_write()

    async def _try_to_write(self, *, is_last: bool = False) -> None:
        try:
            await self.write(is_last=is_last)
        except Unavailable:
            logger.warning("heartbeat skipped: store unavailable")
        except Exception:
            # The edge of a background task: a failed heartbeat must not end the loop.
            logger.exception("heartbeat failed")
