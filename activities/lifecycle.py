"""Applies the transitions that deadlines and repairs cause, and returns the stored state each time.

Each activity is one short transaction and sends nothing. The workflow follows the returned state,
whatever it expected. Built by `worker.main`, called from `workflows.receipt`.
"""

import re
from datetime import datetime
from typing import NoReturn

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.messages import (
    BeginRepair,
    FailOverdueRepair,
    LifecycleResult,
    NoteDroppedRequest,
    OpenIncident,
    ReadStatus,
    ReceiptStatus,
    SyncState,
)
from activities.receipt_status import to_status
from domain.audit import TEMPORAL, Actor, AuditAction, Subject, SubjectType
from domain.errors import NotFound
from domain.ids import EventId, ReplayId, ResultId
from domain.values.text import sanitize
from store.audit.log import record
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements, Statements
from store.receipts.deadlines import NotYet, fail_due_repair, open_due_incident
from store.receipts.repairs import SEEN, Begun, RepairRefused, begin_repair
from store.receipts.results import result_is_stored
from store.receipts.state import load_snapshot
from store.receipts.timeline import note

RECEIPT_UNKNOWN = "receipt_unknown"
# Matches ids of Makegood and short names. A signal sent by hand may name anything, even an address.
_REQUESTER = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class LifecycleActivities:
    """The activities that read or change a receipt's state.

    `outage_seconds`: ingest outages longer than this extend deadlines, so a deadline waits while
    ingest is down. 0 disables this.
    """

    def __init__(self, database: Database, *, sealer: Sealer, outage_seconds: int) -> None:
        self._database = database
        self._sealer = sealer
        self._outage_seconds = outage_seconds

    @activity.defn(name="load_status")
    async def load_status(self, request: ReadStatus) -> LifecycleResult:
        """Load the stored state. It writes nothing, so it may run any number of times."""
        async with self._database.reading() as session:
            st = SessionStatements(session)
            return LifecycleResult(await _load_status(st, EventId(sanitize(request.event_id))))

    @activity.defn(name="open_incident")
    async def open_incident(self, request: OpenIncident) -> LifecycleResult:
        """Open the incident if the deadline has passed by the store's clock.

        A second run finds the incident open and returns the same result.
        """
        event_id = EventId(sanitize(request.event_id))
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            now = await self._database.now(session)
            await _note_unknown_result(st, event_id, request.result_id, now)
            try:
                outcome = await open_due_incident(
                    session, event_id, now, outage_seconds=self._outage_seconds
                )
            except NotFound:
                _raise_unknown(event_id)
            return LifecycleResult(
                await _load_status(st, event_id), retry_after_ms=_remaining_ms(outcome)
            )

    @activity.defn(name="sync_state")
    async def sync_state(self, request: SyncState) -> LifecycleResult:
        """Load the state after a signal, and note a named result that is not stored.

        A second run writes the note again.
        """
        event_id = EventId(sanitize(request.event_id))
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            await _note_unknown_result(
                st, event_id, request.result_id, await self._database.now(session)
            )
            return LifecycleResult(await _load_status(st, event_id))

    @activity.defn(name="begin_repair")
    async def begin_repair(self, request: BeginRepair) -> LifecycleResult:
        """Begin the repair that a signal requests, or note that the request is dropped.

        An incident has one active repair, and the store remembers the marks. A second run of this
        activity, or of the workflow after a reset, adopts the first run's repair or finds it ended.
        """
        event_id = EventId(sanitize(request.event_id))
        replay_id = None if request.replay_id is None else ReplayId(sanitize(request.replay_id))
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            now = await self._database.now(session)
            try:
                outcome = await begin_repair(
                    st,
                    event_id,
                    now,
                    requested_by=_requester(request.requested_by),
                    replay_id=replay_id,
                    marks={sanitize(mark.series): mark.number for mark in request.marks},
                )
            except NotFound:
                _raise_unknown(event_id)
            if outcome == RepairRefused(None):
                await _note_dropped(st, event_id, replay_id, now)
            if outcome == SEEN and activity.info().attempt == 1:
                await note(
                    st,
                    event_id,
                    now,
                    text="A reprocess request was ignored: it was carried out before.",
                )
            # A repair that failed in this transaction, or in an earlier one whose result was lost.
            should_alert = isinstance(outcome, RepairRefused) and outcome != RepairRefused(None)
            status = await _load_status(st, event_id)
            if replay_id is None:
                await self._audit_request(session, event_id, outcome, now)
            return LifecycleResult(status, should_alert=should_alert)

    @activity.defn(name="fail_overdue_repair")
    async def fail_overdue_repair(self, request: FailOverdueRepair) -> LifecycleResult:
        """Fail the repair if its result is overdue. A second run finds it failed and changes
        nothing.
        """
        event_id, replay_id = (
            EventId(sanitize(request.event_id)),
            ReplayId(sanitize(request.replay_id)),
        )
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            now = await self._database.now(session)
            try:
                outcome = await fail_due_repair(
                    session, event_id, replay_id, now, outage_seconds=self._outage_seconds
                )
            except NotFound:
                _raise_unknown(event_id)
            return LifecycleResult(
                await _load_status(st, event_id), retry_after_ms=_remaining_ms(outcome)
            )

    @activity.defn(name="note_dropped_request")
    async def note_dropped_request(self, request: NoteDroppedRequest) -> LifecycleResult:
        """Note a reprocess request that was not needed. A second run notes it again."""
        event_id = EventId(sanitize(request.event_id))
        replay_id = None if request.replay_id is None else ReplayId(sanitize(request.replay_id))
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            status = await _load_status(st, event_id)
            await _note_dropped(st, event_id, replay_id, await self._database.now(session))
            return LifecycleResult(status)

    async def _audit_request(
        self,
        session: AsyncSession,
        event_id: EventId,
        outcome: Begun | RepairRefused,
        now: datetime,
    ) -> None:
        """Record the request in the audit log if this run began a repair.

        The actor is Temporal: Makegood does not know which person sent the signal.
        """
        match outcome:
            case Begun(replay_id, is_new=True):
                details = {"event_id": event_id, "replay_id": replay_id}
            case RepairRefused(cause) if cause is not None:
                details = {"event_id": event_id, "cause": cause.value}
            case _:
                return
        snapshot = await load_snapshot(SessionStatements(session), event_id)
        await record(
            session,
            self._sealer,
            Actor(TEMPORAL),
            AuditAction.REPROCESS_REQUESTED,
            now=now,
            subject=Subject(SubjectType.INCIDENT, snapshot.incident_id),
            project_id=snapshot.project_id,
            details=details,
        )


