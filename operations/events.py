"""The operations on events: list, read, read the timeline, expire."""

from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.errors import Forbidden, NotFound
from domain.ids import EventId
from operations.audit_writer import AuditWriter
from operations.lists import (
    ALL_PROJECTS,
    DEFAULT_LIMIT,
    ListFilters,
    page_view,
    project_or_none,
    store_filters,
)
from operations.serializers import event_view, full_event_view, timeline_view
from operations.validation import Json, known_id
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts import operator_actions, queries
from store.receipts.timeline import read_timeline


class EventOperations:
    """Events of an opened store."""

    def __init__(self, database: Database, audit: AuditWriter) -> None:
        self._database, self._audit = database, audit

    async def list_events(
        self,
        project_id: str | None,
        filters: ListFilters,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Json:
        """A page of events, newest first.

        Raises: ValidationFailed for an ill-formed filter, or a cursor that this service did not
            issue.
        """
        async with self._database.searching(project_id or ALL_PROJECTS) as session:
            narrowed = store_filters(project_id, filters)
            page = await queries.list_events(session, narrowed, limit=limit, cursor=cursor)
        rows = [event_view(row.receipt, row.incident) for row in page.rows]
        return page_view(rows, page.next_cursor)

    async def read_event(self, project_id: str | None, event_id: str) -> Json:
        """The event with its newest repairs and timeline entries. Raises: NotFound."""
        async with self._database.reading(project_id or ALL_PROJECTS) as session:
            event = await queries.read_event(
                session, project_or_none(project_id), EventId(known_id(event_id))
            )
        if event is None:
            raise event_not_found()
        return full_event_view(event.receipt, event.incident, event.repairs, event.timeline)

    async def read_timeline(
        self,
        project_id: str | None,
        event_id: str,
        limit: int = DEFAULT_LIMIT,
        cursor: str | None = None,
    ) -> Json:
        """A page of the event's timeline, newest first.

        Raises: NotFound; ValidationFailed for a cursor that this service did not issue.
        """
        async with self._database.reading(project_id or ALL_PROJECTS) as session:
            row = await load_event(session, project_id, event_id)
            page = await read_timeline(session, row.receipt, limit=limit, cursor=cursor)
        rows = [timeline_view(entry) for entry in reversed(page.entries)]
        return page_view(rows, page.next_cursor)

    async def expire(self, project_id: str | None, event_id: str, *, actor: Actor) -> Json:
        """Set a test receipt's deadline to now.

        Raises: NotFound; Forbidden in a live project; NotWaiting.
        """
        async with self._database.transaction(project_id or ALL_PROJECTS) as session:
            receipt = (await load_event(session, project_id, event_id)).receipt
            refuse_live(receipt.livemode)
            now = await self._database.now(session)
            statements = SessionStatements(session)
            await operator_actions.expire(
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
            after = await load_event(session, project_id, event_id)
        return event_view(after.receipt, after.incident)


async def load_event(
    session: AsyncSession, project_id: str | None, event_id: str
) -> queries.EventRow:
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
            "Receipts of a live project cannot be expired. Use the key of a test project."
        )
