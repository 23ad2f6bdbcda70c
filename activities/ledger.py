"""Records the moves that time and repairs decide, and answers each time with where the receipt then stands.

One short transaction per activity; it sends nothing. The workflow obeys the answer, whatever it had expected. Built by
`worker.main`, run by Temporal, called from `workflows.receipt`.
"""

import re
from datetime import datetime, timedelta
from typing import Any, NoReturn

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
from domain.errors import NotFound
from domain.ids import EventId, ReplayId, ResultId
from domain.incidents import RepairCause
from domain.lifecycle import Position
from store.database import Database
from store.heartbeats import latest_api_beat
from store.moves import NotYet, open_incident, result_is_stored
from store.repairs import RepairRefused, begin_repair, fail_overdue_repair
from store.standing import note, read_standing
from store.statements import SessionStatements, Statements

RECEIPT_UNKNOWN = "receipt_unknown"
# An API writes its heartbeat every 2 s; this long without one, and what it would have been told may be missing.
INGEST_SILENT = timedelta(seconds=10)
HOLD_MS = 2_000
ASKED_IN_TEMPORAL = "temporal"
# Ids of ours and short names; a signal sent by hand may hold anything, an address among it.
_REQUESTER = re.compile(r"[A-Za-z0-9_.:-]{1,64}")


class LedgerActivities:
    """The activities that write the store's ledger.

    `holds_when_ingest_is_down`: no deadline counts while the front door is silent, since its outage will be credited.
    """

    def __init__(self, database: Database, *, holds_when_ingest_is_down: bool) -> None:
        self._database = database
        self._holds_when_ingest_is_down = holds_when_ingest_is_down

    @activity.defn(name="load_standing")
    async def load_standing(self, question: ReadStanding) -> Answer:
        """Where the receipt stands. It writes nothing, so it may run any number of times."""
        async with self._database.reading() as session:
            return Answer(await _standing(SessionStatements(session), question.event_id))

    @activity.defn(name="open_incident")
    async def open_incident(self, question: OpenIncident) -> Answer:
        """Open the incident if the deadline has passed by the store's clock. A second run finds it open and says the same."""
        event_id = EventId(question.event_id)
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            await _note_unknown_result(st, event_id, question.result_id, await self._database.now(session))
            if await self._is_held(session, event_id):
                return Answer(await _standing(st, event_id), wait_ms=HOLD_MS)
            try:
                outcome = await open_incident(st, event_id, await self._database.now(session))
            except NotFound:
                _fail_unknown(event_id)
            wait_ms = outcome.remaining_ms if isinstance(outcome, NotYet) else None
            return Answer(await _standing(st, event_id), wait_ms=wait_ms)

    @activity.defn(name="heed")
    async def heed(self, question: Heed) -> Answer:
        """Where the receipt stands after a signal; one that names no stored result is noted, by a second run once more."""
        event_id = EventId(question.event_id)
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            await _note_unknown_result(st, event_id, question.result_id, await self._database.now(session))
            return Answer(await _standing(st, event_id))

    @activity.defn(name="begin_repair")
    async def begin_repair(self, question: BeginRepair) -> Answer:
        """Begin the repair that a signal asks for. One active repair per incident: a second run adopts the first's."""
        event_id = EventId(question.event_id)
        requested_by = question.requested_by or ASKED_IN_TEMPORAL
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            try:
                outcome = await begin_repair(
                    st,
                    event_id,
                    await self._database.now(session),
                    requested_by=requested_by if _REQUESTER.fullmatch(requested_by) else ASKED_IN_TEMPORAL,
                    replay_id=None if question.replay_id is None else ReplayId(question.replay_id),
                )
            except NotFound:
                _fail_unknown(event_id)
            has_news = isinstance(outcome, RepairRefused) and outcome.cause is RepairCause.REPAIR_URL_MISSING
            return Answer(await _standing(st, event_id), has_news=has_news)

    @activity.defn(name="fail_overdue_repair")
    async def fail_overdue_repair(self, question: FailOverdueRepair) -> Answer:
        """Fail the repair whose result did not come in time. A second run finds it failed and changes nothing."""
        event_id = EventId(question.event_id)
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            if await self._is_held(session, event_id):
                return Answer(await _standing(st, event_id), wait_ms=HOLD_MS)
            try:
                outcome = await fail_overdue_repair(st, event_id, ReplayId(question.replay_id), await self._database.now(session))
            except NotFound:
                _fail_unknown(event_id)
            wait_ms = outcome.remaining_ms if isinstance(outcome, NotYet) else None
            return Answer(await _standing(st, event_id), wait_ms=wait_ms)

    @activity.defn(name="note_dropped_request")
    async def note_dropped_request(self, question: NoteDroppedRequest) -> Answer:
        """Note a reprocess request that no incident came to need. A second run notes it once more, and nothing acts on it."""
        event_id = EventId(question.event_id)
        replay: dict[str, Any] = {"replay_id": question.replay_id} if question.replay_id else {}  # Any: JSON fields
        async with self._database.transaction() as session:
            st = SessionStatements(session)
            standing = await _standing(st, event_id)
            text = "A reprocess request was dropped: there is no incident left to repair."
            await note(st, event_id, await self._database.now(session), text=text, **replay)
            return Answer(standing)

    async def _is_held(self, session: AsyncSession, event_id: EventId) -> bool:
        if not self._holds_when_ingest_is_down:
            return False
        now = await self._database.now(session)
        standing = await _standing(SessionStatements(session), event_id)
        is_due = {
            Position.WAITING: now >= standing.deadline_at,
            Position.AWAITING_RESULT: standing.result_deadline_at is not None and now >= standing.result_deadline_at,
        }
        if not is_due.get(standing.position, False):
            return False
        beat = await latest_api_beat(session)
        return beat is not None and now - beat > INGEST_SILENT


async def _standing(st: Statements, event_id: str) -> Standing:
    try:
        stored = await read_standing(st, EventId(event_id))
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
    named = result_id.replace("\0", "")[:2048]
    if await result_is_stored(st, event_id, ResultId(named)):
        return
    await _standing(st, event_id)  # Fails for an unknown receipt: no timeline begins with this.
    await note(st, event_id, now, text="A signal named a result that is not stored; it was ignored.", result_id=named)


def _fail_unknown(event_id: str) -> NoReturn:
    raise ApplicationError(f"the store has no receipt {event_id}", type=RECEIPT_UNKNOWN, non_retryable=True)
