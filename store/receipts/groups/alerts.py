"""Which alerts a change of a group causes: at once, or gathered in a window of the group.

1. The first incident of a group is alerted at once, by itself. Further ones are gathered until the
   alert window since the group's first incident, or since its last alert, ends. If none is
   running, they are told at once.
2. A failed repair is alerted at once, by itself. Further ones of the group within the window are
   gathered. The same holds for incidents that are alerted again: reopened, or no longer
   acknowledged or snoozed.
3. A resolved incident is gathered. All that were gathered are told when the last one is resolved,
   at most once in a window, or when the window ends.
4. A group of one incident has no windows: its incident is alerted by itself.
5. A muted group alerts nothing.

So a destination gets at most one alert of each kind, and one more for each window that has passed.
A window is a row: `store.receipts.groups.windows` ends it. All of this runs while the group's row
is locked.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from domain.ids import EventId, GroupId, IncidentId, ProjectId
from domain.incidents import AlertKind, IncidentState
from domain.values.timestamps import to_unix_ms
from store.db.sql import Statements
from store.receipts.groups.changes import MovedIncident, OpenedIncident
from store.receipts.groups.counts import LockedGroup
from store.receipts.rows.alerts import (
    add_incident_alerts,
    alert_again,
    insert_alert,
    read_recipients,
)

_GATHER = (
    "UPDATE group_windows SET gathered = gathered + $3 WHERE group_id = $1 AND kind = $2"
    " RETURNING gathered, is_pause"
)
_BEGIN = """
INSERT INTO group_windows (group_id, kind, project_id, due_at, gathered, is_pause)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (group_id, kind) DO UPDATE SET
  due_at = excluded.due_at, gathered = excluded.gathered, is_pause = excluded.is_pause"""


async def alert_opened(
    st: Statements,
    group: LockedGroup,
    opened: Sequence[OpenedIncident],
    now: datetime,
    window: timedelta,
) -> None:
    """The alerts of incidents that have joined the group."""
    if group.is_muted(now):
        return
    count, kind = len(opened), AlertKind.GROUP_GREW
    if group.total == count:
        await _alert_incident(st, group, opened[0], AlertKind.INCIDENT_OPENED, now)
        count -= 1
    if not count or await _gather(st, group, kind, count):
        return
    if group.first_at + window > now:
        due_at = group.first_at + window
        await begin_window(st, group.id, group.cause.project_id, kind, due_at, gathered=count)
    else:
        await _alert_at_once(st, group, kind, count, now, window)


async def alert_moved(
    st: Statements,
    group: LockedGroup,
    moved: Sequence[MovedIncident],
    now: datetime,
    window: timedelta,
) -> None:
    """The alerts of incidents that are resolved, whose repair failed, or that alert again."""
    if group.is_muted(now):
        return
    alerting = [one for one in moved if one.alert is not None]
    if group.total == 1:
        for one in alerting:
            await alert_single(st, one, now)
        return
    for kind in (AlertKind.REPAIR_FAILED, AlertKind.INCIDENT_OPENED):
        these = [one for one in alerting if one.alert is kind]
        if these and not await _gather(st, group, kind, len(these)):
            await alert_single(st, these[0], now)
            await _pause(st, group, kind, now + window, gathered=len(these) - 1)
    resolved = [one for one in alerting if one.after is IncidentState.RESOLVED]
    if resolved:
        await _alert_resolved(st, group, len(resolved), now, window)


async def alert_single(st: Statements, moved: MovedIncident, now: datetime) -> None:
    """Alert the change of one incident by itself."""
    of = (moved.cause.project_id, moved.event_id, moved.incident_id)
    if moved.alert is AlertKind.INCIDENT_OPENED:
        await alert_again(st, *of, moved.about, now)
    elif moved.alert is not None:
        await add_incident_alerts(st, *of, moved.alert, now, about=moved.about)


async def insert_group_alerts(
    st: Statements,
    group_id: GroupId,
    project_id: ProjectId,
    kind: AlertKind,
    count: int,
    now: datetime,
) -> None:
    """Alert each destination of the project that `count` incidents of the group did so."""
    for recipient in await read_recipients(st, project_id, kind):
        await insert_alert(
            st,
            project_id=project_id,
            incident_id=IncidentId(group_id),
            event_id=EventId(group_id),
            kind=kind,
            about=f"{to_unix_ms(now)}-{count}",
            recipient=recipient,
            now=now,
        )


async def begin_window(
    st: Statements,
    group_id: GroupId,
    project_id: ProjectId,
    kind: AlertKind,
    due_at: datetime,
    *,
    gathered: int = 0,
    is_pause: bool = True,
) -> None:
    """Begin a window, or begin it anew. `is_pause`: an alert has just gone out."""
    values = (to_unix_ms(due_at), gathered, is_pause)
    await st.fetch(_BEGIN, group_id, kind.value, project_id, *values)


async def _alert_resolved(
    st: Statements, group: LockedGroup, count: int, now: datetime, window: timedelta
) -> None:
    kind, is_last = AlertKind.INCIDENT_RESOLVED, not group.unresolved
    rows = await st.fetch(_GATHER, group.id, kind.value, count)
    gathered, is_pause = rows[0] if rows else (count, False)
    if is_last and not is_pause:
        await _alert_at_once(st, group, kind, gathered, now, window)
    elif not rows:
        project_id = group.cause.project_id
        await begin_window(
            st, group.id, project_id, kind, now + window, gathered=count, is_pause=False
        )


async def _gather(st: Statements, group: LockedGroup, kind: AlertKind, count: int) -> bool:
    """Count the changes in the running window. False without one."""
    return bool(await st.fetch(_GATHER, group.id, kind.value, count))


async def _alert_at_once(
    st: Statements,
    group: LockedGroup,
    kind: AlertKind,
    count: int,
    now: datetime,
    window: timedelta,
) -> None:
    await insert_group_alerts(st, group.id, group.cause.project_id, kind, count, now)
    await _pause(st, group, kind, now + window)


async def _pause(
    st: Statements, group: LockedGroup, kind: AlertKind, due_at: datetime, *, gathered: int = 0
) -> None:
    project_id = group.cause.project_id
    await begin_window(st, group.id, project_id, kind, due_at, gathered=gathered)


async def _alert_incident(
    st: Statements, group: LockedGroup, one: OpenedIncident, kind: AlertKind, now: datetime
) -> None:
    project_id = group.cause.project_id
    await add_incident_alerts(st, project_id, one.event_id, one.incident_id, kind, now)
