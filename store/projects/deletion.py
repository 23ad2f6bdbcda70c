"""Deletes projects: keys are refused and nothing sealed opens from one transaction on; the rows are erased after that.

What is left of a project is its id and when it was deleted, since another process may take its receipts for a few seconds more:
whatever comes late is ended and erased like the rest. A project of which nothing is left is marked, and looked at no more but
once an hour. A receipt that waits has its deadline now, and each incident is closed; so
its run in the engine is told and ends, and the rows go a minute later. Called by the API's operations and by the worker's loop.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, exists, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import EventId, ProjectId
from domain.receipts import ReceiptState
from store.db.sql import SessionStatements, limit_lock_wait
from store.receipts.operator_actions import expire, resolve_manually
from store.receipts.transitions import Opened, open_incident
from store.schema import tables
from store.schema.mappers import RECEIPTS

TABLES = tables.Project.metadata.tables
PROJECTS, KEYS, SECRETS = TABLES["projects"], TABLES["api_keys"], TABLES["signing_secrets"]
MEMBERS, INVITATIONS = TABLES["members"], TABLES["invitations"]
ALERTS, IDEMPOTENCY, OUTBOX = TABLES["alerts"], TABLES["idempotency"], TABLES["outbox"]
OF_A_RECEIPT = ("alerts", "attempts", "repairs", "results", "timeline", "incidents", "stuck_runs")
# Its run has heard of the end by then.
ERASED_AFTER = timedelta(seconds=60)
# Longer than any process goes on taking receipts of a deleted project, but for one that is frozen meanwhile.
MARKED_AFTER = timedelta(hours=1)
# A request counts no further: the work of a deletion is the same for any number of receipts.
COUNTED = 1_000
ALERT_LANES = (tables.ALERT_IS_FRESH, tables.ALERT_IS_RETRIED)
# By the partial index `projects_left`.
_IS_LEFT = (PROJECTS.c.deleted_at.is_not(None), PROJECTS.c.erased_at.is_(None))
UNENDED = (ReceiptState.WAITING, ReceiptState.INCIDENT)
REASON = "The project was deleted."


@dataclass(frozen=True, slots=True)
class Erased:
    """What one batch erased of deleted projects: rows of receipts, stored answers, unsent alerts."""

    receipts: int
    answers: int
    alerts: int = 0

    @property
    def total(self) -> int:
        return self.receipts + self.answers + self.alerts


async def delete_project(session: AsyncSession, project_id: ProjectId, *, end_open: bool, now: datetime) -> int:
    """Delete the project; how many receipts had not ended, at most `COUNTED`. All of them end for it, in the worker's loop.

    The number of its receipts and alerts adds no work here: no alert has a destination from here on, and the loop erases them.

    Its data key, signing secrets and API keys are destroyed here. A backup from before still has them, sealed.

    Raises:
        NotFound: no such project.
        ValidationFailed: receipts have not ended, and `end_open` does not say that they may be.
    """
    held = select(PROJECTS.c.id).where(PROJECTS.c.id == project_id, PROJECTS.c.deleted_at.is_(None)).with_for_update()
    if (await session.execute(held)).first() is None:
        raise NotFound("There is no such project.")
    unended = await count_open(session, project_id)
    if unended and not end_open:
        told = f"{_at_most(unended)} receipts have not ended: wait until they have, or have them ended with it."
        raise ValidationFailed(errors=(FieldError("/end_open", "not_ended", told),))
    gone = {"name": project_id, "repair_url": None, "alert_emails": "[]", "snapshots": False, "data_key": b""}
    marked = update(PROJECTS).where(PROJECTS.c.id == project_id)
    await session.execute(marked.values(**gone, suspended_at=now, deleted_at=now))
    for table in (KEYS, SECRETS, MEMBERS, INVITATIONS):
        await session.execute(delete(table).where(table.c.project_id == project_id))
    return unended


async def count_open(session: AsyncSession, project_id: ProjectId) -> int:
    """How many of its receipts wait or have an incident; `COUNTED` stands for that many or more."""
    found = 0
    for state in UNENDED:
        left = COUNTED - found
        counted = _of_state(project_id, state).limit(left).subquery()
        found += await session.scalar(select(func.count()).select_from(counted)) or 0
    return found


async def has_deleted(session: AsyncSession) -> bool:
    """Whether any project was deleted of which something may be left."""
    return bool(await session.scalar(select(exists().where(*_IS_LEFT))))


async def open_of_deleted(session: AsyncSession, *, after: EventId | None, limit: int) -> list[EventId]:
    """Receipts of deleted projects that have not ended, in the order of their ids, from the one after `after`.

    Asked project by project: what others have open adds no work.
    """
    found: list[EventId] = []
    for project_id in await session.scalars(_deleted_projects()):
        for state in UNENDED:
            unended = _of_state(project_id, state).where(RECEIPTS.c.event_id > (after or ""))
            found += await _ids(session, unended.order_by(RECEIPTS.c.event_id).limit(limit))
    return sorted(found)[:limit]


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
        await resolve_manually(st, opened.incident_id, now, reason=REASON, requested_by="makegood")


async def erase_deleted(session: AsyncSession, now: datetime, *, limit: int = 200) -> Erased:
    """One batch of what deleted projects have left and what has ended, at most `limit` of each; there is more to come while
    `total` is not 0."""
    return Erased(**{kind: await erase_kind(session, kind, now, limit=limit) for kind in KINDS})


async def erase_kind(session: AsyncSession, kind: str, now: datetime, *, limit: int = 200) -> int:
    """One batch of that kind, one of `KINDS`; how many."""
    return await KINDS[kind](session, now, limit)


async def mark_erased(session: AsyncSession, now: datetime) -> int:
    """Mark the deleted projects of which nothing is left; how many."""
    is_old = (PROJECTS.c.deleted_at <= now - MARKED_AFTER, PROJECTS.c.erased_at.is_(None))
    marked = update(PROJECTS).where(PROJECTS.c.deleted_at.is_not(None), *is_old, ~_has_rows()).values(erased_at=now)
    return len((await session.execute(marked.returning(PROJECTS.c.id))).all())


async def unmark_erased(session: AsyncSession) -> int:
    """Take the mark off the projects of which something came late all the same; how many."""
    late = update(PROJECTS).where(PROJECTS.c.erased_at.is_not(None), _has_rows()).values(erased_at=None)
    return len((await session.execute(late.returning(PROJECTS.c.id))).all())


async def _erase_receipts(session: AsyncSession, now: datetime, limit: int) -> int:
    is_told = ~exists().where(OUTBOX.c.event_id == RECEIPTS.c.event_id)
    ended = select(RECEIPTS.c.event_id).where(_is_theirs(), RECEIPTS.c.ended_at <= now - ERASED_AFTER, is_told)
    erased = await _ids(session, ended.limit(limit))
    for name in OF_A_RECEIPT:
        await session.execute(delete(TABLES[name]).where(TABLES[name].c.event_id.in_(erased)))
    await session.execute(delete(RECEIPTS).where(RECEIPTS.c.event_id.in_(erased)))
    return len(erased)


async def _erase_answers(session: AsyncSession, now: datetime, limit: int) -> int:
    del now
    of_project = (IDEMPOTENCY.c.project_id, IDEMPOTENCY.c.endpoint, IDEMPOTENCY.c.key)
    is_theirs = IDEMPOTENCY.c.project_id.in_(_deleted_projects())
    found = (await session.execute(select(*of_project).where(is_theirs).limit(limit))).all()
    for row in found:
        is_it = (column == value for column, value in zip(of_project, row, strict=True))
        await session.execute(delete(IDEMPOTENCY).where(*is_it))
    return len(found)


async def _erase_alerts(session: AsyncSession, now: datetime, limit: int) -> int:
    """Alerts that nobody is sent any more, by the partial indexes of those that are not over."""
    del now
    erased = 0
    for lane in ALERT_LANES:
        unsent = select(ALERTS.c.id).where(ALERTS.c.project_id.in_(_deleted_projects()), text(lane)).limit(limit)
        # None that another transaction holds: the next batch has it.
        held = list(await session.scalars(unsent.with_for_update(skip_locked=True)))
        await session.execute(delete(ALERTS).where(ALERTS.c.id.in_(held)))
        erased += len(held)
    return erased


def _deleted_projects() -> Select[Any]:
    return select(PROJECTS.c.id).where(*_IS_LEFT)


def _has_rows() -> ColumnElement[bool]:
    """Whether anything of the project is left, asked through the indexes that begin with the project."""
    unsent = [exists().where(ALERTS.c.project_id == PROJECTS.c.id, text(lane)) for lane in ALERT_LANES]
    kept = [exists().where(table.c.project_id == PROJECTS.c.id) for table in (RECEIPTS, IDEMPOTENCY)]
    return or_(*kept, *unsent)


def _is_theirs() -> ColumnElement[bool]:
    return RECEIPTS.c.project_id.in_(_deleted_projects())


def _of_state(project_id: str, state: ReceiptState) -> Select[Any]:
    """Through the index `receipts_by_state`, which reads no other project's rows."""
    return select(RECEIPTS.c.event_id).where(RECEIPTS.c.project_id == project_id, RECEIPTS.c.state == state.value)


def _at_most(count: int) -> str:
    return f"{COUNTED:,} or more" if count >= COUNTED else str(count)


async def _ids(session: AsyncSession, query: Select[Any]) -> list[EventId]:
    return [EventId(row.event_id) for row in await session.execute(query)]


# By the names of `Erased`.
KINDS: Mapping[str, Callable[[AsyncSession, datetime, int], Awaitable[int]]] = {
    "receipts": _erase_receipts,
    "answers": _erase_answers,
    "alerts": _erase_alerts,
}
