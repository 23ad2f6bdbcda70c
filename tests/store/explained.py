"""Plans of statements: which of them read a table to its end, or sort more than a page."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event
from sqlalchemy.ext.asyncio import AsyncSession

# Rows of these grow with the receipts. Single letters are their names in the statements.
LARGE = "receipts|incidents|incident_groups|repairs|search_texts|audit_log|t|r|u|s|g"
# A table read without an index; a table read to its end through one; an index made for one query.
SQLITE_SCANS = re.compile(rf"SCAN ({LARGE})\b|AUTOMATIC.* INDEX")
POSTGRESQL_SCANS = re.compile(rf"Seq Scan on ({LARGE})\b")
# The statements that sort what a reference or the trigram index found, and a batch to be indexed.
SORT_FEW = re.compile("WITH found AS|INSERT INTO search_texts")
# Of the newest thousand receipts of one reference, which an index finds, those that take something
# back are sorted: one sort.
SORTS_ONCE = re.compile("AS later")
MOST_ROWS = 6_000

Statement = tuple[str, Any]  # Any: the values, as the driver has them


@contextmanager
def noted(session: AsyncSession) -> Iterator[list[Statement]]:
    """The statements of the block."""
    seen: list[Statement] = []
    bind = session.get_bind()

    def note(_: object, __: object, statement: str, values: Any, ___: object, ____: object) -> None:
        seen.append((statement, values))

    event.listen(bind, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(bind, "before_cursor_execute", note)


async def plan_of(session: AsyncSession, statement: str, values: Any) -> list[str]:
    """The lines of the plan; on PostgreSQL with the rows that were read."""
    is_sqlite = session.get_bind().dialect.name == "sqlite"
    explain = "EXPLAIN QUERY PLAN " if is_sqlite else "EXPLAIN (ANALYZE, TIMING OFF) "
    connection = await session.connection()
    rows = await connection.exec_driver_sql(explain + statement, values)
    return [str(row[-1]) for row in rows]


def faults_of(
    plan: list[str], statement: str, most_rows: float = MOST_ROWS, *, may_sort: bool = False
) -> list[str]:
    """The lines of a plan that read a table to its end, or sort more than a page.

    `may_sort`: the statement sorts only the rows that it was given.
    """
    faults = [line for line in plan if SQLITE_SCANS.search(line) or POSTGRESQL_SCANS.search(line)]
    if not (may_sort or SORT_FEW.search(statement)):
        sorts = [line for line in plan if "TEMP B-TREE FOR ORDER BY" in line]
        faults += sorts[1:] if SORTS_ONCE.search(statement) else sorts
    return faults + [line for line, rows in rows_read(plan) if rows > most_rows]


def rows_read(plan: list[str]) -> Iterator[tuple[str, float]]:
    """The lines of a PostgreSQL plan that count rows, with the rows of all loops.

    PostgreSQL prints the average of a loop. The lines after that of a node are about the node.
    """
    loops = 1
    for line in plan:
        if found := re.search(r"actual rows=([\d.]+) loops=(\d+)", line):
            loops = int(found[2])
            yield line, float(found[1]) * loops
        elif "never executed" in line:
            loops = 0
        elif removed := re.search(r"Rows Removed by .*(?:Filter|Recheck): (\d+)", line):
            yield line, int(removed[1]) * loops
