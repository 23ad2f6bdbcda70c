"""Gives a group to incidents that have none: those from before there were groups, and those that an
earlier version opens beside this one.

They alert nobody: their alerts went out one by one. An incident joins the newest group of its cause
even if that one began later. `worker.groups.adoption` calls this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, IncidentId
from domain.incidents import IncidentState
from domain.lifecycle import END_STATES, states_at
from domain.values.timestamps import from_unix_ms
from store.db.sql import SessionStatements, limit_lock_wait
from store.receipts.groups.counts import join_group, move_in_group
from store.receipts.state import lock_receipt
from store.schema.tables import INCIDENT_IS_UNGROUPED

_FIND = f"""
SELECT id, event_id FROM incidents WHERE {INCIDENT_IS_UNGROUPED} AND id > $1
ORDER BY id LIMIT $2"""  # noqa: S608 - constants only
_READ = "SELECT opened_at, amount, currency FROM incidents WHERE id = $1"


@dataclass(frozen=True, slots=True)
class UngroupedIncident:
    """An incident without a group that is not resolved."""

    incident_id: IncidentId
    event_id: EventId


async def ungrouped_incidents(
    session: AsyncSession, *, after: IncidentId | None, limit: int
) -> Sequence[UngroupedIncident]:
    """The oldest ones after that id."""
    rows = await SessionStatements(session).fetch(_FIND, after or "", limit)
    return [UngroupedIncident(IncidentId(one), EventId(event)) for one, event in rows]


async def adopt(session: AsyncSession, one: UngroupedIncident) -> datetime | None:
    """Give the incident a group; returns when it had opened.

    None: it is resolved or has a group meanwhile. Raises: NotFound.
    """
    st = SessionStatements(session)
    await limit_lock_wait(st)
    snapshot = await lock_receipt(st, one.event_id)
    if snapshot.group_id is not None or snapshot.cause is None or snapshot.state in END_STATES:
        return None
    ((opened_ms, amount, currency),) = await st.fetch(_READ, one.incident_id)
    opened_at = from_unix_ms(opened_ms)
    incidents = [(one.incident_id, (amount, currency))]
    window = snapshot.windows.group
    group = await join_group(st, snapshot.cause, incidents, at=opened_at, window=window)
    state = states_at(snapshot.state)[1]
    if state is IncidentState.REPAIRING:
        await move_in_group(st, snapshot.cause, group.id, [(IncidentState.OPEN, state)])
    return opened_at
