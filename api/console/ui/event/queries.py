"""What the event page shows, read in one session of the store."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from sqlalchemy.ext.asyncio import AsyncSession

from api.console.ui.timeline.page import PEOPLE
from domain.errors import NotFound
from domain.ids import EventId
from domain.incidents import IncidentState
from domain.receipts import Receipt
from operations.validation import known_id
from store.db.database import Database
from store.projects.payloads import has_payload
from store.receipts import queries
from store.receipts.queries import EventFull
from store.receipts.reconcile.stalled_repairs import read_attempts_of_series
from store.receipts.rows.failures import (
    SAME_CAUSE_COUNTED,
    Failure,
    count_same_cause,
    read_latest_failure,
)
from store.receipts.rows.names import read_names
from store.sources.seen import seen_by


@dataclass(frozen=True, slots=True)
class EventDetails:
    """An event, and what its page shows beside it.

    `names` are those of the people and keys that the event holds as ids. `superseding` is the later
    event that makes a repair doubtful, None without one. `same_cause` counts the project's other
    unresolved incidents of the same cause, as text: `23`, or `100+`; empty if there is none.
    `attempts_of_series` None: no worker has made a call yet.
    """

    event: EventFull
    names: Mapping[str, str] = field(default_factory=dict)
    superseding: Receipt | None = None
    latest_failure: Failure | None = None
    same_cause: str = ""
    attempts_of_series: int | None = None
    has_payload: bool = False


async def read_event(database: Database, event_id: str, *, cursor: str | None) -> EventDetails:
    """The event with its repairs, one page of its timeline, and the sources that saw it.

    Raises:
        NotFound: there is no such event.
        ValidationFailed: the cursor is invalid.
    """
    async with database.reading() as session:
        event = await queries.read_event(session, None, EventId(known_id(event_id)), cursor=cursor)
        if event is None:
            raise NotFound("There is no such event.")
        found = event.receipt.event_id
        event = replace(event, sources=await seen_by(session, found))
        payload = await has_payload(session, found)
        names = await read_names(session, _people_of(event))
        if event.incident is None:
            return EventDetails(event, names, has_payload=payload)
        later = event.incident.superseded_by
        row = None if later is None else await queries.read_event_row(session, None, later)
        return EventDetails(
            event,
            names,
            superseding=None if row is None else row.receipt,
            latest_failure=await read_latest_failure(session, found),
            same_cause=await _same_cause(session, event),
            attempts_of_series=await read_attempts_of_series(session) if event.repairs else None,
            has_payload=payload,
        )


def _people_of(event: EventFull) -> set[str]:
    """The ids of the users and keys that the event names."""
    named = (str(entry.fields.get(name) or "") for entry in event.timeline for name in PEOPLE)
    return {*(one for one in named if one), *(repair.requested_by for repair in event.repairs)}


async def _same_cause(session: AsyncSession, event: EventFull) -> str:
    incident = event.incident
    if incident is None or incident.state is IncidentState.RESOLVED:
        return ""
    count = await count_same_cause(session, incident, event.receipt.effect_type)
    mark = "+" if count >= SAME_CAUSE_COUNTED else ""
    return f"{count}{mark}" if count else ""
