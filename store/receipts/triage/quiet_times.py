"""Ends acknowledgements and snoozes of incidents whose time is over.

The instants are `acknowledged_until` and `snoozed_until` of `incidents`, each in a partial index by
project. A resolved incident has neither, so nothing is due for it. Each end is one transaction that
locks the receipt: it inserts at most one round of alerts, however many workers look and whenever
one dies. Called by `worker.triage.quiet_times`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.ids import IncidentId, ProjectId
from domain.incidents import AlertKind, IncidentState, TimelineKind
from domain.lifecycle import OPEN_STATES, LifecycleState
from domain.values.timestamps import from_unix_ms, to_iso, to_unix_ms
from store.db.sql import Statements
from store.receipts.groups.apply import apply_group_changes
from store.receipts.groups.changes import GroupChanges
from store.receipts.groups.gathering import gather_moved
from store.receipts.operator_actions import UNACKNOWLEDGE, lock_incident
from store.receipts.rows.alerts import AlertRound, end_snooze, round_name
from store.receipts.timeline import add_timeline
from store.schema.tables import ACKNOWLEDGEMENT_ENDS, SNOOZE_ENDS

# The next projects by their key; of each, one probe of either index.
PROJECTS_WITH_DUE_ENDS = f"""
SELECT p.id,
  EXISTS (SELECT 1 FROM incidents a WHERE a.project_id = p.id
    AND {ACKNOWLEDGEMENT_ENDS} AND a.acknowledged_until <= $3)
  OR EXISTS (SELECT 1 FROM incidents s WHERE s.project_id = p.id
    AND {SNOOZE_ENDS} AND s.snoozed_until <= $3)
FROM projects p WHERE p.id > $1 ORDER BY p.id LIMIT $2"""  # noqa: S608 - of constants alone
DUE_ENDS = f"""
SELECT id FROM (SELECT id FROM incidents WHERE project_id = $1 AND {ACKNOWLEDGEMENT_ENDS}
  AND acknowledged_until <= $2 ORDER BY acknowledged_until, id LIMIT $3) AS acknowledged
UNION
SELECT id FROM (SELECT id FROM incidents WHERE project_id = $1 AND {SNOOZE_ENDS}
  AND snoozed_until <= $2 ORDER BY snoozed_until, id LIMIT $3) AS snoozed"""  # noqa: S608 - likewise
_SELECT = "SELECT acknowledged_until, snoozed_until FROM incidents WHERE id = $1"
# An earlier version resolved the incident, and knows no ends.
_CLEAR = "UPDATE incidents SET acknowledged_until = NULL, snoozed_until = NULL WHERE id = $1"


@dataclass(frozen=True, slots=True)
class DueProjects:
    """The projects with a due end among the next ones. `last` None: no project follows."""

    due: list[ProjectId]
    last: ProjectId | None


async def projects_with_due_ends(
    st: Statements, now: datetime, *, after: ProjectId | None, limit: int
) -> DueProjects:
    """Those among the next `limit` projects after that id."""
    rows = await st.fetch(PROJECTS_WITH_DUE_ENDS, after or "", limit, to_unix_ms(now))
    due = [ProjectId(project_id) for project_id, is_due in rows if is_due]
    return DueProjects(due, ProjectId(rows[-1][0]) if len(rows) == limit else None)


async def due_ends(
    st: Statements, project_id: ProjectId, now: datetime, *, limit: int
) -> Sequence[IncidentId]:
    """Incidents of the project with a due end, at most `limit` of either kind."""
    rows = await st.fetch(DUE_ENDS, project_id, to_unix_ms(now), limit)
    return [IncidentId(incident_id) for (incident_id,) in rows]


async def end_quiet_times(st: Statements, incident_id: IncidentId, now: datetime) -> bool:
    """End what is over, and alert again; False if nothing is over any more.

    1. An open incident that is not snoozed any longer gets one new round of alerts. Those of one
       group within its alert window are told as one.
    2. While a repair runs, nobody is alerted: its outcome has an alert of its own.
    3. A resolved incident alerts nobody.

    Raises:
        NotFound: no such incident.
    """
    snapshot = await lock_incident(st, incident_id)
    ((acknowledged_ms, snoozed_ms),) = await st.fetch(_SELECT, incident_id)
    is_acknowledgement_over = acknowledged_ms is not None and acknowledged_ms <= to_unix_ms(now)
    is_snooze_over = snoozed_ms is not None and snoozed_ms <= to_unix_ms(now)
    if not is_acknowledgement_over and not is_snooze_over:
        return False
    if snapshot.state not in OPEN_STATES:
        await st.fetch(_CLEAR, incident_id)
        return True
    why = AlertRound.SNOOZE_ENDED if is_snooze_over else AlertRound.ACKNOWLEDGEMENT_ENDED
    if is_acknowledgement_over:
        await st.fetch(UNACKNOWLEDGE, incident_id)
        until = {"acknowledged_until": to_iso(from_unix_ms(acknowledged_ms))}
        kind = TimelineKind.INCIDENT_UNACKNOWLEDGED
        await add_timeline(st, snapshot.event_id, kind, now, **until)
    if is_snooze_over:
        await end_snooze(st, incident_id, now)
        until = {"snoozed_until": to_iso(from_unix_ms(snoozed_ms))}
        await add_timeline(st, snapshot.event_id, TimelineKind.SNOOZE_ENDED, now, **until)
    is_snoozed = snoozed_ms is not None and not is_snooze_over
    if snapshot.state is LifecycleState.OPEN and not is_snoozed:
        groups, again = GroupChanges(), round_name(why, now)
        state, opened = IncidentState.OPEN, AlertKind.INCIDENT_OPENED
        gather_moved(groups, snapshot, state, state, opened, again)
        await apply_group_changes(st, groups, now)
    return True
