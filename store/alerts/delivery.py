"""Records the outcome of alerts: sent, failed or ended, each with a timeline entry.

The transaction of a transition inserts the rows (`store.receipts.rows.alerts`), and
`store.alerts.claims` leases them to a sender. If a process dies between sending and recording, the
row is claimed again: delivery is at least once. An ended alert was never sent and is not retried.
`store.alerts.facts` reads the contents of an alert.
"""

import hashlib
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import Row, func, literal, select, text, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.alerts import is_destination_id
from domain.ids import EventId, IncidentId, ProjectId, is_event_id
from domain.incidents import (
    UNREACHED_ENDS,
    AlertEnd,
    AlertKind,
    TimelineKind,
)
from domain.values.text import sanitize
from store.alerts.health import Place, note_accepted, note_failed, note_failing
from store.db.sql import SessionStatements, Statements
from store.people.email_addresses import same_address
from store.receipts.rows.alerts import Recipient, insert_alert, read_recipients
from store.receipts.timeline import add_timeline
from store.schema.tables import ALERTS, INCIDENTS

# Counted from the first failure.
TRIED_FOR = timedelta(days=1)
# One notice for each failing destination and day, however many alerts fail.
NOTICE_EVERY = timedelta(days=1)
# Of one that does not arrive, the project's destinations get no notice.
_NOT_OF_THE_PROJECT = frozenset({AlertKind.DESTINATION_FAILING, AlertKind.INCIDENT_ASSIGNED})


async def record_alert_sent(session: AsyncSession, alert_id: int, now: datetime) -> None:
    """Record that the channel accepted the alert; a second time changes nothing."""
    sent = update(ALERTS).where(ALERTS.c.id == alert_id, ALERTS.c.sent_at.is_(None))
    sent = sent.values(sent_at=now, ended_at=None, end_reason=None)
    row = (await session.execute(sent.returning(ALERTS))).first()
    if row is not None:
        await note_accepted(session, _place(row), now)
        await _add_timeline(session, row, TimelineKind.ALERT_SENT, now)


async def record_alert_failed(
    session: AsyncSession, alert_id: int, now: datetime, *, error: str, retry_at: datetime
) -> None:
    """Record a failure. The alert is due again at `retry_at`, or ends when it has failed for a day.

    The timeline gets failure 1, 2, 4, 8 and so on. When nothing has arrived at the destination for
    a day, the others are notified.
    """
    failed = update(ALERTS).where(*_is_pending(alert_id))
    failed = failed.values(
        tries=ALERTS.c.tries + 1,
        due_at=retry_at,
        last_error=sanitize(error),
        failing_since=func.coalesce(
            ALERTS.c.failing_since, literal(now, ALERTS.c.failing_since.type)
        ),
    )
    row = (await session.execute(failed.returning(ALERTS))).first()
    if row is None:
        return
    unreached_since = await note_failed(session, _place(row), now, error=row.last_error)
    if now - row.failing_since >= TRIED_FOR:
        await record_alert_ended(session, alert_id, now, reason=AlertEnd.TIMED_OUT)
        return
    if _is_power_of_two(row.tries):
        await _add_timeline(
            session, row, TimelineKind.ALERT_FAILED, now, tries=row.tries, error=row.last_error
        )
    if unreached_since is not None and now - unreached_since >= TRIED_FOR:
        await _record_unreached(session, row, now)


async def hold_alert(session: AsyncSession, alert_id: int, incident_id: IncidentId) -> None:
    """Let the alert wait for the end of its incident's snooze; without one, for its lease.

    The incident's row is locked first, as the end of the snooze does.
    """
    held_until = select(INCIDENTS.c.snoozed_until).where(INCIDENTS.c.id == incident_id)
    snoozed_until = await session.scalar(held_until.with_for_update())
    if snoozed_until is not None:
        held = update(ALERTS).where(*_is_pending(alert_id))
        await session.execute(held.values(due_at=snoozed_until))


