"""Records the moves that time and repairs decide, and answers each time with where the receipt then stands.

One short transaction per activity; it sends nothing. The workflow obeys the answer, whatever it had expected. Built by
`worker.main`, run by Temporal, called from `workflows.receipt`.
"""

import re
from datetime import datetime
from typing import NoReturn

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.messages import (
    Answer,
    BeginRepair,
    FailOverdueRepair,
    Heed,
    NoteDroppedRequest,
    OpenIncident,
    ReadStanding,
    Standing,
)
from domain.audit import TEMPORAL, Actor, AuditAction, Subject, SubjectType
from domain.errors import NotFound
from domain.ids import EventId, ReplayId, ResultId
from domain.values.text import sanitize
from store.audit.log import record
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements, Statements
from store.receipts.deadlines import fail_due_repair, open_due_incident
from store.receipts.repairs import SEEN, Begun, RepairRefused, begin_repair
from store.receipts.state import load_snapshot
from store.receipts.timeline import note
from store.receipts.transitions import NotYet, result_is_stored

RECEIPT_UNKNOWN = "receipt_unknown"
# Ids of ours and short names; a signal sent by hand may hold anything, an address among it.
_REQUESTER = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class LifecycleActivities:
    """The activities that write the store's ledger.

    `outage_seconds`: a longer outage of ingest is credited, so that deadlines wait while the front door is silent; 0: none does.
    """

    def __init__(self, database: Database, *, sealer: Sealer, outage_seconds: int) -> None:
        self._database = database
        self._sealer = sealer
        self._outage_seconds = outage_seconds

    @activity.defn(name="load_standing")
    async def load_standing(self, question: ReadStanding) -> Answer:
        """Where the receipt stands. It writes nothing, so it may run any number of times."""
        async with self._database.reading() as session:
            return Answer(await _standing(SessionStatements(session), EventId(sanitize(question.event_id))))

    @activity.defn(name="open_incident")
    async def open_incident(self, question: OpenIncident) -> Answer:
        """Open the incident if the deadline has passed by the store's clock. A second run finds it open and says the same."""
        event_id = EventId(sanitize(question.event_id))
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            now = await self._database.now(session)
            await _note_unknown_result(st, event_id, question.result_id, now)
            try:
                outcome = await open_due_incident(session, event_id, now, outage_seconds=self._outage_seconds)
            except NotFound:
                _fail_unknown(event_id)
            wait_ms = outcome.remaining_ms if isinstance(outcome, NotYet) else None
            return Answer(await _standing(st, event_id), wait_ms=wait_ms)

    @activity.defn(name="heed")
    async def heed(self, question: Heed) -> Answer:
        """Where the receipt stands after a signal; one that names no stored result is noted, by a second run once more."""
        event_id = EventId(sanitize(question.event_id))
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            await _note_unknown_result(st, event_id, question.result_id, await self._database.now(session))
            return Answer(await _standing(st, event_id))

    @activity.defn(name="begin_repair")
    async def begin_repair(self, question: BeginRepair) -> Answer:
        """Begin the repair that a signal asks for, or note that it is dropped.

        One active repair per incident, and the store remembers the marks: a second run of this activity, or of the workflow
        after a reset, adopts the repair that the first one began, or finds that it has ended.
        """
        event_id = EventId(sanitize(question.event_id))
        requested_by = question.requested_by or TEMPORAL
        named = None if question.replay_id is None else ReplayId(sanitize(question.replay_id))
        marks = {sanitize(mark.series): mark.number for mark in question.marks}
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            now = await self._database.now(session)
            try:
                outcome = await begin_repair(
                    st,
                    event_id,
                    now,
                    requested_by=requested_by if _REQUESTER.fullmatch(requested_by) else TEMPORAL,
                    replay_id=named,
                    marks=marks,
                )
            except NotFound:
                _fail_unknown(event_id)
            if outcome == RepairRefused(None):
                await _note_dropped(st, event_id, named, now)
            if outcome == SEEN and activity.info().attempt == 1:
                await note(st, event_id, now, text="A reprocess request was ignored: it was carried out before.")
            # A repair that failed in the same transaction, or in that of a run whose answer was lost.
            has_news = isinstance(outcome, RepairRefused) and outcome != RepairRefused(None)
            standing = await _standing(st, event_id)
            if named is None:
                await self._record_request(session, event_id, outcome, now)
            return Answer(standing, has_news=has_news)

    @activity.defn(name="fail_overdue_repair")
    async def fail_overdue_repair(self, question: FailOverdueRepair) -> Answer:
        """Fail the repair whose result did not come in time. A second run finds it failed and changes nothing."""
        event_id = EventId(sanitize(question.event_id))
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            now = await self._database.now(session)
            replay_id = ReplayId(sanitize(question.replay_id))
            try:
                outcome = await fail_due_repair(session, event_id, replay_id, now, outage_seconds=self._outage_seconds)
            except NotFound:
                _fail_unknown(event_id)
            wait_ms = outcome.remaining_ms if isinstance(outcome, NotYet) else None
            return Answer(await _standing(st, event_id), wait_ms=wait_ms)

    @activity.defn(name="note_dropped_request")
    async def note_dropped_request(self, question: NoteDroppedRequest) -> Answer:
        """Note a reprocess request that no incident came to need. A second run notes it once more, and nothing acts on it."""
        event_id = EventId(sanitize(question.event_id))
        named = None if question.replay_id is None else ReplayId(sanitize(question.replay_id))
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            standing = await _standing(st, event_id)
            await _note_dropped(st, event_id, named, await self._database.now(session))
            return Answer(standing)

    async def _record_request(
        self, session: AsyncSession, event_id: EventId, outcome: Begun | RepairRefused, now: datetime
    ) -> None:
        """Into the audit log, if it is this run that began a repair. Who it was that asked in Temporal is not known to us."""
        match outcome:
            case Begun(replay_id, is_new=True):
                details = {"event_id": event_id, "replay_id": replay_id}
            case RepairRefused(cause) if cause is not None:
                details = {"event_id": event_id, "cause": cause.value}
            case _:
                return
        standing = await load_snapshot(SessionStatements(session), event_id)
        subject = Subject(SubjectType.INCIDENT, standing.incident_id)
        action, project_id = AuditAction.REPROCESS_REQUESTED, standing.project_id
        await record(
            session, self._sealer, Actor(TEMPORAL), action, now=now, subject=subject, project_id=project_id, details=details
        )


