"""The store's side of one attempt of a callback: load and sign it in one short transaction, record it in another.

Both hold the attempt for this process: see `store.receipts.attempts`. Called by `activities.callback.send`.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy.ext.asyncio import AsyncSession

from activities.callback.outcome import end_series, ending_of, try_again
from activities.callback.payload import callback_body
from activities.callback.transport import OutgoingRequest
from activities.messages import CALLBACK_HEARTBEAT, REPAIR_OVER, SendCallback, Standing
from domain.ids import EventId, ReplayId
from domain.incidents import AttemptState, Repair
from domain.receipts import Receipt
from domain.retries import ExchangeOutcome, Rejected, Verdict, delay_before_attempt, longest_delays
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
    record_attempt,
    release_attempt,
)
from store.receipts.queries import read_repair
from store.receipts.stalled_repairs import store_callback_delays
from store.receipts.state import load_snapshot

# Three heartbeats of a worker.
SILENT_AFTER = timedelta(seconds=6)
# So long after its holder was found silent a second look decides: a store that was away silences every process for a while.
CONFIRM_SECONDS = 4

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class PreparedAttempt:
    """An attempt that is recorded as started. `request` is None when it could not be written and signed."""

    event_id: EventId
    replay_id: ReplayId
    number: int
    request: OutgoingRequest | None


class AttemptRecords:
    """The attempts of one process in the store. `holder` names the process as its heartbeat does."""

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
        self._are_delays_kept = False
        self._silent: dict[str, tuple[datetime, float]] = {}  # by process: its last heartbeat, and when it was found old

    async def prepare(self, order: SendCallback) -> PreparedAttempt | AttemptHeld | SeriesOver:
        """Begin the next attempt of the repair and sign it; once this has committed, it may be sent.

        Raises:
            ApplicationError: it is too soon, or the store has no such repair.
        """
        await self._keep_delays()
        event_id, replay_id = EventId(order.event_id), ReplayId(order.replay_id)
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            found = await read_repair(session, event_id, replay_id)
            if found is None:
                end_series(REPAIR_OVER, f"the store has no repair {replay_id}")
            self._refuse_too_soon(found.repair, now)
            st = SessionStatements(session)
            begun = await begin_attempt(st, event_id, replay_id, now, holder=self._holder, silent=self._confirmed_silent())
            if isinstance(begun, AttemptHeld):
                self._notice(begun, now)
                return begun
            if isinstance(begun, SeriesOver):
                # Returned, not raised: it may have ended the repair here, for want of a URL.
                return begun
            body = callback_body(found.receipt, found.incident, found.repair)
            request = await self._request(session, found.receipt, replay_id, begun.number, body)
            return PreparedAttempt(event_id, replay_id, begun.number, request)

    async def release(self, prepared: PreparedAttempt) -> None:
        """Give up what was prepared and will not be sent.

        Raises:
            Unavailable: it is still held; this process takes it up again, others once `LONGEST_ATTEMPT_HOLD` has passed.
        """
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            await release_attempt(st, prepared.replay_id, prepared.number, holder=self._holder)

    async def record(self, prepared: PreparedAttempt, outcome: ExchangeOutcome, verdict: Verdict) -> Standing | None:
        """Where the receipt stands then; None, with nothing recorded, when another process took the attempt over."""
        event_id, replay_id, number = prepared.event_id, prepared.replay_id, prepared.number
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            if not await is_attempt_held(st, event_id, replay_id, number, holder=self._holder):
                return None
            await record_attempt(
                st,
                event_id,
                replay_id,
                number,
                await self._database.now(session),
                status=outcome.status,
                duration_ms=outcome.duration_ms,
                error_class=outcome.error_class,
                ending=ending_of(verdict),
                gone_url=prepared.request.url if prepared.request and verdict == Rejected(url_gone=True) else None,
            )
            stored = await load_snapshot(st, event_id)
            return Standing(
                position=stored.position,
                deadline_at=stored.deadline_at,
                incident_id=stored.incident_id,
                replay_id=stored.active_replay_id,
                result_deadline_at=stored.result_deadline_at,
            )

    async def _keep_delays(self) -> None:
        """Once for a process: the store knows then when the next attempt of a repair is overdue."""
        if self._are_delays_kept:
            return
        async with self._database.transaction() as session:
            await store_callback_delays(session, longest_delays(self._schedule, self._jitter))
        self._are_delays_kept = True

    def _notice(self, held: AttemptHeld, now: datetime) -> None:
        """Remember a holder whose last heartbeat is old; one that has another heartbeat by now is not silent."""
        known = self._silent.get(held.holder)
        # Either way: the store's clock may have been set back.
        if abs(now - held.last_sign_at) < SILENT_AFTER:
            self._silent.pop(held.holder, None)
        elif known is None or known[0] != held.last_sign_at:
            self._silent[held.holder] = (held.last_sign_at, time.monotonic())

    def _confirmed_silent(self) -> set[ProcessHeartbeat]:
        """The last heartbeats that were found old some seconds ago: each process may have had two more since."""
        oldest = time.monotonic() - LONGEST_ATTEMPT_HOLD.total_seconds()
        self._silent = {process: found for process, found in self._silent.items() if found[1] > oldest}
        until = time.monotonic() - CONFIRM_SECONDS
        return {(process, sign_at) for process, (sign_at, found_at) in self._silent.items() if found_at <= until}

    def _refuse_too_soon(self, repair: Repair, now: datetime) -> None:
        """After a crash or a lost engine nobody remembers the delay; the schedule, at its soonest, still holds.

        An attempt that began is not begun again at once, whoever holds it: a worker that was frozen goes on with several runs.
        """
        last = repair.attempts[-1] if repair.attempts else None
        if last is not None and last.state is AttemptState.STARTED:
            remaining = min(last.at + CALLBACK_HEARTBEAT - now, CALLBACK_HEARTBEAT)
            if remaining > timedelta():
                try_again("another run of this attempt may be in flight", remaining)
            return
        before, following = (repair.requested_at, 1) if last is None else (last.at, last.number + 1)
        schedule = self._schedule
        seconds = delay_before_attempt(min(following, len(schedule)), schedule=schedule, jitter=self._jitter, draw=0)
        # Never longer than the schedule, should the clock have been set back.
        remaining = min(before + timedelta(seconds=seconds) - now, timedelta(seconds=seconds))
        if remaining > timedelta():
            try_again("too soon for the next attempt", remaining)

    async def _request(
        self, session: AsyncSession, receipt: Receipt, replay_id: ReplayId, number: int, body: bytes
    ) -> OutgoingRequest | None:
        """Signed with the store's clock, read again: beginning the attempt may have waited for a lock."""
        now = await self._database.now(session)
        project = await read_project(session, receipt.project_id)
        if project.repair_url is None:
            return None
        try:
            secrets = await signing_secrets(session, self._sealer, receipt.project_id, now)
        except SealBroken:
            # Perhaps this worker has another root secret than who sealed them: it counts, and may be put right in time.
            log.error("signing_secrets_unreadable", project_id=receipt.project_id, replay_id=replay_id)
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
        return OutgoingRequest(url=project.repair_url, headers=(*fixed, *signed), body=body)
