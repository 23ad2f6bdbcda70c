"""Deletes projects. One transaction refuses the keys and destroys the secrets; a worker loop erases
the rows later.

1. The project's id and the time of its deletion remain, because another process may accept its
   receipts for a few more seconds.
2. Receipts that arrive late are ended and erased like the others.
3. The deadline of a waiting receipt moves to now and each incident is closed, so the runs in
   Temporal are signalled and end.
4. The rows of an ended receipt are erased a minute later.
5. A project without rows is marked as erased, and checked only once an hour.

Called by the API's operations and by the worker's loop.
"""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, exists, func, or_, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, NotFound, ValidationFailed
from domain.ids import EventId, ProjectId
from domain.lifecycle import OPEN_STATES, Trigger
from domain.receipts import ReceiptState
from store.db.sql import SessionStatements, limit_lock_wait
from store.projects.first_steps import forget_checklist
from store.projects.group_erasure import erase_groups
from store.projects.source_removal import remove_sources
from store.receipts.lists.search_index import empty_unusable_index
from store.receipts.operator_actions import resolve_manually
from store.receipts.state import load_snapshot, lock_receipt
from store.receipts.transitions import apply_transition
from store.schema import tables
from store.schema.tables import ALERTS, IDEMPOTENCY, OUTBOX, PROJECTS, RECEIPTS, TABLES

# Few rows each, deleted in the transaction of the deletion.
GONE_AT_ONCE = (
    *(tables.API_KEYS, tables.SIGNING_SECRETS, tables.MEMBERS, tables.INVITATIONS),
    *(tables.ALERT_DESTINATIONS, tables.HOLDS, tables.BULK_REPAIRS, tables.REPAIR_RULES),
    *(tables.SAVED_VIEWS, *tables.OF_COUNTS),
)

OF_A_RECEIPT = (
    *("alerts", "attempts", "repairs", "results", "timeline", "incidents", "stuck_runs"),
    *("search_texts", "bulk_repair_items", "rule_turns", "rule_repairs"),
)
# By then the run has received the signal.
ERASED_AFTER = timedelta(seconds=60)
# Longer than any process accepts receipts of a deleted project, unless it is frozen meanwhile.
MARKED_AFTER = timedelta(hours=1)
# A request counts up to this: the work of a deletion does not grow with the number of receipts.
COUNTED = 1_000
ALERT_LANES = (tables.ALERT_IS_FRESH, tables.ALERT_IS_RETRIED)
# By the partial index `projects_left`.
_IS_LEFT = (PROJECTS.c.deleted_at.is_not(None), PROJECTS.c.erased_at.is_(None))
OPEN_RECEIPT_STATES = (ReceiptState.EXPECTED, ReceiptState.WAITING, ReceiptState.INCIDENT)
REASON = "The project was deleted."


@dataclass(frozen=True, slots=True)
class Erased:
    """The rows of deleted projects that one batch erased. `answers` are stored responses."""

    receipts: int
    answers: int
    alerts: int = 0
    groups: int = 0

    @property
    def total(self) -> int:
        return self.receipts + self.answers + self.alerts + self.groups


async def delete_project(
    session: AsyncSession, project_id: ProjectId, *, end_open: bool, now: datetime
) -> int:
    """Delete the project; returns how many receipts were open, at most `COUNTED`. The worker's loop
    ends all of them.

    The work does not grow with the number of its receipts and alerts: alerts have no destination
    from now on, and the loop erases them. The data key, signing secrets, API keys, alert
    destinations and secrets of sources are destroyed here. An earlier backup has them, sealed.

    Raises:
        NotFound: no such project.
        ValidationFailed: receipts are open, and `end_open` is false.
    """
    locked = (
        select(PROJECTS.c.id)
        .where(PROJECTS.c.id == project_id, PROJECTS.c.deleted_at.is_(None))
        .with_for_update()
    )
    if (await session.execute(locked)).first() is None:
        raise NotFound("There is no such project.")
    open_count = await count_open(session, project_id)
    if open_count and not end_open:
        message = (
            f"{_at_most(open_count)} receipts have not ended: wait until they have, or have them"
            " ended with it."
        )
        raise ValidationFailed(errors=(FieldError("/end_open", "not_ended", message),))
    gone = {"name": project_id, "repair_url": None, "snapshots": False, "data_key": b""}
    marked = update(PROJECTS).where(PROJECTS.c.id == project_id)
    await session.execute(marked.values(**gone, suspended_at=now, deleted_at=now))
    for table in GONE_AT_ONCE:
        await session.execute(delete(table).where(table.c.project_id == project_id))
    await forget_checklist(session, project_id)
    await remove_sources(session, project_id, now)
    return open_count


