"""Says every 2 s that this worker is alive and what it can do; ends the process when it lives and does no work.

A process whose long polls died behind a proxy lives on and does nothing. So canaries are run through it, and Temporal is asked
when it last asked for work. While Temporal is away, neither says anything of this process: it goes red, and stays. Tries and
pauses count, never a clock alone. `/readyz`, doctor, health checks and `makegood up` read the rows.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError

from domain.errors import Unavailable
from domain.values.timestamps import to_iso
from store.db.database import Database
from store.status.heartbeats import ENDED, SECRETS, beat, read_clocks
from store.status.installation import NAMESPACE, NAMESPACE_ID
from worker.health.canary import canary_queue
from worker.temporal.problems import REFUSED, Problem, reason_of
from worker.temporal.workflow_client import ReceiptWorkflowClient

BEAT_SECONDS = 2.0
END_SECONDS = 0.5
FIRST_LOOK_SECONDS = 0.25  # until the engine has heard this worker once

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """When a worker is red, and when it is lost. `silent`, `dead`: for so long the engine has not heard it ask for work."""

    look_seconds: float = 5.0
    # A healthy poll is answered, or asked again, within 60 s.
    silent_seconds: float = 75.0
    dead_seconds: float = 90.0
    canary_every_seconds: float = 15.0
    canary_patience_seconds: float = 25.0
    canary_fresh_seconds: float = 60.0
    # In a row, each taken by an engine that answered after it, and none in time to be fresh. An engine that did not hear the poll
    # for canaries in all that time has lost this process; one that did may be swamped by deadlines, and is given longer.
    canaries_lost_unheard: int = 3
    canaries_lost_heard: int = 9


USUAL = Bounds()


class PollingDied(Exception):
    """The engine answers, and this process does no work for it."""


class Heartbeat:
    """What one worker process says of itself. `identity` is its name in Temporal and in the store alike."""

    def __init__(
        self,
        database: Database,
        *,
        identity: str,
        started_at: datetime,
        bounds: Bounds = USUAL,
        secrets_known: tuple[str, ...] = (),
        host_now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """`secrets_known`: the fingerprints of the root secrets that this process knows."""
        self._database = database
        self._host_now = host_now
        self._identity = identity
        self._has_ended = False
        self._started_at = started_at
        self._bounds = bounds
        self._secrets_known = secrets_known
        self._engine_reachable = False
        self._polled_at: datetime | None = None
        self._unheard_seconds = 0.0
        self._canary_at: datetime | None = None
        self._canary_finished = 0.0  # by the monotonic clock
        self._canaries_lost = 0
        self._canary_polled_at: datetime | None = None  # as the engine had it when the first in a row was lost
        self._changed = asyncio.Event()
        self._more: Callable[[], Mapping[str, object]] = dict
        self._namespace: dict[str, object] = {}
        self._unknown_key_lookups: tuple[str, ...] = ()
        self._problem: Problem | None = None
        self._missing: dict[str, tuple[str, ...]] = {}  # what this process works without, by who found it

    def join(self, namespace_id: str, namespace: str) -> None:
        """This process works there now."""
        self._namespace = {NAMESPACE_ID: namespace_id, NAMESPACE: namespace}
        self._problem = None

    def is_in(self, namespace_id: str) -> bool:
        """Whether this process works there."""
        return self._namespace.get(NAMESPACE_ID) == namespace_id

    def leave_namespace(self) -> None:
        """The namespace that this process worked in is not there any more."""
        self._namespace = {}
        self._changed.set()

    def leave(self, problem: Problem | None) -> None:
        """This process does no work for Temporal, and why; None where that is nobody's fault."""
        if problem is not None and (self._problem is None or problem.kind is not self._problem.kind):
            log.warning("temporal_not_ready", kind=problem.kind.value, reason=problem.detail, fix=problem.fix)
        if problem != self._problem or self._namespace:
            self._changed.set()
        self._namespace, self._problem, self._missing, self._unknown_key_lookups = {}, problem, {}, ()
        self._polled_at, self._more, self._engine_reachable, self._unheard_seconds = None, dict, False, 0.0

    def work_without(self, found_by: str, missing: tuple[str, ...]) -> None:
        """What serves search or comfort and is not there; said once, and in each beat."""
        if missing == (before := self._missing.get(found_by, ())):
            return
        self._missing[found_by] = missing
        self._changed.set()
        (log.warning if missing else log.info)("temporal_lacks", missing=list(missing), before=list(before))

    def name_strangers(self, identities: tuple[str, ...]) -> None:
        """Workers that are not of this store take tasks of its receipts; said once, and in each beat."""
        if identities != self._unknown_key_lookups:
            self._changed.set()
            (log.warning if identities else log.info)("strangers_take_tasks", workers=list(identities))
        self._unknown_key_lookups = identities

    def report_also(self, more: Callable[[], Mapping[str, object]]) -> None:
        """Have each beat carry what this returns then, JSON values by name."""
        self._more = more

    async def heartbeat_loop(self) -> None:
        """Write a row every 2 s and at each change, for ever: a worker whose heart stops is taken for dead while it works."""
        while True:
            try:
                async with self._database.heartbeat() as session:
                    await self.write(session)
            except Unavailable:
                pass  # said by those who wanted more of the store than this
            except Exception:
                # The edge of this loop: whatever is wrong now, the next beat may be right.
                log.exception("heartbeat_failed")
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), BEAT_SECONDS)
            self._changed.clear()

    async def end(self) -> None:
        """A last beat: nobody needs to wait for what this process holds until it is taken for dead. It names no namespace."""
        self.leave(None)
        self._has_ended = True
        with suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(END_SECONDS), self._database.heartbeat() as session:
                await self.write(session)

    async def write(self, session: AsyncSession) -> None:
        """Write the row now."""
        now, clocks = await read_clocks(self._database, session, self._host_now)
        report = {**self._report(), **clocks} | ({ENDED: True} if self._has_ended else {})
        await beat(session, process=self._identity, role="worker", started_at=self._started_at, now=now, report=report)

    async def self_check_loop(self, gateway: ReceiptWorkflowClient) -> None:
        """Ask the engine every 5 s whether it hears this worker.

        Raises:
            PollingDied: it has not for long, while it answers.
        """
        while True:
            try:
                self._hear(await gateway.last_polled_by(self._identity))
            except RPCError as error:
                if error.status in REFUSED:
                    self._answer_refused(error)
                else:
                    self._lose_engine()
            if self._unheard_seconds > self._bounds.dead_seconds:
                raise PollingDied(self._identity)
            pause = FIRST_LOOK_SECONDS if self._polled_at is None else self._bounds.look_seconds
            await asyncio.sleep(pause)
            # As long as was meant: a process that was stopped meanwhile looks once before it counts on.
            self._unheard_seconds += pause

    async def canary_loop(self, run_canary: Callable[[], Awaitable[None]], gateway: ReceiptWorkflowClient) -> None:
        """Run the canary several times a minute, and again soon when it did not come back.

        Raises:
            PollingDied: several were lost in a row and none finished for too long, while the engine answers.
        """
        while True:
            try:
                async with asyncio.timeout(self._bounds.canary_patience_seconds):
                    await run_canary()
            except RPCError as error:
                # Not even taken: the engine's trouble, or the way to it.
                self._canaries_lost = 0
                if error.status in REFUSED:
                    self.miss_canary(reason_of(error))
                    await asyncio.sleep(self._bounds.canary_every_seconds)
            except (TimeoutError, WorkflowFailureError) as error:
                await self._lose_canary(gateway, error)
            else:
                self._finish_canary()
                await asyncio.sleep(self._bounds.canary_every_seconds)
                continue
            await asyncio.sleep(self._bounds.look_seconds / 5)

    def miss_canary(self, reason: str) -> None:
        """No canary can be run here: that says nothing of this process."""
        self.work_without("canary", (f"canary: {reason}",))

    def _finish_canary(self) -> None:
        self.work_without("canary", ())
        if not self._is_canary_fresh():
            self._changed.set()
        if self._canaries_lost:
            log.info("canary_finishes_again", lost=self._canaries_lost)
        self._canary_at, self._canary_finished, self._canaries_lost = datetime.now(UTC), time.monotonic(), 0

    async def _lose_canary(self, gateway: ReceiptWorkflowClient, error: Exception) -> None:
        try:
            polled_at = await gateway.last_polled_by(self._identity, canary_queue(self._identity))
        except RPCError as refusal:
            if refusal.status not in REFUSED:
                self._lose_engine()
                self._canaries_lost = 0
                return
            self._answer_refused(refusal)
            polled_at = datetime.now(UTC)  # never the one before, so that the longer patience counts
        if not self._canaries_lost:
            self._canary_polled_at = polled_at
        self._canaries_lost += 1
        is_heard = polled_at != self._canary_polled_at
        log.warning("canary_lost", in_a_row=self._canaries_lost, is_heard=is_heard, error=type(error).__name__)
        if self._is_canary_fresh():
            return
        self._changed.set()
        most = self._bounds.canaries_lost_heard if is_heard else self._bounds.canaries_lost_unheard
        if self._canaries_lost >= most:
            raise PollingDied(self._identity)

    def _answer_refused(self, error: RPCError) -> None:
        """Temporal answers, and does not say who asks for work: then the canaries alone do."""
        self._find_engine()
        self.work_without("polls", (f"DescribeTaskQueue: {reason_of(error)}",))
        self._polled_at, self._unheard_seconds = None, 0.0

    def _find_engine(self) -> None:
        if not self._engine_reachable:
            log.info("engine_reachable")
            self._changed.set()
        self._engine_reachable = True

    def _hear(self, polled_at: datetime | None) -> None:
        self._find_engine()
        self.work_without("polls", ())
        # That it moves is what counts.
        if polled_at is not None and polled_at != self._polled_at:
            if self._polled_at is None:
                self._changed.set()
            self._polled_at = polled_at
            self._unheard_seconds = 0.0

    def _lose_engine(self) -> None:
        if self._engine_reachable:
            log.warning("engine_unreachable")
            self._changed.set()
        self._engine_reachable = False
        # Nothing can be said of the polls now: begin to count when it is back.
        self._unheard_seconds = 0.0

    def _is_canary_fresh(self) -> bool:
        return self._canary_at is not None and time.monotonic() - self._canary_finished <= self._bounds.canary_fresh_seconds

    def _report(self) -> dict[str, object]:
        is_polling = self._polled_at is not None and self._unheard_seconds < self._bounds.silent_seconds
        # Where Temporal does not say who polls, a canary that came back does.
        is_polling = is_polling or (bool(self._missing.get("polls")) and self._is_canary_fresh())
        cannot_run_canaries = bool(self._missing.get("canary")) and not self._is_canary_fresh()
        report: dict[str, object] = {
            "engine_reachable": self._engine_reachable,
            "pollers_alive": self._engine_reachable and is_polling,
            "canary_fresh": None if cannot_run_canaries else self._is_canary_fresh(),
            "canary_at": None if self._canary_at is None else to_iso(self._canary_at),
            SECRETS: list(self._secrets_known),
            **self._namespace,
            **self._more(),
        }
        if missing := [line for lines in self._missing.values() for line in lines]:
            report["missing"] = missing
        if self._unknown_key_lookups:
            report["strangers"] = list(self._unknown_key_lookups)
        if self._problem is not None:
            report["temporal_problem"] = self._problem.as_report()
        return report