async def _standing(st: Statements, event_id: str) -> Standing:
    try:
        stored = await load_snapshot(st, EventId(event_id))
    except NotFound:
        _fail_unknown(event_id)
    return Standing(
        position=stored.position,
        deadline_at=stored.deadline_at,
        incident_id=stored.incident_id,
        replay_id=stored.active_replay_id,
        result_deadline_at=stored.result_deadline_at,
    )


async def _note_unknown_result(st: Statements, event_id: EventId, result_id: str | None, now: datetime) -> None:
    if result_id is None:
        return
    named = sanitize(result_id)
    if await result_is_stored(st, event_id, ResultId(named)):
        return
    await _standing(st, event_id)  # Fails for an unknown receipt: no timeline begins with this.
    await note(st, event_id, now, text="A signal named a result that is not stored; it was ignored.", result_id=named)


async def _note_dropped(st: Statements, event_id: EventId, replay_id: ReplayId | None, now: datetime) -> None:
    if replay_id is None:
        text, named = "A reprocess request was dropped: there is no incident left to repair.", {}
    else:
        text, named = "A reprocess request was dropped: the repair that it names is not active.", {"replay_id": replay_id}
    await note(st, event_id, now, text=text, **named)


def _fail_unknown(event_id: str) -> NoReturn:
    raise ApplicationError(f"the store has no receipt {sanitize(event_id)}", type=RECEIPT_UNKNOWN, non_retryable=True)
