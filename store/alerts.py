"""Mails still to be sent: claimed under a lease, recorded as sent, failed or ended, each with its line on the timeline.

The transaction of a move has inserted the rows (`store.standing`). A process that dies between sending and recording leaves the
row to be claimed again after the lease: at least once, with the same `Message-ID`. An alert that has ended was never sent and is
not tried any more; `store.alert_facts` reads what a mail says beside ids.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, Select, TextClause, exists, func, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, IncidentId, ProjectId, ReplayId
from domain.incidents import UNREACHED_ENDS, AlertEnd, AlertKind, Incident, RepairCause, TimelineKind
from domain.receipts import Receipt
from domain.texts import kept
from store import tables
from store.addresses import same_address
from store.standing import add_timeline, insert_alert
from store.statements import SessionStatements

ALERTS = tables.Alert.metadata.tables["alerts"]
PROJECTS = tables.Project.metadata.tables["projects"]
FRESH, RETRIED = text(tables.ALERT_IS_FRESH), text(tables.ALERT_IS_RETRIED)
# Of a batch at least so many places, one in four, are for what failed before, however much is new.
RETRIED_SHARE = 4
# From the first failure on.
TRIED_FOR = timedelta(days=1)
# One notice a day and failing destination, however many alerts fail.
NOTICE_EVERY = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class AlertFacts:
    """What a mail says beside ids. `cause` is of the repair it speaks of; `failing` the address that a notice is about."""

    incident: Incident
    receipt: Receipt
    project_name: str
    alert_emails: tuple[str, ...]
    cause: RepairCause | None
    failing: str | None

    def still_wants(self, destination: str) -> bool:
        """Whether the project notifies this destination now."""
        return any(same_address(destination, wanted) for wanted in self.alert_emails)


@dataclass(frozen=True, slots=True)
class AlertDue:
    """An alert as claimed. `kind` is an `AlertKind`, or what a newer version wrote; `tries` counts the failures so far.

    `replay_id` is the repair it speaks of, `about` the digest of the destination that a notice is about; None for other kinds.
    `facts` is None when they were not read, or could not be: the mail has the ids alone then.
    """

    alert_id: int
    kind: str
    destination: str
    event_id: EventId
    incident_id: IncidentId
    replay_id: ReplayId | None
    about: str | None
    tries: int
    failing_since: datetime | None
    facts: AlertFacts | None = None
    project_id: str = ""


@dataclass(frozen=True, slots=True)
class Places:
    """Who has the places of a sender that claims again whenever one is free. Without a bound when `of_each` is None.

    `taken` says how many each project has now, `retried` how many of all are for what failed before; `of_each` is how many
    a project has at most, but those in `of_one`, which have one.
    """

    taken: Mapping[str, int] = field(default_factory=dict)
    retried: int = 0
    of_each: int | None = None
    of_one: frozenset[str] = frozenset()

    def left_for(self, project_id: str, limit: int) -> int:
        """How many more of `limit` places the project may take."""
        if self.of_each is None:
            return limit
        most = 1 if project_id in self.of_one else self.of_each
        return max(0, min(limit, most - self.taken.get(project_id, 0)))


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
    """Up to `limit` alerts that are due; nobody else gets them during the lease.

    Of one incident the oldest first. Of all, projects take turns, whatever the length of their queues; what failed before
    gets a share of its own, so that neither many failing ones nor many new ones keep the others back. `places` says what
    the sender is sending already.
    """
    if incident_id:
        ids = await _of_incident(session, now, incident_id, limit, places)
    else:
        ids = await _of_all(session, now, limit, places)
    if not ids:
        return []
    lease = update(ALERTS).where(ALERTS.c.id.in_(ids)).values(due_at=now + timedelta(seconds=lease_seconds))
    claimed = (await session.execute(lease.returning(ALERTS))).all()
    return [_alert_due(row) for row in sorted(claimed, key=lambda row: int(row.id))]


async def record_alert_sent(session: AsyncSession, alert_id: int, now: datetime) -> None:
    """The mail server has taken it; a second time changes nothing."""
    sent = update(ALERTS).where(ALERTS.c.id == alert_id, ALERTS.c.sent_at.is_(None))
    sent = sent.values(sent_at=now, ended_at=None, end_reason=None)
    row = (await session.execute(sent.returning(ALERTS))).first()
    if row is not None:
        await _add_timeline(session, row, TimelineKind.ALERT_SENT, now)


async def record_alert_failed(session: AsyncSession, alert_id: int, now: datetime, *, error: str, retry_at: datetime) -> None:
    """It was not sent, and is due again at `retry_at`, or ends when it has failed for a day.

    The timeline has the first failure and each doubling of them.
    """
    failed = update(ALERTS).where(*_is_unended(alert_id))
    failed = failed.values(
        tries=ALERTS.c.tries + 1,
        due_at=retry_at,
        last_error=kept(error),
        failing_since=func.coalesce(ALERTS.c.failing_since, literal(now, ALERTS.c.failing_since.type)),
    )
    row = (await session.execute(failed.returning(ALERTS))).first()
    if row is None:
        return
    if now - row.failing_since >= TRIED_FOR:
        await record_alert_ended(session, alert_id, now, reason=AlertEnd.TIMED_OUT)
    elif _is_power_of_two(row.tries):
        await _add_timeline(session, row, TimelineKind.ALERT_FAILED, now, tries=row.tries, error=row.last_error)


async def record_alert_ended(
    session: AsyncSession, alert_id: int, now: datetime, *, reason: AlertEnd, error: str | None = None
) -> None:
    """It was not sent, and is not tried any more; the timeline says so, and the project's other destinations are notified."""
    failed = {} if error is None else {"last_error": kept(error), "tries": ALERTS.c.tries + 1}
    ended = update(ALERTS).where(*_is_unended(alert_id)).values(ended_at=now, end_reason=reason.value, **failed)
    row = (await session.execute(ended.returning(ALERTS))).first()
    if row is None:
        return
    failure = {} if row.last_error is None else {"error": row.last_error}
    fields = {"tries": row.tries, **failure, "final": True, "reason": reason.value}
    await _add_timeline(session, row, TimelineKind.ALERT_FAILED, now, **fields)
    if reason in UNREACHED_ENDS and row.kind != AlertKind.DESTINATION_FAILING:
        await _notify_others(session, row, now)


