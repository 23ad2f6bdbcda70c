"""Says every 2 s, or oftener, that this API process lives, and credits an outage of ingest to the deadlines that were open in it.

Each beat looks at the last one that any API process wrote: when that is longer ago than the setting allows, ingest was down since
then, whether nothing ran, the machine slept, or the store was gone. One transaction notices, credits and beats, so that an
outage is credited once. Also writes down, now and then, which keys were used.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

import structlog
import uuid_utils
from sqlalchemy.ext.asyncio import AsyncSession

from api.auth import KeyRing
from domain.errors import Unavailable
from domain.instants import wire
from domain.outages import beat_interval
from store import heartbeats, keys, moves, rotation
from store.database import Database
from store.sealing import Sealer
from store.statements import SessionStatements

logger = structlog.get_logger(__name__)

BEATS_BETWEEN_CHORES = 15
OUTAGE_FACT = "outage_noticed_at"


class Pulse:
    """The heartbeat of one API process."""

    def __init__(
        self, *, database: Database, key_ring: KeyRing, accepted: Callable[[], int], outage_seconds: int, sealer: Sealer
    ) -> None:
        """`accepted` counts what was answered with 202 since this process began."""
        self._database, self._key_ring, self._accepted, self._sealer = database, key_ring, accepted, sealer
        self._outage = timedelta(seconds=outage_seconds)
        self._every_seconds = beat_interval(outage_seconds).total_seconds()
        self._process = f"api_{uuid_utils.uuid7().hex}"
        self._started_at: datetime | None = None
        self._accepted_before = 0
        self._beats = 0
        self._stop = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Beat once, which credits an outage that ends now, and go on beating. A store that is away now is tried again."""
        await self._try_to_beat()
        self._task = asyncio.create_task(self._run(), name="pulse")

    async def stop(self) -> None:
        """Beat a last time and say so: an outage is counted from here, and no deadline waits to find out."""
        self._stop.set()
        if self._task is not None:
            await self._task
            await self._try_to_beat(is_last=True)

    async def beat(self, *, is_last: bool = False) -> int:
        """One beat; how many receipts an outage was credited to.

        Raises: Unavailable.
        """
        accepted = self._accepted()
        per_second = round((accepted - self._accepted_before) / self._every_seconds, 1)
        report: dict[str, object] = {"accepted_per_second": per_second, "accepted": accepted}
        report |= {heartbeats.SECRETS: [root.fingerprint for root in self._sealer.roots]}
        report |= {heartbeats.ENDED: True} if is_last else {}
        async with self._database.heartbeat() as session:
            credited = await self._credit_outage(session, await self._database.now(session))
            # Read again: the credit itself may take long, and a beat from before it would look like the next outage.
            now = await self._database.now(session)
            self._started_at = self._started_at or now
            await heartbeats.beat(session, process=self._process, role="api", started_at=self._started_at, now=now, report=report)
            if is_last or self._beats % BEATS_BETWEEN_CHORES == 0:
                await keys.touch_keys(session, dict.fromkeys(self._key_ring.take_used(), now))
                await heartbeats.forget_stale(session, now)
            await rotation.redigest_keys(session, self._sealer, self._key_ring.take_outdated())
        self._accepted_before = accepted
        self._beats += 1
        return credited

    async def _run(self) -> None:
        while not self._stop.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stop.wait(), self._every_seconds)
            if not self._stop.is_set():
                await self._try_to_beat()

    async def _try_to_beat(self, *, is_last: bool = False) -> None:
        try:
            credited = await self.beat(is_last=is_last)
        except Unavailable:
            logger.warning("no heartbeat: the store is away")
        except Exception:
            # The edge of a task of its own: a beat that fails must not end the beating.
            logger.exception("heartbeat failed")
        else:
            if credited:
                logger.warning("outage credited", receipts=credited)

    async def _credit_outage(self, session: AsyncSession, now: datetime) -> int:
        if not await self._is_outage(session, now):
            return 0
        # One row that all API processes write: a second one waits here until the first has beaten, and then finds no outage.
        await heartbeats.write_fact(session, OUTAGE_FACT, wire(now))
        down_from = await heartbeats.latest_api_beat(session)
        if down_from is None or not await self._is_outage(session, now):
            return 0
        return await moves.credit_outage(SessionStatements(session), down_from=down_from, now=now)

    async def _is_outage(self, session: AsyncSession, now: datetime) -> bool:
        if not self._outage:
            return False
        last_at = await heartbeats.latest_api_beat(session)
        return last_at is not None and now - last_at > self._outage
