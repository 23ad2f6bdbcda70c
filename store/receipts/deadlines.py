"""Deadlines that have passed by the store's clock: opens the incident of a receipt, and fails a
repair without a result.

The lifecycle activities and the worker's own loop (`worker.loops.overdue`) judge deadlines with the
same functions, inside the transaction that acts on them. Each locks the receipt; running it twice
is safe. Nothing here calls Temporal.
"""

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, IncidentId, ReplayId
from domain.lifecycle import END_STATES, UNDECIDED_STATES, LifecycleState, Trigger
from domain.outage import grace_ms, is_ingest_down
from domain.values.timestamps import to_unix_ms
from store.db.sql import SessionStatements, Statements
from store.receipts.state import load_snapshot, lock_receipt
from store.receipts.transitions import TriggerFacts, apply_transition
from store.status.heartbeats import read_ingest_heartbeats


@dataclass(frozen=True, slots=True)
class Opened:
    """The receipt has an unresolved incident, opened now (`is_new`) or before."""

    incident_id: IncidentId
    is_new: bool = field(default=False, compare=False)


@dataclass(frozen=True, slots=True)
class Settled:
    """The receipt has ended: no incident opens."""

    state: LifecycleState


@dataclass(frozen=True, slots=True)
class NotYet:
    """The deadline is still in the future by the store's clock."""

    remaining_ms: int


async def open_incident(
    st: Statements, event_id: EventId, now: datetime
) -> Opened | Settled | NotYet:
    """Open the incident of a receipt whose deadline has passed by the store's clock.

    Raises:
        NotFound: no such receipt.
    """
    snapshot = await lock_receipt(st, event_id)
    remaining_ms = to_unix_ms(snapshot.deadline_at) - to_unix_ms(now)
    if snapshot.state in UNDECIDED_STATES and remaining_ms > 0:
        return NotYet(remaining_ms)
    facts = TriggerFacts()
    follows = await apply_transition(st, snapshot, Trigger.DEADLINE_PASSED, now, facts)
    if follows.to in END_STATES:
        return Settled(follows.to)
    is_new = follows.to is not snapshot.state
    return Opened(facts.incident_id if is_new else snapshot.incident, is_new=is_new)


async def fail_overdue_repair(
    st: Statements, event_id: EventId, replay_id: ReplayId, now: datetime
) -> LifecycleState | NotYet:
    """Fail a repair whose result did not arrive by its deadline; returns the receipt's state.

    Raises:
        NotFound: no such receipt.
    """
    snapshot = await lock_receipt(st, event_id)
    if snapshot.active_replay_id != replay_id or snapshot.result_deadline_at is None:
        return snapshot.state
    remaining_ms = to_unix_ms(snapshot.result_deadline_at) - to_unix_ms(now)
    if remaining_ms > 0:
        return NotYet(remaining_ms)
    return (await apply_transition(st, snapshot, Trigger.REPAIR_DEADLINE_PASSED, now)).to


async def open_due_incident(
    session: AsyncSession, event_id: EventId, now: datetime, *, outage_seconds: int
) -> Opened | Settled | NotYet:
    """Open the incident of a receipt if its deadline counts now; `NotYet` says when to ask again.

    Raises:
        NotFound: no such receipt.
    """
    remaining_ms = await remaining_grace_ms(session, event_id, now, outage_seconds=outage_seconds)
    return (
        NotYet(remaining_ms)
        if remaining_ms is not None
        else await open_incident(SessionStatements(session), event_id, now)
    )


async def fail_due_repair(
    session: AsyncSession,
    event_id: EventId,
    replay_id: ReplayId,
    now: datetime,
    *,
    outage_seconds: int,
) -> LifecycleState | NotYet:
    """Fail a repair if the deadline of its result counts now; returns the receipt's state.

    Raises:
        NotFound: no such receipt.
    """
    remaining_ms = await remaining_grace_ms(session, event_id, now, outage_seconds=outage_seconds)
    if remaining_ms is not None:
        return NotYet(remaining_ms)
    return await fail_overdue_repair(SessionStatements(session), event_id, replay_id, now)


async def remaining_grace_ms(
    session: AsyncSession, event_id: EventId, now: datetime, *, outage_seconds: int
) -> int | None:
    """Milliseconds that a passed deadline waits while ingest is down; None when it counts now.

    Call it in the transaction that acts on the answer. An outage is recorded in the transaction
    that writes the next heartbeat, so a heartbeat that is visible here comes with its credit.

    Raises:
        NotFound: no such receipt.
    """
    heartbeats = await read_ingest_heartbeats(session)
    if not is_ingest_down(heartbeats, now, outage_seconds=outage_seconds):
        return None
    snapshot = await load_snapshot(SessionStatements(session), event_id)
    due_at = {
        LifecycleState.EXPECTED: snapshot.deadline_at,
        LifecycleState.WAITING: snapshot.deadline_at,
        LifecycleState.AWAITING_RESULT: snapshot.result_deadline_at,
    }.get(snapshot.state)
    return (
        None
        if due_at is None
        else grace_ms(heartbeats, now, due_at=due_at, outage_seconds=outage_seconds)
    )


async def deadlines_count_until(
    session: AsyncSession, now: datetime, *, outage_seconds: int
) -> datetime:
    """Deadlines up to this instant count now: `now`, or the last heartbeat while ingest is down."""
    heartbeats = await read_ingest_heartbeats(session)
    is_down = heartbeats is not None and is_ingest_down(
        heartbeats, now, outage_seconds=outage_seconds
    )
    return heartbeats.last_at if heartbeats is not None and is_down else now
