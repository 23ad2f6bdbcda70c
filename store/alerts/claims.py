"""Leases due alerts to a sender, so that no other sender sends them meanwhile.

The rows are those of `alerts` that are neither sent nor ended, and whose `due_at` has passed. A new
alert has not failed yet (`tries` is 0); a retry has. `claim_alerts` works in three steps:

1. Find candidates and lock their rows: of one incident, or of all projects. Projects take turns,
   separately for new alerts and for retries.
2. Keep the candidates that fit into the sender's free slots (`SlotUsage`). A project's addresses
   that timed out recently are silent: they share one slot, and delay no other address.
3. Lease them: set `due_at` to the end of the lease.

`store.alerts.delivery` records the outcome. An alert without one is due again after the lease.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Row,
    Select,
    TextClause,
    exists,
    func,
    select,
    text,
    tuple_,
    update,
)
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, IncidentId, ReplayId, is_group_id
from domain.incidents import AlertKind
from domain.values.enums import member_or_text
from store.alerts.due import AlertDue
from store.schema import tables
from store.schema.tables import ALERTS, PROJECTS

FRESH, RETRIED = text(tables.ALERT_IS_FRESH), text(tables.ALERT_IS_RETRIED)
# One slot in four is reserved for retries, and one in four for new alerts.
RETRIED_SHARE = 4
# At most one slot in two is for silent addresses: those that did not answer recently.
SILENT_SHARE = 2
# Their subject is no repair.
_NOTICES = frozenset(
    {
        AlertKind.INCIDENT_OPENED,
        AlertKind.INCIDENT_ASSIGNED,
        AlertKind.DESTINATION_FAILING,
        AlertKind.SOURCE_SILENT,
        AlertKind.EARLY_RESULTS_UNCLAIMED,
        AlertKind.PROJECT_SILENT,
        AlertKind.INCIDENT_ACKNOWLEDGED,
        AlertKind.BULK_REPAIR_ENDED,
        AlertKind.RULE_DISARMED,
    }
)


@dataclass(frozen=True, slots=True)
class SlotUsage:
    """The slots in use of a sender that claims again whenever one is free. Unbounded when `of_each`
    is None.

    `taken` is the number of slots of each project, `retried` the number used for retries, `of_each`
    a project's limit. `silent` are the addresses of each project that did not answer recently; they
    share one slot. In the projects of `silent_taken` that slot is in use. Together they have half
    of the slots.
    """

    taken: Mapping[str, int] = field(default_factory=dict)
    retried: int = 0
    of_each: int | None = None
    silent: Mapping[str, frozenset[str]] = field(default_factory=dict)
    silent_taken: frozenset[str] = frozenset()

    def left_for(self, project_id: str, limit: int) -> int:
        """How many more of `limit` slots the project may take."""
        if self.of_each is None:
            return limit
        return max(0, min(limit, self.of_each - self.taken.get(project_id, 0)))

    def left_for_silent(self, limit: int) -> int:
        """How many of `limit` slots addresses that did not answer may take."""
        if self.of_each is None:
            return limit
        return max(0, (limit + sum(self.taken.values())) // SILENT_SHARE - len(self.silent_taken))


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A due alert whose row is locked. `is_silent`: its address did not answer recently."""

    alert_id: int
    project_id: str
    is_silent: bool


WITHOUT_BOUND = SlotUsage()


async def claim_alerts(
    session: AsyncSession,
    now: datetime,
    *,
    incident_id: IncidentId | None = None,
    limit: int,
    lease_seconds: int = 30,
    usage: SlotUsage = WITHOUT_BOUND,
) -> list[AlertDue]:
    """Lease up to `limit` due alerts; no other sender gets them during the lease.

    With `incident_id`, these are the oldest of that incident. Without it, projects take turns, and
    retries have a share of their own. So neither a long queue, many retries nor many new alerts
    delay the others. `usage` are the slots that the sender uses already.
    """
    if incident_id:
        candidates = await _candidates_of_incident(session, now, incident_id, limit, usage)
    else:
        candidates = await _candidates_of_all_projects(session, now, limit, usage)
    ids = _ids_that_fit(candidates, limit, usage)
    if not ids:
        return []
    lease = (
        update(ALERTS)
        .where(ALERTS.c.id.in_(ids))
        .values(due_at=now + timedelta(seconds=lease_seconds))
    )
    leased = (await session.execute(lease.returning(ALERTS))).all()
    return [_alert_due(row) for row in sorted(leased, key=lambda row: int(row.id))]


async def _candidates_of_incident(
    session: AsyncSession, now: datetime, incident_id: IncidentId, limit: int, usage: SlotUsage
) -> list[_Candidate]:
    project_id = await session.scalar(
        select(ALERTS.c.project_id).where(ALERTS.c.incident_id == incident_id).limit(1)
    )
    is_due = (ALERTS.c.sent_at.is_(None), ALERTS.c.ended_at.is_(None), ALERTS.c.due_at <= now)
    due = select(ALERTS.c.id).where(ALERTS.c.incident_id == incident_id, *is_due)
    return await _candidates_of_project(session, due, project_id or "", limit, usage)


