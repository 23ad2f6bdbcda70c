"""The queries of bulk repairs, holds and rules read by their indexes."""

import re

import pytest
from sqlalchemy import text

from store.receipts.held.holds import _MATCHING
from store.repairing.bulk_steps import _DECIDED, _NEXT
from store.repairing.rule_turns import _DUE, _LATEST_OF_RULE, _NEXT_PROJECT, _RULES_WITH_OPEN
from tests.support.given import Story

QUERIES = {
    "matching hold": (_MATCHING, ("evt_1", 1)),
    "decided items": (_DECIDED, ("blk_1", 1)),
    "next item": (_NEXT, ("blk_1",)),
    "project with turns": (_NEXT_PROJECT, ("prj_1",)),
    "due turns": (_DUE, ("prj_1", 1, 1)),
    "latest of a rule": (_LATEST_OF_RULE, ("rul_1", 1, 1)),
    "rules with open repairs": (_RULES_WITH_OPEN, ("rul_1",)),
    "bulk repairs to deliver": (
        "SELECT id FROM bulk_repairs WHERE delivered_version < version AND id > $1 ORDER BY id",
        ("",),
    ),
    "undone bulk repairs": (
        "SELECT id FROM bulk_repairs WHERE done_at IS NULL AND id > $1 ORDER BY id",
        ("",),
    ),
    "due holds": ("SELECT id FROM holds WHERE ended_at IS NULL AND until_at <= $1", (1,)),
    "holds to release": (
        "SELECT id FROM holds WHERE ended_at IS NOT NULL AND released_at IS NULL AND id > $1",
        ("",),
    ),
    "held repairs": (
        "SELECT replay_id FROM repairs WHERE hold_id = $1 AND state = 'held' ORDER BY replay_id",
        ("hld_1",),
    ),
}


@pytest.mark.parametrize("name", QUERIES)
async def test_query_scans_no_table(story: Story, name: str) -> None:
    sql, values = QUERIES[name]
    is_sqlite = story.database.dialect == "sqlite"
    named = re.sub(r"\$(\d+)", r":p\1", sql)
    given = {f"p{number}": value for number, value in enumerate(values, 1)}
    async with story.database.reading() as session:
        if not is_sqlite:
            # The tables are small: PostgreSQL would read them whole.
            await session.execute(text("SET LOCAL enable_seqscan = off"))
        explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
        rows = await session.execute(text(f"{explain} {named}"), given)
        plan = "\n".join(str(row[-1]) for row in rows)

    scans = r"SCAN (?!CONSTANT)" if is_sqlite else r"Seq Scan"
    assert re.search(scans, plan) is None or "USING COVERING INDEX" in plan, plan
