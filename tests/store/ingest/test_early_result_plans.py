"""Held results cost a receipt one probe of an index, however many other projects hold."""

import re
from collections.abc import Sequence

import pytest
from sqlalchemy import text

from domain.projects import CreatedProject
from domain.values.timestamps import to_unix_ms
from store.crypto.tokens import new_event_id
from store.db.database import Database
from store.db.sql import Row, Statements, Values
from store.ingest.connection import open_ingest_connection
from store.ingest.idempotency_keys import RESPONSE_RETENTION
from store.ingest.insert_receipts import NewRow, insert_receipts
from store.receipts.early_results.hold import hold_result, holding_projects
from tests.support.given import new_receipt, new_result

OF_OTHERS = 20_000
NUMBERS = {
    "sqlite": (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {last})"
        " SELECT i FROM n"
    ),
    "postgresql": "SELECT generate_series(1, {last}) AS i",
}
FILL = """
INSERT INTO early_results (id, project_id, provider, provider_event_id, effect_type, status,
  digest, received_at, request_id, repeats, already_applied)
SELECT 'res_' || i, 'prj_other', '', 'evt_' || i, '', 'success', '', CAST(:now_ms AS BIGINT) - i,
  'req', 0, false
FROM ({numbers}) AS numbers"""
READ = re.compile(r"(SCAN|SEARCH) e\b|(Scan|using \S+) on early_results")
BY_EVENT = re.compile("early_results_once|sqlite_autoindex_early_results_2")
BY_PROJECT = re.compile(f"early_results_by_project|{BY_EVENT.pattern}")
EXPLAIN = {"sqlite": "EXPLAIN QUERY PLAN ", "postgresql": "EXPLAIN "}


class Explained:
    """Statements that keep the plan of each."""

    def __init__(self, real: Statements) -> None:
        self._real = real
        self.dialect = real.dialect
        self.plans: list[str] = []

    async def fetch(self, sql: str, *values: Values) -> Sequence[Row]:
        lines = await self._real.fetch(EXPLAIN[self.dialect] + sql, *values)
        self.plans.append("\n".join(str(line[-1]) for line in lines))
        return await self._real.fetch(sql, *values)


@pytest.mark.parametrize("is_analyzed", [False, True], ids=["unknown size", "known size"])
async def test_receipts_and_early_results_never_read_the_held_results_of_others(
    database: Database, project: CreatedProject, is_analyzed: bool
) -> None:
    project_id = project.project.id
    async with database.transaction() as session:
        is_sqlite = session.get_bind().dialect.name == "sqlite"
        numbers = NUMBERS["sqlite" if is_sqlite else "postgresql"].format(last=OF_OTHERS)
        now = await database.now(session)
        await session.execute(text(FILL.format(numbers=numbers)), {"now_ms": to_unix_ms(now)})
        if is_analyzed:
            await session.execute(text("ANALYZE"))
    receipts = [
        NewRow(new_event_id(), f"key {number}", "f", new_receipt(project_id), None)
        for number in range(50)
    ]
    connection = open_ingest_connection(database.url)

    async with connection.transaction() as real:
        st = Explained(real)
        await holding_projects(st, {project_id})
        await hold_result(st, new_result(project_id, provider_event_id="evt_1"), now)
        skew, retention = database.clock.skew, RESPONSE_RETENTION
        inserted = await insert_receipts(
            st, skew, receipts, retention=retention, skips_holding=True
        )
    await connection.close()

    of_receipts, of_result = reads(*st.plans[:1], *st.plans[2:]), reads(st.plans[1])
    assert len(inserted.timeout_at_ms) == 50
    assert of_receipts
    assert [line for line in of_receipts if not BY_PROJECT.search(line)] == []
    assert len(of_result) == 2
    assert [line for line in of_result if not BY_EVENT.search(line)] == []


def reads(*plans: str) -> list[str]:
    """The lines that read held results."""
    return [line for plan in plans for line in plan.splitlines() if READ.search(line)]
