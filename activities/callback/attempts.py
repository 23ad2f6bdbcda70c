"""Prepares and records one callback attempt: two short transactions, one before and one after
sending.

Both lease the attempt to this process: see `store.receipts.attempts`. Called by
`activities.callback.send`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from activities.callback.outcome import end_series, retry_after, series_outcome
from activities.callback.payload import callback_body
from activities.callback.transport import OutgoingRequest
from activities.messages import CALLBACK_HEARTBEAT, REPAIR_OVER, ReceiptStatus, SendCallback
from activities.receipt_status import to_status
from domain.ids import EventId, ReplayId
from domain.incidents import AttemptState, Repair
from domain.receipts import Receipt
from domain.retries import (
    ExchangeOutcome,
    Rejected,
    TryAgain,
    Verdict,
    delay_before_attempt,
    longest_delays,
)
from domain.security.signing import callback_headers
from store.crypto.encryption import SealBroken, Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.projects.projects import read_project
from store.projects.signing_secrets import signing_secrets
from store.receipts.attempts import (
    LONGEST_ATTEMPT_HOLD,
    AttemptHeld,
    ProcessHeartbeat,
    SeriesOver,
    begin_attempt,
    is_attempt_held,
    keep_body,
    keep_headers,
    record_attempt,
    release_attempt,
)
from store.receipts.queries import read_repair
from store.receipts.reconcile.stalled_repairs import store_callback_delays
from store.receipts.state import load_snapshot

# Three heartbeat intervals of a worker.
STALE_AFTER = timedelta(seconds=6)
# A stale holder counts as dead only if it is still stale after this time. A store outage makes
# every process's heartbeat stale for a while.
CONFIRM_SECONDS = 4

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PreparedAttempt:
    """An attempt that is stored as started. `request` is None when it could not be built and
    signed.
    """

    event_id: EventId
    replay_id: ReplayId
    number: int
    request: OutgoingRequest | None


class AttemptRecords:
    """Stores the attempts of one process. `holder` is the name of the process in its heartbeat."""

    def __init__(
        self,
        database: Database,
        *,
        sealer: Sealer,
        schedule: tuple[int, ...],
        jitter: float,
        nonce: Callable[[], str],
        holder: str,
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._schedule = schedule
        self._jitter = jitter
        self._nonce = nonce
        self._holder = holder
        self._are_delays_stored = False
        # By process: its last heartbeat, and when this process found it stale (monotonic).
        self._stale: dict[str, tuple[datetime, float]] = {}

    async def prepare(self, order: SendCallback) -> PreparedAttempt | AttemptHeld | SeriesOver:
        """Begin the repair's next attempt and sign it. It may be sent after this has committed.

        Raises:
            ApplicationError: it is too soon, or the store has no such repair.
        """
        await self._store_longest_delays()
        event_id, replay_id = EventId(order.event_id), ReplayId(order.replay_id)
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            found = await read_repair(session, event_id, replay_id)
            if found is None:
                end_series(REPAIR_OVER, f"the store has no repair {replay_id}")
            self._refuse_too_soon(found.repair, now)
            st = SessionStatements(session)
            begun = await begin_attempt(
                st, event_id, replay_id, now, holder=self._holder, silent=self._confirmed_stale()
            )
            if isinstance(begun, AttemptHeld):
                self._update_stale(begun, now)
                return begun
            if isinstance(begun, SeriesOver):
                # Returned, not raised: this transaction may have ended the repair because it has no
                # URL.
                return begun
            body = callback_body(found.receipt, found.incident, found.repair)
            body = await keep_body(st, replay_id, body)
            request = await self._request(session, found.receipt, replay_id, begun.number, body)
            if request is not None:
                await keep_headers(st, replay_id, begun.number, request.all_headers)
            return PreparedAttempt(event_id, replay_id, begun.number, request)

    async def release(self, prepared: PreparedAttempt) -> None:
        """Release an attempt that was prepared and will not be sent.

        Raises:
            Unavailable: it is still leased. This process may send it again at once, others after
                `LONGEST_ATTEMPT_HOLD`.
        """
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            await release_attempt(st, prepared.replay_id, prepared.number, holder=self._holder)

    async def record(
        self, prepared: PreparedAttempt, outcome: ExchangeOutcome, verdict: Verdict
    ) -> ReceiptStatus | None:
        """Record the outcome and return the receipt's state.

        None if another process has taken the attempt over. Nothing is recorded then.
        """
        event_id, replay_id, number = prepared.event_id, prepared.replay_id, prepared.number
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            now = await self._database.now(session)
            if not await is_attempt_held(st, event_id, replay_id, number, holder=self._holder):
                return None
            await record_attempt(
                st,
                event_id,
                replay_id,
                number,
                now,
                status=outcome.status,
                duration_ms=outcome.duration_ms,
                error_class=outcome.error_class,
                answer_excerpt=outcome.answer_excerpt,
                next_attempt_at=_next_attempt_at(verdict, now),
                ending=series_outcome(verdict),
                gone_url=prepared.request.url
                if prepared.request and verdict == Rejected(url_gone=True)
                else None,
            )
            return to_status(await load_snapshot(st, event_id))

    async def _store_longest_delays(self) -> None:
        """Store the schedule's longest delays, once per process.

        The store needs them to find repairs whose next attempt is overdue.
        """
        if self._are_delays_stored:
            return
        async with self._database.transaction() as session:
            delays = longest_delays(self._schedule, self._jitter)
            await store_callback_delays(session, delays, attempts=len(self._schedule))
        self._are_delays_stored = True

    def _update_stale(self, held: AttemptHeld, now: datetime) -> None:
        """Remember a holder whose last heartbeat is stale. Forget one with a newer heartbeat."""
        known = self._stale.get(held.holder)
        # abs(): the store's clock may have been set back.
        if abs(now - held.last_sign_at) < STALE_AFTER:
            self._stale.pop(held.holder, None)
        elif known is None or known[0] != held.last_sign_at:
            self._stale[held.holder] = (held.last_sign_at, time.monotonic())

    def _confirmed_stale(self) -> set[ProcessHeartbeat]:
        """The stale heartbeats that were found `CONFIRM_SECONDS` ago or earlier.

        A living process had time for two more heartbeats since then.
        """
        oldest = time.monotonic() - LONGEST_ATTEMPT_HOLD.total_seconds()
        self._stale = {
            process: found for process, found in self._stale.items() if found[1] > oldest
        }
        until = time.monotonic() - CONFIRM_SECONDS
        return {
            (process, sign_at)
            for process, (sign_at, found_at) in self._stale.items()
            if found_at <= until
        }

    def _refuse_too_soon(self, repair: Repair, now: datetime) -> None:
        """Raise if the schedule's shortest delay has not passed.

        After a crash, or after Temporal has lost its data, no retry delay is left but the
        schedule's. An attempt that has started is not started again at once, whichever process
        holds it. A worker that was frozen continues with several runs.
        """
        last = repair.attempts[-1] if repair.attempts else None
        if last is not None and last.state is AttemptState.STARTED:
            remaining = min(last.at + CALLBACK_HEARTBEAT - now, CALLBACK_HEARTBEAT)
            if remaining > timedelta():
                retry_after("another run of this attempt may be in flight", remaining)
            return
        before, following = (repair.requested_at, 1) if last is None else (last.at, last.number + 1)
        schedule = self._schedule
        seconds = delay_before_attempt(
            min(following, len(schedule)), schedule=schedule, jitter=self._jitter, draw=0
        )
        # Never longer than the schedule: the clock may have been set back.
        remaining = min(before + timedelta(seconds=seconds) - now, timedelta(seconds=seconds))
        if remaining > timedelta():
            retry_after("too soon for the next attempt", remaining)

    async def _request(
        self, session: AsyncSession, receipt: Receipt, replay_id: ReplayId, number: int, body: bytes
    ) -> OutgoingRequest | None:
        """The signed request; None if the project has no repair URL or its secrets cannot be read.

        The store's clock is read again, because beginning the attempt may have waited for a lock.
        """
        now = await self._database.now(session)
        project = await read_project(session, receipt.project_id)
        if project.repair_url is None:
            return None
        try:
            secrets = await signing_secrets(session, self._sealer, receipt.project_id, now)
        except SealBroken:
            # This worker may have another root secret than the process that sealed them. The
            # attempt counts, and an operator may correct the secret before the next one.
            log.error(
                "signing_secrets_unreadable", project_id=receipt.project_id, replay_id=replay_id
            )
            return None
        signed = callback_headers(
            secrets=secrets,
            replay_id=replay_id,
            attempt_number=number,
            timestamp=int(now.timestamp()),
            nonce=self._nonce(),
            body=body,
        )
        fixed = (("Content-Type", "application/json"), ("Request-Id", receipt.request_id))
        return OutgoingRequest(
            url=project.repair_url,
            headers=(*fixed, *signed),
            body=body,
            livemode=project.livemode,
        )


def _next_attempt_at(verdict: Verdict, now: datetime) -> datetime | None:
    match verdict:
        case TryAgain(delay_seconds=delay_seconds):
            return now + timedelta(seconds=delay_seconds)
        case _:
            return None