async def _candidates_of_all_projects(
    session: AsyncSession, now: datetime, limit: int, usage: SlotUsage
) -> list[_Candidate]:
    """New alerts and retries, in the order in which they get slots.

    1. Retries come first, until they use their reserved share of the slots.
    2. New alerts follow.
    3. Further retries come last. A share as large stays free of them, even without new alerts.
    """
    fresh = await _take_turns(session, now, FRESH, limit, usage)
    retried = await _take_turns(session, now, RETRIED, limit, usage)
    all_slots = limit + sum(usage.taken.values())
    reserved = all_slots // RETRIED_SHARE
    first = min(len(retried), max(0, reserved - usage.retried))
    most = limit if usage.of_each is None else max(0, all_slots - reserved - usage.retried)
    return [*retried[:first], *fresh, *retried[first:most]]


async def _take_turns(
    session: AsyncSession, now: datetime, lane: TextClause, limit: int, usage: SlotUsage
) -> list[_Candidate]:
    """The oldest due alert of each project, then the second of each, and so on.

    `lane` is `FRESH` or `RETRIED`. With more than `limit` projects, they are drawn at random. A
    project is left out if it has no free slot, or only alerts that `_need_not_wait` excludes.
    """
    full = [project_id for project_id in usage.taken if not usage.left_for(project_id, limit)]
    is_due: tuple[Any, ...] = (
        ALERTS.c.project_id == PROJECTS.c.id,
        lane,
        ALERTS.c.due_at <= now,
        *_need_not_wait(usage, limit),
    )
    drawn = (
        select(PROJECTS.c.id)
        .where(exists().where(*is_due), PROJECTS.c.id.not_in(full))
        .order_by(func.random())
        .limit(limit)
    )
    queues = []
    for row in await session.execute(drawn):
        due = select(ALERTS.c.id).where(ALERTS.c.project_id == row.id, lane, ALERTS.c.due_at <= now)
        queues.append(await _candidates_of_project(session, due, row.id, limit, usage))
    return [queue[turn] for turn in range(limit + 1) for queue in queues if turn < len(queue)]


def _need_not_wait(usage: SlotUsage, limit: int) -> tuple[ColumnElement[bool], ...]:
    """The condition that an alert is not for a silent address without a free slot.

    The silent addresses of a project have none while its slot for them is in use. All have none
    while they use their half of the sender's slots.
    """
    waiting = usage.silent_taken if usage.left_for_silent(limit) else usage.silent.keys()
    pairs = [
        (project_id, address)
        for project_id in waiting
        for address in usage.silent.get(project_id, ())
    ]
    return (tuple_(ALERTS.c.project_id, ALERTS.c.destination).not_in(pairs),) if pairs else ()


async def _candidates_of_project(
    session: AsyncSession, due: Select[Any], project_id: str, limit: int, usage: SlotUsage
) -> list[_Candidate]:
    """The alerts of the query `due` that fit into the project's free slots, oldest first.

    At most one of them is for a silent address. It comes second, so that neither kind waits for the
    other.
    """
    left, silent = usage.left_for(project_id, limit), usage.silent.get(project_id, frozenset())
    if not left:
        return []
    others = due.where(ALERTS.c.destination.not_in(silent)) if silent else due
    candidates = [
        _Candidate(alert_id, project_id, is_silent=False)
        for alert_id in await _lock_oldest(session, others, left)
    ]
    if silent and project_id not in usage.silent_taken:
        of_silent = await _lock_oldest(session, due.where(ALERTS.c.destination.in_(silent)), 1)
        candidates[1:1] = [
            _Candidate(alert_id, project_id, is_silent=True) for alert_id in of_silent
        ]
    return candidates


async def _lock_oldest(session: AsyncSession, due: Select[Any], limit: int) -> list[int]:
    """Lock the oldest rows of the query that no other sender has locked; returns their ids."""
    oldest = due.order_by(ALERTS.c.due_at, ALERTS.c.id).limit(limit)
    return [row.id for row in await session.execute(oldest.with_for_update(skip_locked=True))]


def _ids_that_fit(candidates: list[_Candidate], limit: int, usage: SlotUsage) -> list[int]:
    """The ids of the candidates that get a free slot, in order, `limit` at most."""
    taken, silent_taken = Counter(usage.taken), set(usage.silent_taken)
    most_silent = len(silent_taken) + usage.left_for_silent(limit)
    ids: list[int] = []
    for alert in candidates:
        has_slot = SlotUsage(taken, 0, usage.of_each).left_for(alert.project_id, 1) > 0
        must_wait = alert.is_silent and (
            alert.project_id in silent_taken or len(silent_taken) >= most_silent
        )
        if len(ids) == limit or not has_slot or must_wait:
            continue
        ids.append(alert.alert_id)
        taken[alert.project_id] += 1
        if alert.is_silent:
            silent_taken.add(alert.project_id)
    return ids


def _alert_due(row: Row[Any]) -> AlertDue:
    is_notice = row.kind in _NOTICES or is_group_id(row.incident_id)
    subject = row.replay_id or None
    return AlertDue(
        alert_id=row.id,
        kind=member_or_text(AlertKind, row.kind),
        channel=row.channel,
        destination=row.destination,
        event_id=EventId(row.event_id),
        incident_id=IncidentId(row.incident_id),
        replay_id=None if is_notice or subject is None else ReplayId(subject),
        about=subject if is_notice else None,
        tries=row.tries,
        failing_since=row.failing_since,
        project_id=row.project_id or "",
        created_at=row.created_at,
    )