async def count_open(session: AsyncSession, project_id: ProjectId) -> int:
    """The number of its open receipts; `COUNTED` means that many or more."""
    found = 0
    for state in OPEN_RECEIPT_STATES:
        left = COUNTED - found
        counted = _of_state(project_id, state).limit(left).subquery()
        found += await session.scalar(select(func.count()).select_from(counted)) or 0
    return found


async def has_deleted(session: AsyncSession) -> bool:
    """Whether any deleted project may still have rows."""
    return bool(await session.scalar(select(exists().where(*_IS_LEFT))))


async def open_of_deleted(
    session: AsyncSession, *, after: EventId | None, limit: int
) -> list[EventId]:
    """Open receipts of deleted projects by id, from the one after `after`.

    Queried project by project, so that the open receipts of other projects add no work.
    """
    found: list[EventId] = []
    for project_id in await session.scalars(_deleted_projects()):
        for state in OPEN_RECEIPT_STATES:
            open_receipts = _of_state(project_id, state).where(RECEIPTS.c.event_id > (after or ""))
            found += await _ids(session, open_receipts.order_by(RECEIPTS.c.event_id).limit(limit))
    return sorted(found)[:limit]


async def end_deleted(session: AsyncSession, event_id: EventId, now: datetime) -> None:
    """End a receipt of a deleted project: one without an incident gets one first, then the incident
    is closed.

    The project sends no alerts any more. Another worker may have erased the receipt meanwhile.
    """
    st = SessionStatements(session)
    await limit_lock_wait(st)
    try:
        # Locked before it is examined: a result may arrive meanwhile.
        locked = await lock_receipt(st, event_id)
    except NotFound:
        return
    await apply_transition(st, locked, Trigger.PURGE, now)
    purged = await load_snapshot(st, event_id)
    if purged.state in OPEN_STATES:
        await resolve_manually(st, purged.incident, now, reason=REASON, requested_by="makegood")


async def erase_deleted(session: AsyncSession, now: datetime, *, limit: int = 200) -> Erased:
    """Erase one batch of ended rows of deleted projects, at most `limit` of each kind. Repeat while
    `total` is not 0.
    """
    return Erased(**{kind: await erase_kind(session, kind, now, limit=limit) for kind in KINDS})


async def erase_kind(
    session: AsyncSession, kind: str, now: datetime, *, limit: int = 200, skip: int | None = None
) -> int:
    """Erase one batch of a kind, one of `KINDS`; returns how many rows.

    `skip`: leave out so many rows, in the order of their keys, because they cannot be erased.
    """
    return await KINDS[kind](session, now, limit, skip)


async def mark_erased(session: AsyncSession, now: datetime) -> int:
    """Mark the deleted projects without rows as erased; returns how many."""
    is_old = (PROJECTS.c.deleted_at <= now - MARKED_AFTER, PROJECTS.c.erased_at.is_(None))
    marked = (
        update(PROJECTS)
        .where(PROJECTS.c.deleted_at.is_not(None), *is_old, ~_has_rows())
        .values(erased_at=now)
    )
    return len((await session.execute(marked.returning(PROJECTS.c.id))).all())


async def unmark_erased(session: AsyncSession) -> int:
    """Unmark erased projects that got late rows; returns how many."""
    late = (
        update(PROJECTS)
        .where(PROJECTS.c.erased_at.is_not(None), _has_rows())
        .values(erased_at=None)
    )
    return len((await session.execute(late.returning(PROJECTS.c.id))).all())


