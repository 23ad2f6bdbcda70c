"""Writes the worker's heartbeat every 2 s: that the process is alive, and what it can do.

`/readyz`, `makegood doctor`, health checks and `makegood up` read the rows. The self checks are in
`worker.health.self_check`, what is known about the namespace in `worker.health.report`.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import Unavailable
from store.db.database import Database
from store.status.heartbeats import ENDED, SECRETS, read_clocks, write_heartbeat
from worker.health.report import WorkerReport
from worker.health.self_check import SelfCheck
from worker.health.thresholds import DEFAULT_THRESHOLDS, HealthThresholds
from worker.temporal.problems import Problem

HEARTBEAT_SECONDS = 2.0
END_SECONDS = 0.5

log = structlog.get_logger(__name__)


class WorkerHeartbeat:
    """The heartbeat of one worker process.

    `identity` is its name both in Temporal and in the store.
    """

    def __init__(
        self,
        database: Database,
        *,
        identity: str,
        started_at: datetime,
        thresholds: HealthThresholds = DEFAULT_THRESHOLDS,
        secrets_known: tuple[str, ...] = (),
        host_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`secrets_known`: the fingerprints of the root secrets that this process knows."""
        self.report = WorkerReport()
        self.self_check = SelfCheck(identity, thresholds, self.report)
        self._database = database
        self._host_now = host_now
        self._identity = identity
        self._has_ended = False
        self._started_at = started_at
        self._secrets_known = secrets_known

    def leave(self, problem: Problem | None) -> None:
        """Report that this process does no work for Temporal, and why.

        None: it ends, which is no problem.
        """
        self.report.leave(problem)
        self.self_check.reset()

    async def heartbeat_loop(self) -> None:
        """Write a row every 2 s and at each change, for ever.

        The loop survives every error: without a heartbeat a working worker would be taken for dead.
        """
        while True:
            try:
                async with self._database.heartbeat() as session:
                    await self.write(session)
            except Unavailable:
                pass  # logged by the loops that do more with the store
            except Exception:
                # The edge of this loop: the next heartbeat may succeed.
                log.exception("heartbeat_failed")
            with suppress(TimeoutError):
                await asyncio.wait_for(self.report.changed.wait(), HEARTBEAT_SECONDS)
            self.report.changed.clear()

    async def end(self) -> None:
        """Write a last row that says that this process has ended, and that names no namespace.

        Other processes then take over its leases at once.
        """
        self.leave(None)
        self._has_ended = True
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(END_SECONDS), self._database.heartbeat() as session:
                await self.write(session)

    async def write(self, session: AsyncSession) -> None:
        """Write the row now."""
        now, clocks = await read_clocks(self._database, session, self._host_now)
        report = {**self._report(), **clocks} | ({ENDED: True} if self._has_ended else {})
        await write_heartbeat(
            session,
            process=self._identity,
            role="worker",
            started_at=self._started_at,
            now=now,
            report=report,
        )

    def _report(self) -> dict[str, object]:
        return {
            **self.self_check.as_json(),
            SECRETS: list(self._secrets_known),
            **self.report.as_json(),
        }
