"""Checks whether this process does work for Temporal, by its polls and by canary workflows.

A process whose long polls died behind a proxy keeps running and does nothing. Two checks find that:

1. Temporal is asked when it last saw a poll of this process.
2. Canary workflows run on a task queue that this process alone serves.

While Temporal is unavailable, neither check says anything about this process: it reports itself
unhealthy and keeps running. Only failed checks and completed pauses count. A clock alone decides
nothing. Run by `worker.connection_loop`; `worker.health.heartbeat` writes the findings to the
store.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

import structlog
from temporalio.client import WorkflowFailureError
from temporalio.service import RPCError

from domain.values.timestamps import to_iso
from worker.health.canary import canary_queue
from worker.health.report import WorkerReport
from worker.health.thresholds import HealthThresholds, PollingDied
from worker.temporal.problems import REFUSED, reason_of
from worker.temporal.workflow_client import ReceiptWorkflowClient

FIRST_CHECK_SECONDS = 0.25  # until Temporal has seen the first poll of this worker
POLLS, CANARY = "polls", "canary"  # the checks, as the report names them

log = structlog.get_logger(__name__)


class SelfCheck:
    """The self checks of one worker process. `identity` is its name in Temporal."""

    def __init__(self, identity: str, thresholds: HealthThresholds, report: WorkerReport) -> None:
        self._identity = identity
        self._thresholds = thresholds
        self._report = report
        self._is_temporal_reachable = False
        self._polled_at: datetime | None = None
        self._unpolled_seconds = 0.0
        self._canary_at: datetime | None = None
        self._canary_finished = 0.0  # by the monotonic clock
        self._canaries_timed_out = 0  # in a row
        self._canary_polled_at: datetime | None = (
            None  # what Temporal reported when the first in a row timed out
        )

    def reset(self) -> None:
        """Start without polls, because this process works for no Temporal now."""
        self._polled_at, self._is_temporal_reachable, self._unpolled_seconds = None, False, 0.0

    def as_json(self) -> dict[str, object]:
        """The findings now, as JSON values by name."""
        is_fresh = self._is_canary_fresh()
        is_polling = (
            self._polled_at is not None and self._unpolled_seconds < self._thresholds.silent_seconds
        )
        # Where Temporal does not list pollers, a fresh canary proves the polls.
        is_polling = is_polling or (bool(self._report.missing(POLLS)) and is_fresh)
        cannot_run_canaries = bool(self._report.missing(CANARY)) and not is_fresh
        return {
            "temporal_reachable": self._is_temporal_reachable,
            "pollers_alive": self._is_temporal_reachable and is_polling,
            "canary_fresh": None if cannot_run_canaries else is_fresh,
            "canary_at": None if self._canary_at is None else to_iso(self._canary_at),
        }

    async def poll_check_loop(self, workflow_client: ReceiptWorkflowClient) -> None:
        """Ask Temporal every 5 s when it last saw a poll of this worker.

        Raises:
            PollingDied: Temporal answers, but has seen no poll for `dead_seconds`.
        """
        while True:
            try:
                self._record_poll(await workflow_client.last_polled_by(self._identity))
            except RPCError as error:
                if error.status in REFUSED:
                    self._record_refused_poll_check(error)
                else:
                    self._mark_unreachable()
            if self._unpolled_seconds > self._thresholds.dead_seconds:
                raise PollingDied(self._identity)
            pause = (
                FIRST_CHECK_SECONDS if self._polled_at is None else self._thresholds.check_seconds
            )
            await asyncio.sleep(pause)
            # Counts the intended pause, so that a process that was suspended checks once before it
            # counts on.
            self._unpolled_seconds += pause

    async def canary_loop(
        self, run_canary: Callable[[], Awaitable[None]], workflow_client: ReceiptWorkflowClient
    ) -> None:
        """Run a canary several times a minute, and retry soon after one that timed out.

        Raises:
            PollingDied: several canaries timed out in a row, none is fresh, and Temporal answers.
        """
        while True:
            try:
                async with asyncio.timeout(self._thresholds.canary_timeout_seconds):
                    await run_canary()
            except RPCError as error:
                # The canary was not even started: the fault is Temporal's, or the network's.
                self._canaries_timed_out = 0
                if error.status in REFUSED:
                    self.report_canary_unavailable(reason_of(error))
                    await asyncio.sleep(self._thresholds.canary_every_seconds)
            except (TimeoutError, WorkflowFailureError) as error:
                await self._record_canary_timeout(workflow_client, error)
            else:
                self._record_canary_success()
                await asyncio.sleep(self._thresholds.canary_every_seconds)
                continue
            await asyncio.sleep(self._thresholds.check_seconds / 5)

    def report_canary_unavailable(self, reason: str) -> None:
        """Report that no canary can run here, which says nothing about this process."""
        self._report.set_missing(CANARY, (f"canary: {reason}",))

    def _record_canary_success(self) -> None:
        self._report.set_missing(CANARY, ())
        if not self._is_canary_fresh():
            self._report.changed.set()
        if self._canaries_timed_out:
            log.info("canary_completed_again", timed_out=self._canaries_timed_out)
        self._canary_at, self._canary_finished, self._canaries_timed_out = (
            datetime.now(UTC),
            time.monotonic(),
            0,
        )

    async def _record_canary_timeout(
        self, workflow_client: ReceiptWorkflowClient, error: Exception
    ) -> None:
        try:
            polled_at = await workflow_client.last_polled_by(
                self._identity, canary_queue(self._identity)
            )
        except RPCError as refusal:
            if refusal.status not in REFUSED:
                self._mark_unreachable()
                self._canaries_timed_out = 0
                return
            self._record_refused_poll_check(refusal)
            # always another instant, so that the higher limit applies
            polled_at = datetime.now(UTC)
        if not self._canaries_timed_out:
            self._canary_polled_at = polled_at
        self._canaries_timed_out += 1
        has_polled = polled_at != self._canary_polled_at
        in_a_row = self._canaries_timed_out
        log.warning(
            "canary_timed_out", in_a_row=in_a_row, has_polled=has_polled, error=type(error).__name__
        )
        if self._is_canary_fresh():
            return
        self._report.changed.set()
        thresholds = self._thresholds
        most = thresholds.timed_out_with_polls if has_polled else thresholds.timed_out_without_polls
        if in_a_row >= most:
            raise PollingDied(self._identity)

    def _record_refused_poll_check(self, error: RPCError) -> None:
        """Rely on the canaries, because Temporal answers but does not list its pollers."""
        self._mark_reachable()
        self._report.set_missing(POLLS, (f"DescribeTaskQueue: {reason_of(error)}",))
        self._polled_at, self._unpolled_seconds = None, 0.0

    def _record_poll(self, polled_at: datetime | None) -> None:
        self._mark_reachable()
        self._report.set_missing(POLLS, ())
        # Only a change counts, since the instant is by Temporal's clock.
        if polled_at is not None and polled_at != self._polled_at:
            if self._polled_at is None:
                self._report.changed.set()
            self._polled_at = polled_at
            self._unpolled_seconds = 0.0

    def _mark_reachable(self) -> None:
        if not self._is_temporal_reachable:
            log.info("temporal_reachable")
            self._report.changed.set()
        self._is_temporal_reachable = True

    def _mark_unreachable(self) -> None:
        if self._is_temporal_reachable:
            log.warning("temporal_unreachable")
            self._report.changed.set()
        self._is_temporal_reachable = False
        # Nothing is known about the polls now: the count starts again when Temporal is back.
        self._unpolled_seconds = 0.0

    def _is_canary_fresh(self) -> bool:
        if self._canary_at is None:
            return False
        return time.monotonic() - self._canary_finished <= self._thresholds.canary_fresh_seconds
