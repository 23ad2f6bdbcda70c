"""What of bulk repairs, holds and rules is late, because no worker does it.

Reads a bounded number of rows. Used by `makegood doctor`.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from domain.values.timestamps import to_unix_ms
from store.db.sql import SessionStatements
from store.repairing.rule_turns import due_turns, projects_with_turns

# A step comes at least every 15 s, and the loops look every second.
LATE_AFTER = timedelta(minutes=5)
COUNTED = 100
PROJECTS = 50
_LATE_BULKS = """
SELECT count(*) FROM (SELECT 1 FROM bulk_repairs
WHERE done_at IS NULL AND coalesce(stepped_at, created_at) <= $1 LIMIT $2) AS late"""
_LATE_HOLDS = """
SELECT count(*) FROM (SELECT 1 FROM holds
WHERE ended_at IS NOT NULL AND released_at IS NULL AND ended_at <= $1 LIMIT $2) AS late"""


@dataclass(frozen=True, slots=True)
class Delays:
    """How many are late, each at most `COUNTED`: bulk repairs without a step, ended holds that
    still hold repairs, and incidents that no rule has judged.
    """

    bulk_repairs: int
    holds: int
    incidents: int

    @property
    def total(self) -> int:
        return self.bulk_repairs + self.holds + self.incidents


async def read_delays(session: AsyncSession, now: datetime) -> Delays:
    """What is late at `now`. Incidents are those of the first `PROJECTS` projects with any."""
    st, until = SessionStatements(session), now - LATE_AFTER
    ((bulk_repairs,),) = await st.fetch(_LATE_BULKS, to_unix_ms(until), COUNTED)
    ((holds,),) = await st.fetch(_LATE_HOLDS, to_unix_ms(until), COUNTED)
    incidents = 0
    for project_id in await projects_with_turns(session, after=None, limit=PROJECTS):
        limit = COUNTED - incidents
        incidents += len(await due_turns(session, project_id, until, limit=limit))
    return Delays(bulk_repairs, holds, incidents)
