"""Applies what a transaction changes in groups, last and in the order of their locks.

`store.receipts.groups.changes` has that order. Runs inside the caller's transaction and never
commits.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import datetime

from domain.groups.group import Cause
from domain.ids import GroupId
from domain.incidents import IncidentState
from store.db.sql import Statements
from store.receipts.groups.alerts import alert_moved, alert_opened, alert_single
from store.receipts.groups.changes import (
    GroupChanges,
    GroupWindows,
    MovedIncident,
    OpenedIncident,
)
from store.receipts.groups.counts import add_amounts, join_group, move_in_group


async def apply_group_changes(st: Statements, changes: GroupChanges, now: datetime) -> None:
    """Write the changes, and the alerts that they cause. No receipt may be locked afterwards."""
    for cause in changes.causes():
        await _apply(st, cause, changes.of(cause), now)


async def _apply(st: Statements, cause: Cause, changes: GroupChanges, now: datetime) -> None:
    windows = changes.windows[cause.project_id]
    opened_here = {one.incident_id for one in changes.opened}
    of_group: defaultdict[GroupId, list[MovedIncident]] = defaultdict(list)
    of_opened: list[MovedIncident] = []
    for one in changes.moved:
        if one.group_id is not None:
            of_group[one.group_id].append(one)
        elif one.incident_id in opened_here:
            of_opened.append(one)
        else:
            await alert_single(st, one, now)
    for group_id in sorted(of_group):
        await _move(st, cause, group_id, of_group[group_id], now, windows)
    # Without a window, each incident is a group of its own.
    parts = [changes.opened] if windows.group else [[one] for one in changes.opened]
    for opened in parts if changes.opened else []:
        await _open(st, cause, opened, of_opened, now, windows)
    for changed in sorted(changes.amounts, key=lambda one: one.group_id):
        signed = ((-1, changed.before), (1, changed.after))
        await add_amounts(st, changed.group_id, signed)


async def _open(
    st: Statements,
    cause: Cause,
    opened: Sequence[OpenedIncident],
    moved: Sequence[MovedIncident],
    now: datetime,
    windows: GroupWindows,
) -> None:
    """Open incidents in the group of the cause, and move those of them that moved on."""
    incidents = [(one.incident_id, one.amount) for one in opened]
    group = await join_group(st, cause, incidents, at=now, window=windows.group)
    await alert_opened(st, group, opened, now, windows.alerts)
    ids = {incident_id for incident_id, _ in incidents}
    moved_on = [one for one in moved if one.incident_id in ids]
    if moved_on:
        await _move(st, cause, group.id, moved_on, now, windows)


async def _move(
    st: Statements,
    cause: Cause,
    group_id: GroupId,
    moved: list[MovedIncident],
    now: datetime,
    windows: GroupWindows,
) -> None:
    moves: list[tuple[IncidentState, IncidentState]] = [(one.before, one.after) for one in moved]
    group = await move_in_group(st, cause, group_id, moves)
    if group is not None:
        await alert_moved(st, group, moved, now, windows.alerts)
