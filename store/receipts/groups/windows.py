"""Ends the windows of groups: what was gathered becomes one alert to each destination.

A window that ends with an alert begins a pause of the same length. One that gathered nothing, or
whose group is muted, is deleted. The window and its alerts are one transaction, so a worker that
dies loses none. `worker.groups.alerts` calls this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import GroupId, ProjectId
from domain.incidents import AlertKind
from domain.values.enums import member_or_text
from domain.values.timestamps import to_unix_ms
from store.db.sql import SessionStatements, limit_lock_wait
from store.receipts.groups.alerts import begin_window, insert_group_alerts
from store.receipts.groups.counts import lock_group

# By `group_windows_due`: one probe for each project, then its oldest. An EXISTS may become a join
# that reads all windows.
_FIND_PROJECTS = """
SELECT p.id FROM projects p
WHERE (SELECT w.due_at FROM group_windows w WHERE w.project_id = p.id AND w.due_at <= $1
  ORDER BY w.due_at LIMIT 1) IS NOT NULL
ORDER BY random() LIMIT $2"""
_FIND = """
SELECT group_id, kind FROM group_windows WHERE project_id = $1 AND due_at <= $2
ORDER BY due_at LIMIT $3"""
_READ = """
SELECT w.project_id, w.gathered, p.alert_window_minutes, p.deleted_at
FROM group_windows w JOIN projects p ON p.id = w.project_id
WHERE w.group_id = $1 AND w.kind = $2 AND w.due_at <= $3"""
_DELETE = "DELETE FROM group_windows WHERE group_id = $1 AND kind = $2"


@dataclass(frozen=True, slots=True)
class DueWindow:
    """A window that has ended. `kind` is an `AlertKind`, or the text of a newer version."""

    project_id: ProjectId
    group_id: GroupId
    kind: str


async def due_windows(
    session: AsyncSession, now: datetime, *, projects: int, of_each: int
) -> Sequence[DueWindow]:
    """Ended windows of some projects, drawn at random, the oldest of each first."""
    st = SessionStatements(session)
    now_ms = to_unix_ms(now)
    found = []
    for (project_id,) in await st.fetch(_FIND_PROJECTS, now_ms, projects):
        for group_id, kind in await st.fetch(_FIND, project_id, now_ms, of_each):
            found.append(DueWindow(ProjectId(project_id), GroupId(group_id), kind))
    return found


async def end_window(session: AsyncSession, due: DueWindow, now: datetime) -> bool:
    """End the window; a second time changes nothing. Returns whether it alerted.

    One of a newer version's kind is left to it.
    """
    kind = member_or_text(AlertKind, due.kind)
    if not isinstance(kind, AlertKind):
        return False
    st = SessionStatements(session)
    await limit_lock_wait(st)
    muted_until = await lock_group(st, due.group_id)
    rows = await st.fetch(_READ, due.group_id, due.kind, to_unix_ms(now))
    if not rows:
        return False
    project_id, gathered, minutes, deleted_ms = rows[0]
    is_muted = muted_until is not None and muted_until > now
    if not gathered or is_muted or deleted_ms is not None:
        await st.fetch(_DELETE, due.group_id, due.kind)
        return False
    project_id = ProjectId(project_id)
    await insert_group_alerts(st, due.group_id, project_id, kind, gathered, now)
    due_at = now + timedelta(minutes=minutes)
    await begin_window(st, due.group_id, project_id, kind, due_at)
    return True
