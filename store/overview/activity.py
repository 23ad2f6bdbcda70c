"""Whether receipts come: the last one of each project, those of 24 hours, and its open incidents.

Each number is read by an index and stops at a limit.
"""

import json
from collections.abc import Sequence
from datetime import datetime, timedelta

from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import ProjectId
from domain.overview.summary import Activity
from domain.values.timestamps import from_unix_ms, to_unix_ms
from store.db.sql import SessionStatements, among
from store.overview.counting import start_ms
from store.receipts.lists.pages import prefer_indexes

LATELY = timedelta(hours=24)
COUNTED_AT_MOST = 1_000

# Hours that are counted, and receipts that are not counted yet.
_READ = """
SELECT p.id,
  (SELECT r.accepted_at FROM receipts AS r WHERE r.project_id = p.id AND NOT r.lacks_receipt
    ORDER BY r.accepted_at DESC, r.event_id DESC LIMIT 1),
  (SELECT COALESCE(sum(h.receipts), 0) FROM receipt_hours AS h
    WHERE h.project_id = p.id AND h.hour >= $2),
  (SELECT count(*) FROM (SELECT 1 FROM receipts AS r WHERE r.project_id = p.id
    AND (r.accepted_at, r.event_id)
      > (COALESCE(c.accepted_at, CAST($3 AS BIGINT)), COALESCE(c.accepted_id, ''))
    AND r.accepted_at >= $2 AND NOT r.lacks_receipt LIMIT $4) AS uncounted),
  (SELECT count(*) FROM (SELECT 1 FROM incidents AS i WHERE i.project_id = p.id
    AND i.state = 'open' LIMIT $4) AS open)
FROM projects AS p LEFT JOIN count_progress AS c ON c.project_id = p.id
WHERE p.id {scope}"""


async def read_activity(
    session: AsyncSession, project_ids: Sequence[ProjectId], now: datetime
) -> dict[ProjectId, Activity]:
    """The activity of each of these projects."""
    st = SessionStatements(session)
    await prefer_indexes(st)
    since_ms = to_unix_ms(now - LATELY)
    sql = _READ.format(scope=among(st.dialect, "$1"))
    values = (json.dumps(list(project_ids)), since_ms, start_ms(now), COUNTED_AT_MOST)
    return {
        ProjectId(row[0]): Activity(
            last_receipt_at=None if row[1] is None else from_unix_ms(row[1]),
            receipts_in_24_hours=int(row[2]) + int(row[3]),
            open=int(row[4]),
            is_open_bounded=int(row[4]) >= COUNTED_AT_MOST,
        )
        for row in await st.fetch(sql, *values)
    }
