"""What an operator does with a group: mute it, or act on its unresolved incidents in batches.

Each function runs inside the caller's transaction. A batch locks its receipts in the order of their
ids, then the group. A batch that is run again finds its incidents changed, and takes the next ones.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.errors import IncidentAlreadyResolved
from domain.ids import EventId, GroupId, IncidentId, ProjectId
from domain.incidents import AlertKind, TimelineKind
from domain.values.timestamps import to_iso, to_unix_ms
from store.db.sql import Row, Statements
from store.receipts.groups.alerts import insert_group_alerts
from store.receipts.groups.apply import apply_group_changes
from store.receipts.groups.changes import GroupChanges
from store.receipts.operator_actions import acknowledge, resolve_manually
from store.receipts.state import lock_receipts

_MUTE = "UPDATE incident_groups SET muted_until = $2 WHERE id = $1"
# By `incidents_by_group`, one state after the other.
_NEXT = """
SELECT id, event_id FROM incidents WHERE group_id = $1 AND state = $2 AND id > $3{wanted}
ORDER BY id LIMIT $4"""
_NOT_ACKNOWLEDGED = " AND acknowledged_at IS NULL"
_NOTE = """
INSERT INTO timeline (event_id, at, kind, fields)
SELECT event_id, CAST($2 AS BIGINT), $3, $4 FROM incidents
WHERE group_id = $1 AND id IN {ids} ORDER BY id"""
_IDS = {
    "sqlite": "(SELECT value FROM json_each($5))",
    "postgresql": "(SELECT json_array_elements_text(CAST($5 AS json)))",
}
UNRESOLVED = ("open", "repairing")


@dataclass(frozen=True, slots=True)
class Position:
    """How far an action has come: the state of the incidents, and the last id."""

    state: str = UNRESOLVED[0]
    after: str = ""


@dataclass(frozen=True, slots=True)
class Batch:
    """The next incidents of a group. `following` is None after the last ones."""

    incidents: Sequence[tuple[IncidentId, EventId]]
    following: Position | None


async def set_muted(st: Statements, group_id: GroupId, until: datetime | None) -> None:
    """Mute the group until then; None ends it."""
    await st.fetch(_MUTE, group_id, None if until is None else to_unix_ms(until))


async def next_batch(
    st: Statements, group_id: GroupId, at: Position, *, limit: int, skips_acknowledged: bool
) -> Batch:
    """The next unresolved incidents of the group, open ones first."""
    sql = _NEXT.format(wanted=_NOT_ACKNOWLEDGED if skips_acknowledged else "")
    rows: Sequence[Row] = await st.fetch(sql, group_id, at.state, at.after, limit)
    incidents = [(IncidentId(incident), EventId(event)) for incident, event in rows]
    if len(rows) == limit:
        return Batch(incidents, Position(at.state, incidents[-1][0]))
    is_last = at.state == UNRESOLVED[-1]
    return Batch(incidents, None if is_last else Position(UNRESOLVED[-1]))


async def note_muted(
    st: Statements,
    group_id: GroupId,
    batch: Batch,
    now: datetime,
    *,
    until: datetime | None,
    requested_by: str,
) -> int:
    """Add to the timelines of the batch that its group was muted, or is no longer."""
    kind = TimelineKind.GROUP_UNMUTED if until is None else TimelineKind.GROUP_MUTED
    fields = {"group_id": group_id, "requested_by": requested_by}
    if until is not None:
        fields["muted_until"] = to_iso(until)
    ids = json.dumps([incident_id for incident_id, _ in batch.incidents])
    sql = _NOTE.format(ids=_IDS[st.dialect])
    await st.fetch(sql, group_id, to_unix_ms(now), kind.value, json.dumps(fields), ids)
    return len(batch.incidents)


async def acknowledge_batch(
    st: Statements,
    project_id: ProjectId,
    group_id: GroupId,
    batch: Batch,
    now: datetime,
    *,
    requested_by: str,
) -> int:
    """Acknowledge the incidents of the batch; returns how many are unresolved.

    With the group's last ones, pagers are told once.
    """
    await _lock(st, batch)
    acted = 0
    for incident_id, _ in batch.incidents:
        try:
            await acknowledge(st, incident_id, now, requested_by=requested_by, tells=False)
        except IncidentAlreadyResolved:
            continue
        acted += 1
    if acted and not await _is_any_left(st, group_id, batch.following):
        kind = AlertKind.INCIDENT_ACKNOWLEDGED
        await insert_group_alerts(st, group_id, project_id, kind, acted, now)
    return acted


async def _is_any_left(st: Statements, group_id: GroupId, at: Position | None) -> bool:
    """Whether an unresolved incident from there on is not acknowledged."""
    while at is not None:
        batch = await next_batch(st, group_id, at, limit=1, skips_acknowledged=True)
        if batch.incidents:
            return True
        at = batch.following
    return False


async def resolve_batch(
    st: Statements, batch: Batch, now: datetime, *, reason: str, requested_by: str
) -> int:
    """Resolve the incidents of the batch manually; returns how many it resolved."""
    await _lock(st, batch)
    groups, acted = GroupChanges(), 0
    for incident_id, _ in batch.incidents:
        try:
            await resolve_manually(
                st, incident_id, now, reason=reason, requested_by=requested_by, groups=groups
            )
        except IncidentAlreadyResolved:
            continue
        acted += 1
    await apply_group_changes(st, groups, now)
    return acted


async def _lock(st: Statements, batch: Batch) -> None:
    event_ids = sorted({event_id for _, event_id in batch.incidents})
    await lock_receipts(st, event_ids, skips_locked=False)