def destination_digest(destination: str) -> str:
    """Names a destination without saying it."""
    return hashlib.sha256(destination.encode("utf-8", errors="surrogatepass")).hexdigest()[:16]


async def _of_incident(session: AsyncSession, now: datetime, incident_id: IncidentId, limit: int, places: Places) -> list[int]:
    project_id = await session.scalar(select(ALERTS.c.project_id).where(ALERTS.c.incident_id == incident_id).limit(1))
    limit = places.left_for(project_id or "", limit)
    if not limit:
        return []
    is_due = (ALERTS.c.sent_at.is_(None), ALERTS.c.ended_at.is_(None), ALERTS.c.due_at <= now)
    due = select(ALERTS.c.id).where(ALERTS.c.incident_id == incident_id, *is_due)
    return await _ids(session, due.order_by(ALERTS.c.due_at, ALERTS.c.id).limit(limit))


async def _of_all(session: AsyncSession, now: datetime, limit: int, places: Places) -> list[int]:
    fresh = await _in_turns(session, now, FRESH, limit, places)
    retried = await _in_turns(session, now, RETRIED, limit, places)
    in_all = limit + sum(places.taken.values())
    # A place that becomes free while fewer than the share are for what failed before is for that.
    share = min(len(retried), max(0, in_all // RETRIED_SHARE - places.retried))
    # And what failed before never has the places that are the new ones' share, though nothing is new now.
    most = limit if places.of_each is None else max(0, in_all - in_all // RETRIED_SHARE - places.retried)
    taken = Counter(places.taken)
    ids: list[int] = []
    for alert_id, project_id in [*retried[:share], *fresh, *retried[share:most]]:
        if len(ids) < limit and Places(taken, 0, places.of_each, places.of_one).left_for(project_id, 1):
            ids.append(alert_id)
            taken[project_id] += 1
    return ids


async def _in_turns(session: AsyncSession, now: datetime, lane: TextClause, limit: int, places: Places) -> list[tuple[int, str]]:
    """The oldest due of each project, then the next of each; which projects, when there are more than `limit`, is drawn.

    A project that has all the places that it may have is left out.
    """
    full = [project_id for project_id in places.taken if not places.left_for(project_id, limit)]
    has_due = exists().where(ALERTS.c.project_id == PROJECTS.c.id, lane, ALERTS.c.due_at <= now)
    drawn = select(PROJECTS.c.id).where(has_due, PROJECTS.c.id.not_in(full)).order_by(func.random()).limit(limit)
    queues = []
    for row in await session.execute(drawn):
        ids = await _oldest(session, now, lane, row.id, places.left_for(row.id, limit))
        queues.append([(alert_id, row.id) for alert_id in ids])
    return [queue[turn] for turn in range(limit) for queue in queues if turn < len(queue)][:limit]


async def _oldest(session: AsyncSession, now: datetime, lane: TextClause, project_id: str, limit: int) -> list[int]:
    due = select(ALERTS.c.id).where(ALERTS.c.project_id == project_id, lane, ALERTS.c.due_at <= now)
    return await _ids(session, due.order_by(ALERTS.c.due_at, ALERTS.c.id).limit(limit))


async def _ids(session: AsyncSession, due: Select[Any]) -> list[int]:
    return [row.id for row in await session.execute(due.with_for_update(skip_locked=True))]


def _alert_due(row: Row[Any]) -> AlertDue:
    is_notice = row.kind == AlertKind.DESTINATION_FAILING
    subject = row.replay_id or None
    return AlertDue(
        alert_id=row.id,
        kind=AlertKind(row.kind) if row.kind in set(AlertKind) else row.kind,
        destination=row.destination,
        event_id=EventId(row.event_id),
        incident_id=IncidentId(row.incident_id),
        replay_id=None if is_notice or subject is None else ReplayId(subject),
        about=subject if is_notice else None,
        tries=row.tries,
        failing_since=row.failing_since,
        project_id=row.project_id or "",
    )


async def _notify_others(session: AsyncSession, row: Row[Any], now: datetime) -> None:
    """One notice a day to each other destination that the project has now."""
    about = destination_digest(row.destination)
    is_known = (ALERTS.c.project_id == row.project_id, ALERTS.c.replay_id == about, ALERTS.c.created_at > now - NOTICE_EVERY)
    is_notice = text("kind = 'destination_failing'")
    if await session.scalar(select(ALERTS.c.id).where(*is_known, is_notice).limit(1)) is not None:
        return
    others = await _other_destinations(session, row)
    for destination in others:
        await insert_alert(
            SessionStatements(session),
            project_id=ProjectId(row.project_id),
            incident_id=IncidentId(row.incident_id),
            event_id=EventId(row.event_id),
            kind=AlertKind.DESTINATION_FAILING,
            about=about,
            destination=destination,
            now=now,
        )


async def _other_destinations(session: AsyncSession, row: Row[Any]) -> Sequence[str]:
    wanted = await session.scalar(select(PROJECTS.c.alert_emails).where(PROJECTS.c.id == row.project_id))
    emails = dict.fromkeys(json.loads(wanted or "[]"))
    return [address for address in emails if not same_address(address, row.destination)]


def _is_unended(alert_id: int) -> tuple[Any, ...]:
    return ALERTS.c.id == alert_id, ALERTS.c.sent_at.is_(None), ALERTS.c.ended_at.is_(None)


async def _add_timeline(session: AsyncSession, row: Row[Any], kind: TimelineKind, now: datetime, **fields: object) -> None:
    is_repair = row.kind == AlertKind.REPAIR_FAILED and row.replay_id
    replay = {"replay_id": row.replay_id} if is_repair else {}
    named: dict[str, object] = {"alert_kind": row.kind, "destination": row.destination, **replay, **fields}
    await add_timeline(SessionStatements(session), EventId(row.event_id), kind, now, **named)


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
