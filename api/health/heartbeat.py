"""Says every 2 s that this API process lives and what it knows of itself; now and then also which keys were used.

It says nothing of ingest: whether that could commit, the committer says for itself (`store.ingest.outage_evidence`). The beat is
a transaction of its own, so that no chore beside it holds it up.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import structlog
import uuid_utils

from api.auth.api_keys import ApiKeyCache
from domain.errors import Unavailable
from domain.outage import beat_interval
from store.crypto import root_secret as rotation
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects import api_keys as keys
from store.status import heartbeats

logger = structlog.get_logger(__name__)

BEATS_BETWEEN_CHORES = 15


class ApiHeartbeat:
    """The heartbeat of one API process."""

    def __init__(
        self,
        *,
        database: Database,
        key_ring: ApiKeyCache,
        accepted: Callable[[], int],
        outage_seconds: int,
        sealer: Sealer,
        host_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`accepted` counts what was answered with 202 since this process began."""
        self._host_now = host_now
        self._host_ahead = timedelta()
        self._database, self._key_ring, self._accepted, self._sealer = database, key_ring, accepted, sealer
        self._every_seconds = beat_interval(outage_seconds).total_seconds()
        self.process = f"api_{uuid_utils.uuid7().hex}"
        self._started_at: datetime | None = None
        self._accepted_before = 0
        self._beats = 0
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def store_now(self) -> datetime:
        """This instant by the store's clock as the last beat found it, without asking the store."""
        return self._host_now() - self._host_ahead + self._database.clock.skew

    async def start(self) -> None:
        """Beat once and go on beating. A store that is away now is tried again."""
        await self._try_to_beat()
        self._task = asyncio.create_task(self._run(), name="pulse")

    async def stop(self) -> None:
        """Beat a last time, and say that it is the last."""
        self._stop.set()
        if self._task is not None:
            await self._task
            await self._try_to_beat(is_last=True)

    async def beat(self, *, is_last: bool = False) -> None:
        """One beat, and the chores that are due after it.

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
            self._host_ahead = timedelta(seconds=clocks.get(heartbeats.CLOCK, self._host_ahead.total_seconds()))
            self._started_at = self._started_at or now
            await heartbeats.beat(session, process=self.process, role="api", started_at=self._started_at, now=now, report=report)
        self._accepted_before = accepted
        self._beats += 1
        await self._do_chores(is_due=is_last or (self._beats - 1) % BEATS_BETWEEN_CHORES == 0)

    async def _do_chores(self, *, is_due: bool) -> None:
        outdated = self._key_ring.take_outdated()
        if not is_due and not outdated:
            return
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            if is_due:
                await keys.touch_keys(session, dict.fromkeys(self._key_ring.take_used(), now))
                await heartbeats.forget_stale(session, now)
            await rotation.redigest_keys(session, self._sealer, outdated)

    async def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._every_seconds)
            if not self._stop.is_set():
                await self._try_to_beat()

    async def _try_to_beat(self, *, is_last: bool = False) -> None:
        try:
            await self.beat(is_last=is_last)
        except Unavailable:
            logger.warning("no heartbeat: the store is away")
        except Exception:
            # The edge of a task of its own: a beat that fails must not end the beating.
            logger.exception("heartbeat failed")
