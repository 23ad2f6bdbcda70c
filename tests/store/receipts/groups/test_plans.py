"""What pages and loops ask about groups reads no table of them to its end."""

import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.groups.group import Cause
from domain.ids import GroupId
from domain.incidents import IncidentState
from store.db.sql import SessionStatements
from store.receipts.groups.actions import Position, next_batch
from store.receipts.groups.adoption import ungrouped_incidents
from store.receipts.groups.counts import join_group, move_in_group
from store.receipts.groups.queries import GroupFilters, list_group_incidents, list_groups
from store.receipts.groups.windows import due_windows
from store.receipts.rows.details import muted_groups
from tests.support.given import Story

pytestmark = pytest.mark.both_stores

ROWS = 4_000
_NUMBERS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :rows)"
_FILL = (
    f"""
INSERT INTO incident_groups (id, project_id, effect_type, reason, error_code, takes_more, stage,
  first_at, last_at, open_count, repairing_count, resolved_count)
{_NUMBERS} SELECT 'grp_' || i, :project_id, 'seat_update', 'failed_result', 'code ' || i, true,
  CASE WHEN i % 2 = 0 THEN 'resolved' ELSE 'unresolved' END, i, i, 1, 0, 0 FROM n""",
    f"""
INSERT INTO incidents (id, event_id, project_id, state, reason, opened_at, event_type, effect_type,
  group_id)
{_NUMBERS} SELECT 'inc_' || i, 'evt_' || i, :project_id, 'open', 'failed_result', i, '',
  'seat_update', 'grp_' || (i % 2) FROM n""",
    f"""
INSERT INTO group_windows (group_id, kind, project_id, due_at, gathered, is_pause)
{_NUMBERS} SELECT 'grp_' || i, 'group_grew', :project_id, i, 1, true FROM n""",
)
_SCAN = re.compile(r"(?:SCAN|Seq Scan on) (?:incident_groups|incidents|group_\w+|t|w)\b")


async def test_no_statement_reads_all_groups_or_incidents(story: Story) -> None:
    async with story.database.transaction() as session:
        for sql in _FILL:
            named = {"rows": ROWS, "project_id": story.project.id}
            await session.execute(text(sql), named)
    seen: list[tuple[str, Any]] = []

    def note(_: object, __: object, statement: str, values: Any, *___: object) -> None:
        seen.append((statement, values))

    async with story.database.transaction() as session:
        bind, st = session.get_bind(), SessionStatements(session)
        event.listen(bind, "before_cursor_execute", note)
        for is_unresolved in (True, False, None):
            filters = GroupFilters(story.project.id, is_unresolved=is_unresolved)
            page = await list_groups(session, filters, story.at, limit=20, cursor=None)
            assert len(page.rows) == 20
        if st.dialect == "postgresql":  # the list prefers indexes; the others must find theirs
            await st.fetch("SELECT set_config('enable_seqscan', 'on', true)")
        await list_group_incidents(session, GroupId("grp_none"), limit=20, cursor=None)
        assert len(await due_windows(session, story.at, projects=5, of_each=20)) == 20
        await next_batch(st, GroupId("grp_1"), Position(), limit=50, skips_acknowledged=True)
        await ungrouped_incidents(session, after=None, limit=50)
        await muted_groups(session, {"grp_1", "grp_2"})
        cause = Cause(story.project.id, "seat_update", "failed_result", "code 7")
        group = await join_group(
            st, cause, [("inc_7", (1, "EUR"))], at=story.at, window=timedelta(minutes=1)
        )
        await move_in_group(st, cause, group.id, [(IncidentState.OPEN, IncidentState.RESOLVED)])
        event.remove(bind, "before_cursor_execute", note)
        faults = []
        for statement, values in seen:
            if statement.lstrip().upper().startswith(("SELECT", "UPDATE", "INSERT", "WITH")):
                plan = await plan_of(session, statement, values)
                faults += [(line, statement) for line in plan if _SCAN.search(line)]
    assert faults == []
    assert len(seen) > 12


async def plan_of(session: AsyncSession, statement: str, values: Any) -> list[str]:
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    connection = await session.connection()
    explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN "
    rows = await connection.exec_driver_sql(explain + statement, values)
    return [str(row[-1]) for row in rows]