async def record_alert_ended(
    session: AsyncSession,
    alert_id: int,
    now: datetime,
    *,
    reason: AlertEnd,
    error: str | None = None,
) -> None:
    """Record that the alert was not sent and is not retried, and notify the project's other
    destinations.
    """
    failed = {} if error is None else {"last_error": sanitize(error), "tries": ALERTS.c.tries + 1}
    ended = (
        update(ALERTS)
        .where(*_is_pending(alert_id))
        .values(ended_at=now, end_reason=reason.value, **failed)
    )
    row = (await session.execute(ended.returning(ALERTS))).first()
    if row is None:
        return
    failure = {} if row.last_error is None else {"error": row.last_error}
    fields = {"tries": row.tries, **failure, "final": True, "reason": reason.value}
    await _add_timeline(session, row, TimelineKind.ALERT_FAILED, now, **fields)
    if error is not None:
        await note_failed(session, _place(row), now, error=row.last_error)
    if reason in UNREACHED_ENDS and row.kind not in _NOT_OF_THE_PROJECT:
        await _record_unreached(session, row, now)


def destination_digest(destination: str) -> str:
    """A short hash that identifies a destination without revealing it."""
    return hashlib.sha256(destination.encode("utf-8", errors="surrogatepass")).hexdigest()[:16]


async def _record_unreached(session: AsyncSession, row: Row[Any], now: datetime) -> None:
    """Record that the destination is failing, and notify the others."""
    await note_failing(session, _place(row), now)
    if row.kind != AlertKind.DESTINATION_FAILING:
        await _notify_others(session, row, now)


def _place(row: Row[Any]) -> Place:
    return Place(row.project_id or "", row.channel, row.destination)


async def _notify_others(session: AsyncSession, row: Row[Any], now: datetime) -> None:
    """Insert one notice a day for each other destination that the project has now."""
    about = destination_digest(row.destination)
    is_recent = (
        ALERTS.c.project_id == row.project_id,
        ALERTS.c.replay_id == about,
        ALERTS.c.created_at > now - NOTICE_EVERY,
    )
    is_notice = text("kind = 'destination_failing'")
    if await session.scalar(select(ALERTS.c.id).where(*is_recent, is_notice).limit(1)) is not None:
        return
    st = SessionStatements(session)
    for recipient in await _other_recipients(st, row):
        await insert_alert(
            st,
            project_id=ProjectId(row.project_id),
            incident_id=IncidentId(row.incident_id),
            event_id=EventId(row.event_id),
            kind=AlertKind.DESTINATION_FAILING,
            about=about,
            recipient=recipient,
            now=now,
        )


async def _other_recipients(st: Statements, row: Row[Any]) -> list[Recipient]:
    wanted = await read_recipients(st, ProjectId(row.project_id), AlertKind.DESTINATION_FAILING)
    return [
        recipient
        for recipient in wanted
        if recipient.channel != row.channel
        or not same_address(recipient.destination, row.destination)
    ]


def _is_pending(alert_id: int) -> tuple[Any, ...]:
    return ALERTS.c.id == alert_id, ALERTS.c.sent_at.is_(None), ALERTS.c.ended_at.is_(None)


async def _add_timeline(
    session: AsyncSession, row: Row[Any], kind: TimelineKind, now: datetime, **fields: object
) -> None:
    if not is_event_id(row.event_id):
        return  # sources, projects, groups, bulk repairs and rules have no timeline
    is_repair = row.kind == AlertKind.REPAIR_FAILED and row.replay_id
    replay = {"replay_id": row.replay_id} if is_repair else {}
    named: dict[str, object] = {
        "alert_kind": row.kind,
        "destination": row.destination,
        **({"channel": row.channel} if is_destination_id(row.destination) else {}),
        **replay,
        **fields,
    }
    await add_timeline(SessionStatements(session), EventId(row.event_id), kind, now, **named)


def _is_power_of_two(number: int) -> bool:
    return number & (number - 1) == 0
