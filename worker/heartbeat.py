"""Says every 2 s that this worker is alive and what it can do; ends the process when its own polling has died.

Looks from outside: a process whose long polls died behind a proxy lives on and does nothing, so that the engine is asked when it
last heard from this worker, and a canary workflow is run through the whole of it. `/readyz` and doctor read the rows.
"""

import asyncio
import time
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError

from domain.errors import Unavailable
from domain.instants import wire
from store.database import Database
from store.heartbeats import beat
from worker.gateway import Gateway

BEAT_SECONDS = 2.0
LOOK_SECONDS = 5.0
FIRST_LOOK_SECONDS = 0.25  # until the engine has heard this worker once
CANARY_SECONDS = 30.0
# A healthy poll is answered, or asked again, within 60 s.
SILENT_AFTER_SECONDS = 75.0
DEAD_AFTER_SECONDS = SILENT_AFTER_SECONDS + 60.0

log = structlog.get_logger(__name__)


class PollingDied(Exception):
    """The engine answers, and has not heard this worker ask for work for over a minute."""


class Heartbeat:
    """What one worker process says of itself. `identity` is its name in Temporal and in the store alike."""

    def __init__(self, database: Database, *, identity: str, started_at: datetime) -> None:
        self._database = database
        self._identity = identity
        self._started_at = started_at
        self._engine_reachable = False
        self._polled_at: datetime | None = None
        self._heard_at = time.monotonic()
        self._canary_at: datetime | None = None
        self._changed = asyncio.Event()

    async def keep_beating(self) -> None:
        """Write a row every 2 s and at each change, for ever: a worker whose heart stops is taken for dead while it works."""
        while True:
            try:
                async with self._database.transaction() as session:
                    await self._beat(session)
            except Unavailable:
                pass  # said by those who wanted more of the store than this
            except Exception:
                # The edge of this loop: whatever is wrong now, the next beat may be right.
                log.exception("heartbeat_failed")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), BEAT_SECONDS)
            self._changed.clear()

    async def _beat(self, session: AsyncSession) -> None:
        now = await self._database.now(session)
        report = self._report()
        await beat(session, process=self._identity, role="worker", started_at=self._started_at, now=now, report=report)

    async def keep_looking(self, gateway: Gateway) -> None:
        """Ask the engine every 5 s whether it hears this worker.

        Raises:
            PollingDied: it has not for long, while it answers.
        """
        self._heard_at = time.monotonic()
        while True:
            try:
                self._hear(await gateway.last_polled_by(self._identity))
            except RPCError:
                self._lose_engine()
            if time.monotonic() - self._heard_at > DEAD_AFTER_SECONDS:
                raise PollingDied(self._identity)
            await asyncio.sleep(FIRST_LOOK_SECONDS if self._polled_at is None else LOOK_SECONDS)

    async def keep_running_canaries(self, gateway: Gateway) -> None:
        """Run the canary every half minute; one that does not come back is logged."""
        while True:
            try:
                await gateway.run_canary(self._identity)
                self._canary_at = datetime.now(UTC)
            except (RPCError, WorkflowFailureError) as error:
                log.warning("canary_failed", error=type(error).__name__)
            await asyncio.sleep(CANARY_SECONDS)

    def _hear(self, polled_at: datetime | None) -> None:
        if not self._engine_reachable:
            log.info("engine_reachable")
            self._changed.set()
        self._engine_reachable = True
        # That it moves is what counts; the engine's clock and ours are never compared.
        if polled_at is not None and polled_at != self._polled_at:
            if self._polled_at is None:
                self._changed.set()
            self._polled_at = polled_at
            self._heard_at = time.monotonic()

    def _lose_engine(self) -> None:
        if self._engine_reachable:
            log.warning("engine_unreachable")
            self._changed.set()
        self._engine_reachable = False
        # Nothing can be said of the polls now: begin to count when it is back.
        self._heard_at = time.monotonic()

    def _report(self) -> dict[str, object]:
        is_polling = self._polled_at is not None and time.monotonic() - self._heard_at < SILENT_AFTER_SECONDS
        return {
            "engine_reachable": self._engine_reachable,
            "pollers_alive": self._engine_reachable and is_polling,
            "canary_at": None if self._canary_at is None else wire(self._canary_at),
        }
