"""Inserts the turn of an open incident that rules of automatic repair are to judge.

Runs inside the transition's transaction, so no incident is left out, and costs a project without
rules one probe of an index. `store.repairing.rule_turns` judges.
"""

from datetime import datetime

from domain.ids import IncidentId, ReplayId
from domain.values.timestamps import to_unix_ms
from store.db.sql import Statements
from store.receipts.state import ReceiptSnapshot

_OF_OPENED = """
INSERT INTO rule_turns (incident_id, event_id, project_id, since_at, due_at)
SELECT i.id, i.event_id, i.project_id, CAST($2 AS BIGINT), CAST($2 AS BIGINT)
FROM incidents i
WHERE i.id = $1 AND EXISTS (SELECT 1 FROM repair_rules u WHERE u.project_id = i.project_id)
ON CONFLICT (incident_id) DO UPDATE SET since_at = excluded.since_at, due_at = excluded.due_at"""
_OF_FAILED = """
INSERT INTO rule_turns (incident_id, event_id, project_id, since_at, due_at)
SELECT i.id, i.event_id, i.project_id, CAST($3 AS BIGINT), CAST($3 AS BIGINT)
FROM incidents i JOIN repairs p ON p.replay_id = $2
WHERE i.id = $1 AND p.requested_by LIKE 'rule:%'
  AND EXISTS (SELECT 1 FROM repair_rules u WHERE u.project_id = i.project_id)
ON CONFLICT (incident_id) DO UPDATE SET since_at = excluded.since_at, due_at = excluded.due_at"""


async def add_turn_of_opened(st: Statements, incident_id: IncidentId, now: datetime) -> None:
    """Let the rules of the project judge an incident that opens."""
    await st.fetch(_OF_OPENED, incident_id, to_unix_ms(now))


async def add_turn_of_failed(
    st: Statements, snapshot: ReceiptSnapshot, replay_id: ReplayId, now: datetime
) -> None:
    """Let them judge an incident again whose repair failed, if a rule had requested it."""
    await st.fetch(_OF_FAILED, snapshot.incident, replay_id, to_unix_ms(now))
