"""Leases due alerts to a sender: projects take turns, and addresses that do not respond are tried
one at a time.

A row that is not recorded before its lease ends is claimed again (`store.alerts.delivery` records).
The addresses of a project that timed out recently share one slot, so that they do not delay the
project's other addresses.
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

from domain.ids import EventId, IncidentId, ReplayId
from domain.incidents import AlertKind
from store.alerts.delivery import AlertDue
from store.schema import tables
from store.schema.tables import ALERTS, PROJECTS

FRESH, RETRIED = text(tables.ALERT_IS_FRESH), text(tables.ALERT_IS_RETRIED)
# One slot in four is reserved for retries, however many alerts are new.
RETRIED_SHARE = 4
# Of all places one in two is for addresses that did not answer lately, at most.
SILENT_SHARE = 2


@dataclass(frozen=True, slots=True)
class Places:
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
        """How many of `limit` places addresses that did not answer may take."""
        if self.of_each is None:
            return limit
        return max(0, (limit + sum(self.taken.values())) // SILENT_SHARE - len(self.silent_taken))


@dataclass(frozen=True, slots=True)
class _Found:
    """An alert that is due."""

    alert_id: int
    project_id: str
    is_silent: bool


WITHOUT_BOUND = Places()


async def claim_alerts(
    session: AsyncSession,
    now: datetime,
    *,
    incident_id: IncidentId | None = None,
    limit: int,
    lease_seconds: int = 30,
    places: Places = WITHOUT_BOUND,
) -> list[AlertDue]:
    """Lease up to `limit` due alerts; no other sender gets them during the lease.

    For one incident, the oldest come first. Otherwise projects take turns, whatever the length of
    their queues. Retries have a share of their own, so that neither many retries nor many new
    alerts delay the others. `places` are the slots that the sender uses already.
    """
    if incident_id:
        found = await _of_incident(session, now, incident_id, limit, places)
    else:
        found = await _of_all(session, now, limit, places)
    ids = _admitted(found, limit, places)
    if not ids:
        return []
    lease = (
        update(ALERTS)
        .where(ALERTS.c.id.in_(ids))
        .values(due_at=now + timedelta(seconds=lease_seconds))
    )
    claimed = (await session.execute(lease.returning(ALERTS))).all()
    return [_alert_due(row) for row in sorted(claimed, key=lambda row: int(row.id))]


async def _of_incident(
    session: AsyncSession, now: datetime, incident_id: IncidentId, limit: int, places: Places
) -> list[_Found]:
    project_id = await session.scalar(
        select(ALERTS.c.project_id).where(ALERTS.c.incident_id == incident_id).limit(1)
    )
    is_due = (ALERTS.c.sent_at.is_(None), ALERTS.c.ended_at.is_(None), ALERTS.c.due_at <= now)
    due = select(ALERTS.c.id).where(ALERTS.c.incident_id == incident_id, *is_due)
    return await _of_project(session, due, project_id or "", limit, places)


async def _of_all(session: AsyncSession, now: datetime, limit: int, places: Places) -> list[_Found]:
    fresh = await _in_turns(session, now, FRESH, limit, places)
    retried = await _in_turns(session, now, RETRIED, limit, places)
    in_all = limit + sum(places.taken.values())
    # While retries have fewer slots than their share, a free slot goes to a retry.
    share = min(len(retried), max(0, in_all // RETRIED_SHARE - places.retried))
    # Retries never take the share of new alerts, even when there are none now.
    most = (
        limit
        if places.of_each is None
        else max(0, in_all - in_all // RETRIED_SHARE - places.retried)
    )
    return [*retried[:share], *fresh, *retried[share:most]]


def _admitted(found: list[_Found], limit: int, places: Places) -> list[int]:
    """The ids of the first alerts that fit into the free slots."""
    taken, silent_taken = Counter(places.taken), set(places.silent_taken)
    most_silent = len(silent_taken) + places.left_for_silent(limit)
    ids: list[int] = []
    for alert in found:
        has_place = Places(taken, 0, places.of_each).left_for(alert.project_id, 1) > 0
        is_held_back = alert.is_silent and (
            alert.project_id in silent_taken or len(silent_taken) >= most_silent
        )
        if len(ids) == limit or not has_place or is_held_back:
            continue
        ids.append(alert.alert_id)
        taken[alert.project_id] += 1
        if alert.is_silent:
            silent_taken.add(alert.project_id)
    return ids


async def _in_turns(
    session: AsyncSession, now: datetime, lane: TextClause, limit: int, places: Places
) -> list[_Found]:
    """The oldest due alert of each project, then the next of each. With more than `limit` projects,
    they are drawn at random.

    A project is left out when it has no free slot, or only alerts for silent addresses while their
    slot is in use.
    """
    full = [project_id for project_id in places.taken if not places.left_for(project_id, limit)]
    is_due: tuple[Any, ...] = (
        ALERTS.c.project_id == PROJECTS.c.id,
        lane,
        ALERTS.c.due_at <= now,
        *_is_of_no_full_silence(places, limit),
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
        queues.append(await _of_project(session, due, row.id, limit, places))
    return [queue[turn] for turn in range(limit + 1) for queue in queues if turn < len(queue)]


def _is_of_no_full_silence(places: Places, limit: int) -> tuple[ColumnElement[bool], ...]:
    held_back = places.silent_taken if places.left_for_silent(limit) else places.silent.keys()
    pairs = [
        (project_id, address)
        for project_id in held_back
        for address in places.silent.get(project_id, ())
    ]
    return (tuple_(ALERTS.c.project_id, ALERTS.c.destination).not_in(pairs),) if pairs else ()


async def _of_project(
    session: AsyncSession, due: Select[Any], project_id: str, limit: int, places: Places
) -> list[_Found]:
    """The due alerts that fit into the project's free slots, oldest first; at most one for its
    silent addresses.
    """
    left, silent = places.left_for(project_id, limit), places.silent.get(project_id, frozenset())
    if not left:
        return []
    others = due.where(ALERTS.c.destination.not_in(silent)) if silent else due
    found = [
        _Found(alert_id, project_id, is_silent=False)
        for alert_id in await _ids(session, others, left)
    ]
    if silent and project_id not in places.silent_taken:
        of_silent = await _ids(session, due.where(ALERTS.c.destination.in_(silent)), 1)
        # After the first of the others, so that neither kind waits for the other.
        found[1:1] = [_Found(alert_id, project_id, is_silent=True) for alert_id in of_silent]
    return found


async def _ids(session: AsyncSession, due: Select[Any], limit: int) -> list[int]:
    oldest = due.order_by(ALERTS.c.due_at, ALERTS.c.id).limit(limit)
    return [row.id for row in await session.execute(oldest.with_for_update(skip_locked=True))]


def _alert_due(row: Row[Any]) -> AlertDue:
    is_notice = row.kind == AlertKind.DESTINATION_FAILING
    subject = row.replay_id or None
    return AlertDue(
        alert_id=row.id,
        kind=AlertKind(row.kind) if row.kind in set(AlertKind) else row.kind,
        channel=row.channel,
        destination=row.destination,
        event_id=EventId(row.event_id),
        incident_id=IncidentId(row.incident_id),
        replay_id=None if is_notice or subject is None else ReplayId(subject),
        about=subject if is_notice else None,
        tries=row.tries,
        failing_since=row.failing_since,
        project_id=row.project_id or "",
    )
