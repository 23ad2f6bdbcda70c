"""Deletes projects: keys are refused and nothing sealed opens from one transaction on; the rows are erased after that.

What is left of a project is its id and when it was deleted, since another process may take its receipts for a few seconds more:
whatever comes late is ended and erased like the rest. A receipt that waits has its deadline now, and each incident is closed; so
its run in the engine is told and ends, and the rows go a minute later. Called by the API's operations and by the worker's loop.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, exists, func, literal_column, select, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import EventId, ProjectId
from domain.receipts import ReceiptState
from store import tables
from store.conversions import RECEIPTS
from store.moves import Opened, open_incident
from store.requests import expire, resolve_by_hand
from store.statements import SessionStatements, limit_lock_wait

TABLES = tables.Project.metadata.tables
PROJECTS, KEYS, SECRETS = TABLES["projects"], TABLES["api_keys"], TABLES["signing_secrets"]
MEMBERS, INVITATIONS = TABLES["members"], TABLES["invitations"]
ALERTS, IDEMPOTENCY, OUTBOX = TABLES["alerts"], TABLES["idempotency"], TABLES["outbox"]
OF_A_RECEIPT = ("alerts", "attempts", "repairs", "results", "timeline", "incidents", "stuck_runs")
# Its run has heard of the end by then.
ERASED_AFTER = timedelta(seconds=60)
REASON = "The project was deleted."


@dataclass(frozen=True, slots=True)
class Erased:
    """What one batch erased of deleted projects: rows of receipts and stored answers."""

    receipts: int
    answers: int

    @property
    def total(self) -> int:
        return self.receipts + self.answers


async def delete_project(session: AsyncSession, project_id: ProjectId, *, end_open: bool, now: datetime) -> int:
    """Delete the project; how many receipts had not ended, all of which are ended for it.

    Its data key, signing secrets and API keys are destroyed here. A backup from before still has them, sealed.

    Raises:
        NotFound: no such project.
        ValidationFailed: receipts have not ended, and `end_open` does not say that they may be.
    """
    held = select(PROJECTS.c.id).where(PROJECTS.c.id == project_id, PROJECTS.c.deleted_at.is_(None)).with_for_update()
    if (await session.execute(held)).first() is None:
        raise NotFound("There is no such project.")
    unended = await count_unended(session, project_id)
    if unended and not end_open:
        told = f"{unended} receipts have not ended: wait until they have, or have them ended with it."
        raise ValidationFailed(errors=(FieldError("/end_open", "not_ended", told),))
    gone = {"name": project_id, "repair_url": None, "alert_emails": "[]", "snapshots": False, "data_key": b""}
    marked = update(PROJECTS).where(PROJECTS.c.id == project_id)
    await session.execute(marked.values(**gone, suspended_at=now, deleted_at=now))
    for table in (KEYS, SECRETS, MEMBERS, INVITATIONS):
        await session.execute(delete(table).where(table.c.project_id == project_id))
    of_project = select(RECEIPTS.c.event_id).where(RECEIPTS.c.project_id == project_id)
    await session.execute(delete(ALERTS).where(ALERTS.c.sent_at.is_(None), ALERTS.c.event_id.in_(of_project)))
    return unended


async def count_unended(session: AsyncSession, project_id: ProjectId) -> int:
    """How many of its receipts wait or have an incident."""
    counted = select(func.count()).where(RECEIPTS.c.project_id == project_id, _is_unended())
    return await session.scalar(counted) or 0


async def has_deleted(session: AsyncSession) -> bool:
    """Whether any project was ever deleted."""
    return bool(await session.scalar(select(exists().where(PROJECTS.c.deleted_at.is_not(None)))))


async def unended_of_deleted(session: AsyncSession, *, after: EventId | None, limit: int) -> list[EventId]:
    """Receipts of deleted projects that have not ended, in the order of their ids, from the one after `after`."""
    unended = select(RECEIPTS.c.event_id).where(_is_theirs(), _is_unended(), RECEIPTS.c.event_id > (after or ""))
    return await _ids(session, unended.order_by(RECEIPTS.c.event_id).limit(limit))


async def end_deleted(session: AsyncSession, event_id: EventId, now: datetime) -> None:
    """Close its incident; a receipt that waits gets one first. Its project alerts nobody any more."""
    st = SessionStatements(session)
    await limit_lock_wait(st)
    waiting = select(RECEIPTS.c.event_id).where(RECEIPTS.c.event_id == event_id, RECEIPTS.c.state == ReceiptState.WAITING.value)
    # Held before it is looked at: a result may be on its way.
    if (await session.execute(waiting.with_for_update())).first() is not None:
        await expire(st, event_id, now, requested_by="makegood")
    opened = await open_incident(st, event_id, now)
    if isinstance(opened, Opened):
        await resolve_by_hand(st, opened.incident_id, now, reason=REASON, requested_by="makegood")


async def erase_deleted(session: AsyncSession, now: datetime, *, limit: int = 200) -> Erased:
    """One batch of what deleted projects have left and what has ended, at most `limit` of each; there is more to come while
    `total` is not 0."""
    is_told = ~exists().where(OUTBOX.c.event_id == RECEIPTS.c.event_id)
    ended = select(RECEIPTS.c.event_id).where(_is_theirs(), RECEIPTS.c.ended_at <= now - ERASED_AFTER, is_told)
    erased = await _ids(session, ended.limit(limit))
    for name in OF_A_RECEIPT:
        await session.execute(delete(TABLES[name]).where(TABLES[name].c.event_id.in_(erased)))
    await session.execute(delete(RECEIPTS).where(RECEIPTS.c.event_id.in_(erased)))
    return Erased(len(erased), await _erase_answers(session, limit))


async def _erase_answers(session: AsyncSession, limit: int) -> int:
    of_project = (IDEMPOTENCY.c.project_id, IDEMPOTENCY.c.endpoint, IDEMPOTENCY.c.key)
    is_theirs = IDEMPOTENCY.c.project_id.in_(_deleted_projects())
    found = (await session.execute(select(*of_project).where(is_theirs).limit(limit))).all()
    for row in found:
        is_it = (column == value for column, value in zip(of_project, row, strict=True))
        await session.execute(delete(IDEMPOTENCY).where(*is_it))
    return len(found)


def _deleted_projects() -> Select[Any]:
    return select(PROJECTS.c.id).where(PROJECTS.c.deleted_at.is_not(None))


def _is_theirs() -> ColumnElement[bool]:
    return RECEIPTS.c.project_id.in_(_deleted_projects())


def _is_unended() -> ColumnElement[bool]:
    # Spelled out, not bound: only so do both engines see that the partial index `receipts_unended` holds them all.
    return RECEIPTS.c.state.in_((literal_column("'waiting'"), literal_column("'incident'")))


async def _ids(session: AsyncSession, query: Select[Any]) -> list[EventId]:
    return [EventId(row.event_id) for row in await session.execute(query)]
