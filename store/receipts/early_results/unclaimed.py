"""Finds projects with held results that no receipt has claimed, and alerts them once a day (UTC).

A receipt that its result overtook comes within seconds, and from a client's spool within minutes.
After an hour it is likely that the app sends none. Until the result is deleted, 23 hours are left.

The alert's `incident_id` and `event_id` are the project's id, its `replay_id` is the day. So each
destination gets one a day, however many workers look. `worker.sources.early_results` calls this.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import EventId, IncidentId, ProjectId
from domain.incidents import AlertKind
from domain.values.timestamps import from_unix_ms, to_unix_ms
from store.db.sql import SessionStatements
from store.receipts.early_results.hold import HELD_FOR
from store.receipts.rows.alerts import insert_alert, read_recipients

UNCLAIMED_AFTER = timedelta(hours=1)
COUNTED_AT_MOST = 1_000
_KIND = AlertKind.EARLY_RESULTS_UNCLAIMED

# The next projects by their key; of each, one probe of `early_results_by_project`. Only where it
# finds one are its destinations read, and `alerts_once`.
_FIND = f"""
SELECT p.id, CASE WHEN p.deleted_at IS NULL AND p.suspended_at IS NULL
  AND EXISTS (SELECT 1 FROM early_results e WHERE e.project_id = p.id
    AND e.received_at > $3 AND e.received_at <= $4)
  AND EXISTS (SELECT 1 FROM alert_destinations d WHERE d.project_id = p.id
    AND (d.events IS NULL OR ' ' || d.events || ' ' LIKE '% {_KIND.value} %'))
  AND NOT EXISTS (SELECT 1 FROM alerts a WHERE a.incident_id = p.id
    AND a.kind = '{_KIND.value}' AND a.replay_id = $5)
  THEN 1 ELSE 0 END
FROM (SELECT id, deleted_at, suspended_at FROM projects WHERE id > $1 ORDER BY id LIMIT $2) p
ORDER BY p.id"""  # noqa: S608 - constants only
_READ = """
SELECT count(*), min(received_at) FROM (
  SELECT received_at FROM early_results
  WHERE project_id = $1 AND received_at > $2 AND received_at <= $3
  ORDER BY received_at LIMIT $4) AS held"""


@dataclass(frozen=True, slots=True)
class ProjectsPage:
    """Some projects, in the order of their ids.

    `due` are those with unclaimed results and no alert about them today. `last` is the last one
    that was looked at; None when there are no more.
    """

    due: Sequence[ProjectId]
    last: ProjectId | None


@dataclass(frozen=True, slots=True)
class Unclaimed:
    """A project's held results that are older than an hour.

    `count` is at most `COUNTED_AT_MOST`. `oldest_at` is None if there are none.
    """

    count: int
    oldest_at: datetime | None


async def projects_to_alert(
    session: AsyncSession, now: datetime, *, after: ProjectId | None, limit: int
) -> ProjectsPage:
    """The projects that need an alert, among the next `limit` after that id."""
    since_ms, until_ms = _span(now)
    st = SessionStatements(session)
    rows = await st.fetch(_FIND, after or "", limit, since_ms, until_ms, _day(now))
    due = [ProjectId(project_id) for project_id, is_due in rows if is_due]
    return ProjectsPage(due, ProjectId(rows[-1][0]) if len(rows) == limit else None)


async def read_unclaimed(session: AsyncSession, project_id: ProjectId, now: datetime) -> Unclaimed:
    """The number of the project's unclaimed results, and the instant of the oldest."""
    since_ms, until_ms = _span(now)
    st = SessionStatements(session)
    ((count, oldest_ms),) = await st.fetch(_READ, project_id, since_ms, until_ms, COUNTED_AT_MOST)
    return Unclaimed(int(count), None if oldest_ms is None else from_unix_ms(int(oldest_ms)))


async def alert_unclaimed(session: AsyncSession, project_id: ProjectId, now: datetime) -> bool:
    """Insert the project's alerts of the day; a second time changes nothing.

    False if receipts have claimed the results meanwhile.
    """
    if (await read_unclaimed(session, project_id, now)).oldest_at is None:
        return False
    st = SessionStatements(session)
    for recipient in await read_recipients(st, project_id, _KIND):
        await insert_alert(
            st,
            project_id=project_id,
            incident_id=IncidentId(project_id),
            event_id=EventId(project_id),
            kind=_KIND,
            about=_day(now),
            recipient=recipient,
            now=now,
        )
    return True


def _span(now: datetime) -> tuple[int, int]:
    """Results of this span are held, and unclaimed for too long: after the first, to the second."""
    return to_unix_ms(now - HELD_FOR), to_unix_ms(now - UNCLAIMED_AFTER)


def _day(now: datetime) -> str:
    return now.astimezone(UTC).date().isoformat()