async def _erase_receipts(
    session: AsyncSession, now: datetime, limit: int, skip: int | None
) -> int:
    is_dispatched = ~exists().where(OUTBOX.c.event_id == RECEIPTS.c.event_id)
    ended = select(RECEIPTS.c.event_id).where(
        _is_theirs(), RECEIPTS.c.ended_at <= now - ERASED_AFTER, is_dispatched
    )
    erased = await _ids(session, _window(ended, limit, skip, RECEIPTS.c.event_id))
    await empty_unusable_index(SessionStatements(session))
    for name in OF_A_RECEIPT:
        await session.execute(delete(TABLES[name]).where(TABLES[name].c.event_id.in_(erased)))
    await session.execute(delete(RECEIPTS).where(RECEIPTS.c.event_id.in_(erased)))
    return len(erased)


async def _erase_answers(session: AsyncSession, now: datetime, limit: int, skip: int | None) -> int:
    del now
    of_project = (IDEMPOTENCY.c.project_id, IDEMPOTENCY.c.endpoint, IDEMPOTENCY.c.key)
    is_theirs = IDEMPOTENCY.c.project_id.in_(_deleted_projects())
    query = _window(select(*of_project).where(is_theirs), limit, skip, *of_project)
    found = (await session.execute(query)).all()
    for row in found:
        is_it = (column == value for column, value in zip(of_project, row, strict=True))
        await session.execute(delete(IDEMPOTENCY).where(*is_it))
    return len(found)


async def _erase_alerts(session: AsyncSession, now: datetime, limit: int, skip: int | None) -> int:
    """Erase unsent alerts, by the partial indexes of pending ones."""
    del now
    erased = 0
    for lane in ALERT_LANES:
        of_lane = (ALERTS.c.project_id.in_(_deleted_projects()), text(lane))
        unsent = _window(select(ALERTS.c.id).where(*of_lane), limit, skip, ALERTS.c.id)
        # Locked alerts are skipped: the next batch erases them.
        locked = list(await session.scalars(unsent.with_for_update(skip_locked=True)))
        await session.execute(delete(ALERTS).where(ALERTS.c.id.in_(locked)))
        erased += len(locked)
    return erased


async def _erase_groups(session: AsyncSession, now: datetime, limit: int, skip: int | None) -> int:
    del now
    groups = tables.INCIDENT_GROUPS
    theirs = select(groups.c.id).where(groups.c.project_id.in_(_deleted_projects()))
    return await erase_groups(session, _window(theirs, limit, skip, groups.c.id))


def _window(
    query: Select[Any], limit: int, skip: int | None, *keys: ColumnElement[Any]
) -> Select[Any]:
    """One batch, unsorted if `skip` is None, because sorting reads all rows."""
    batch = query.limit(limit)
    return batch if skip is None else batch.order_by(*keys).offset(skip)


def _deleted_projects() -> Select[Any]:
    return select(PROJECTS.c.id).where(*_IS_LEFT)


def _has_rows() -> ColumnElement[bool]:
    """Whether the project has rows left, by the indexes that begin with the project."""
    unsent = [
        exists().where(ALERTS.c.project_id == PROJECTS.c.id, text(lane)) for lane in ALERT_LANES
    ]
    of_project = (RECEIPTS, IDEMPOTENCY, tables.SOURCES, tables.INCIDENT_GROUPS)
    stored = [exists().where(table.c.project_id == PROJECTS.c.id) for table in of_project]
    return or_(*stored, *unsent)


def _is_theirs() -> ColumnElement[bool]:
    return RECEIPTS.c.project_id.in_(_deleted_projects())


def _of_state(project_id: str, state: ReceiptState) -> Select[Any]:
    """By the index `receipts_by_state`, which reads no rows of other projects."""
    return select(RECEIPTS.c.event_id).where(
        RECEIPTS.c.project_id == project_id, RECEIPTS.c.state == state.value
    )


def _at_most(count: int) -> str:
    return f"{COUNTED:,} or more" if count >= COUNTED else str(count)


async def _ids(session: AsyncSession, query: Select[Any]) -> list[EventId]:
    return [EventId(row.event_id) for row in await session.execute(query)]


# By the names of `Erased`.
KINDS: Mapping[str, Callable[[AsyncSession, datetime, int, int | None], Awaitable[int]]] = {
    "receipts": _erase_receipts,
    "answers": _erase_answers,
    "alerts": _erase_alerts,
    "groups": _erase_groups,
}
