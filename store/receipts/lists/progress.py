"""How far the repairs of some incidents are: the newest repair of each and its last call."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.ids import EventId
from domain.values.timestamps import from_unix_ms
from store.db.sql import Statements

_NEWEST = """
SELECT r.event_id, r.state, r.cause, r.result_deadline_at,
  (SELECT count(*) FROM repairs AS o WHERE o.event_id = r.event_id),
  a.number, a.state, a.status, a.error_class
FROM {given} CROSS JOIN repairs AS r
LEFT JOIN attempts AS a ON a.replay_id = r.replay_id
  AND a.number = (SELECT max(b.number) FROM attempts AS b WHERE b.replay_id = r.replay_id)
WHERE r.event_id = given.value
  AND r.replay_id = (SELECT max(o.replay_id) FROM repairs AS o WHERE o.event_id = r.event_id)"""
_GIVEN = {
    "sqlite": "json_each($1) AS given",
    "postgresql": "json_array_elements_text(CAST($1 AS json)) AS given(value)",
}


@dataclass(frozen=True, slots=True)
class RepairProgress:
    """The newest repair of an incident.

    `repairs` is how many there are, `calls` how many of the newest began. `status` and
    `error_class` are those of its last call, None while it runs.
    """

    repairs: int
    state: str
    cause: str | None
    result_deadline_at: datetime | None
    calls: int
    is_calling: bool
    status: int | None
    error_class: str | None


async def repair_progress(
    st: Statements, event_ids: Sequence[EventId]
) -> dict[EventId, RepairProgress]:
    """The progress by event; events without a repair are left out."""
    if not event_ids:
        return {}
    rows = await st.fetch(_NEWEST.format(given=_GIVEN[st.dialect]), json.dumps(event_ids))
    return {
        EventId(row[0]): RepairProgress(
            repairs=row[4],
            state=row[1],
            cause=row[2],
            result_deadline_at=None if row[3] is None else from_unix_ms(row[3]),
            calls=row[5] or 0,
            is_calling=row[6] == "started",
            status=row[7],
            error_class=row[8],
        )
        for row in rows
    }
