"""The operations on events: list, read, read the timeline, a callback or the payload, expire."""

import json
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import Forbidden, NotFound
from domain.ids import EventId, ReplayId
from domain.incidents import RepairCallback, TimelineEntry
from operations.audit_writer import AuditWriter
from operations.lists import ALL_PROJECTS, DEFAULT_LIMIT, checked_filters, project_or_none
from operations.validation import known_id
from store.crypto.encryption import SealBroken, Sealer
from store.db.database import Database
from store.db.paging import Page
from store.db.sql import SessionStatements
from store.maintenance.retention import PAYLOAD_RETENTION
from store.projects.payloads import read_payload
from store.receipts import queries
from store.receipts.queries import EventFull, EventRow, ListFilters
from store.receipts.rows.callbacks import read_callback
from store.receipts.timeline import read_timeline
from store.receipts.triage import deadline_moves
from store.sources.seen import seen_by

NO_PAYLOAD = (
    "This event has no payload: the project did not keep payload snapshots, the app sent none, or"
    " it was deleted after 30 days."
)
PAYLOAD_UNREADABLE = "The payload cannot be decrypted with the root secrets that Makegood has."


@dataclass(frozen=True, slots=True)
class PayloadSnapshot:
    """The payload of a receipt. `value` is its JSON; `deleted_at` is when retention deletes it."""

    event_id: EventId
    value: object
    deleted_at: datetime


class EventOperations:
    """Events of an opened store."""

    def __init__(self, database: Database, audit: AuditWriter, *, sealer: Sealer) -> None:
        self._database, self._audit, self._sealer = database, audit, sealer

    async def list_events(
        self,
        filters: ListFilters,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
        *,
        sort: str | None = None,
    ) -> Page[EventRow]:
        """A page of events; newest first without `sort`.

        Raises: ValidationFailed for an ill-formed filter or search, or a cursor that this
            service did not issue for this order.
        """
        async with self._database.searching(filters.project_id or ALL_PROJECTS) as session:
            checked = await checked_filters(self._database, session, filters)
            return await queries.list_events(
                session, checked, limit=limit, cursor=cursor, sort=sort
            )

    async def read_event(self, project_id: str | None, event_id: str) -> EventFull:
        """The event with its newest repairs and timeline entries, and the sources that saw it.

        Raises: NotFound.
        """
        async with self._database.reading(project_id or ALL_PROJECTS) as session:
            event = await queries.read_event(
                session, project_or_none(project_id), EventId(known_id(event_id))
            )
            if event is None:
                raise event_not_found()
            return replace(event, sources=await seen_by(session, event.receipt.event_id))

    async def read_timeline(
        self,
        project_id: str | None,
        event_id: str,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Page[TimelineEntry]:
        """A page of the event's timeline, newest first.

        Raises: NotFound; ValidationFailed for a cursor that this service did not issue.
        """
        async with self._database.reading(project_id or ALL_PROJECTS) as session:
            row = await load_event(session, project_id, event_id)
            page = await read_timeline(session, row.receipt, limit=limit, cursor=cursor)
        return Page(page.entries[::-1], page.next_cursor)

    async def read_callback(
        self, project_id: str | None, event_id: str, replay_id: str
    ) -> RepairCallback:
        """The callback of a repair as it was sent, with the answer to each attempt.

        Raises: NotFound.
        """
        async with self._database.reading(project_id or ALL_PROJECTS) as session:
            row = await load_event(session, project_id, event_id)
            named = ReplayId(known_id(replay_id))
            callback = await read_callback(session, row.receipt.event_id, named)
        if callback is None:
            raise NotFound("This event has no repair with this replay id. Check the id.")
        return callback

    async def read_payload(
        self, project_id: str | None, event_id: str, *, actor: Actor
    ) -> PayloadSnapshot:
        """The payload that the app sent with the receipt. Each reading is in the audit log.

        Raises: NotFound: there is no such event, it has no payload, or no known root secret
            decrypts it.
        """
        async with self._database.transaction(project_id or ALL_PROJECTS) as session:
            receipt = (await load_event(session, project_id, event_id)).receipt
            found = receipt.event_id
            try:
                text = await read_payload(session, self._sealer, receipt.project_id, found)
            except SealBroken:
                raise NotFound(PAYLOAD_UNREADABLE) from None
            if text is None:
                raise NotFound(NO_PAYLOAD)
            await self._audit.record(
                session,
                actor,
                AuditAction.PAYLOAD_READ,
                Subject(SubjectType.RECEIPT, found),
                project_id=receipt.project_id,
            )
        return PayloadSnapshot(found, json.loads(text), receipt.listed_at + PAYLOAD_RETENTION)

    async def expire(self, project_id: str | None, event_id: str, *, actor: Actor) -> EventRow:
        """Set a test receipt's deadline to now.

        Raises: NotFound; Forbidden in a live project; NotWaiting.
        """
        async with self._database.transaction(project_id or ALL_PROJECTS) as session:
            receipt = (await load_event(session, project_id, event_id)).receipt
            refuse_live(receipt.livemode)
            now = await self._database.now(session)
            statements = SessionStatements(session)
            await deadline_moves.expire(
                statements, receipt.event_id, now, requested_by=actor.requested_by
            )
            subject = Subject(SubjectType.RECEIPT, receipt.event_id)
            await self._audit.record(
                session,
                actor,
                AuditAction.RECEIPT_EXPIRED,
                subject,
                project_id=receipt.project_id,
            )
            return await load_event(session, project_id, event_id)


async def load_event(session: AsyncSession, project_id: str | None, event_id: str) -> EventRow:
    """The receipt with its incident. Raises: NotFound."""
    row = await queries.read_event_row(
        session, project_or_none(project_id), EventId(known_id(event_id))
    )
    if row is None:
        raise event_not_found()
    return row


def event_not_found() -> NotFound:
    return NotFound("No event with this id exists here. Check the id and the project.")


def refuse_live(livemode: bool) -> None:
    """Refuse an action that only test projects have. Raises: Forbidden."""
    if livemode:
        raise Forbidden(
            "Receipts of a live project cannot be expired. Only those of a test project can."
        )