async def _load_status(st: Statements, event_id: str) -> ReceiptStatus:
    try:
        return to_status(await load_snapshot(st, EventId(event_id)))
    except NotFound:
        _raise_unknown(event_id)


async def _note_unknown_result(
    st: Statements, event_id: EventId, result_id: str | None, now: datetime
) -> None:
    if result_id is None:
        return
    named = sanitize(result_id)
    if await result_is_stored(st, event_id, ResultId(named)):
        return
    # Raises for an unknown receipt, which must not get a timeline.
    await _load_status(st, event_id)
    text = "A signal named a result that is not stored; it was ignored."
    await note(st, event_id, now, text=text, result_id=named)


def _requester(named: str | None) -> str:
    requested_by = named or TEMPORAL
    return requested_by if _REQUESTER.fullmatch(requested_by) else TEMPORAL


def _remaining_ms(outcome: object) -> int | None:
    return outcome.remaining_ms if isinstance(outcome, NotYet) else None


async def _note_dropped(
    st: Statements, event_id: EventId, replay_id: ReplayId | None, now: datetime
) -> None:
    if replay_id is None:
        text, named = "A reprocess request was dropped: there is no incident left to repair.", {}
    else:
        text = "A reprocess request was dropped: the repair that it names is not active."
        named = {"replay_id": replay_id}
    await note(st, event_id, now, text=text, **named)


def _raise_unknown(event_id: str) -> NoReturn:
    """End the run. It is one of a deleted project, whose receipts are erased, or made by hand: no
    fault of ours, so the library logs no traceback.
    """
    message = f"the store has no receipt {sanitize(event_id)}"
    benign = ApplicationErrorCategory.BENIGN
    raise ApplicationError(message, type=RECEIPT_UNKNOWN, non_retryable=True, category=benign)
