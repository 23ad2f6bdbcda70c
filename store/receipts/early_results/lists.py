"""Lists and counts the results that are held because no receipt has claimed them. Reads only.

Lists are newest first, paged by keyset on the instant and the id.
"""

import re
from datetime import datetime

from sqlalchemy import func, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import ProjectId
from domain.results import EarlyResult
from domain.values.timestamps import from_unix_ms, to_unix_ms
from store.db.paging import Page, read_cursor, write_cursor
from store.receipts.early_results.hold import HELD_FOR
from store.receipts.rows.details import in_projects, of_project
from store.schema.mappers import early_result_from
from store.schema.tables import EARLY_RESULTS

_CURSOR = re.compile(r"(\d{1,18}):(res_[0-9a-f]{32})")


async def list_early_results(
    session: AsyncSession,
    project_id: ProjectId | None,
    now: datetime,
    *,
    limit: int,
    cursor: str | None,
    within: tuple[ProjectId, ...] | None = None,
) -> Page[EarlyResult]:
    """A page of held results; `project_id` None means every project, `within` some of them.

    Raises: ValidationFailed for an invalid cursor.
    """
    columns = EARLY_RESULTS.c
    key = (columns.received_at, columns.id)
    query = select(EARLY_RESULTS).where(
        columns.received_at > now - HELD_FOR,
        *of_project(columns.project_id, project_id),
        *in_projects(columns.project_id, within),
    )
    if cursor is not None:
        found = read_cursor(cursor, _CURSOR)
        query = query.where(tuple_(*key) < (from_unix_ms(int(found[1])), found[2]))
    newest = query.order_by(*(column.desc() for column in key)).limit(limit + 1)
    rows = (await session.execute(newest)).all()
    has_more = len(rows) > limit
    last = rows[limit - 1] if has_more else None
    next_cursor = last and write_cursor(f"{to_unix_ms(last.received_at)}:{last.id}")
    return Page(tuple(early_result_from(row) for row in rows[:limit]), next_cursor or None)


async def count_early_results(session: AsyncSession, now: datetime, *, limit: int) -> int:
    """The number of held results of all projects, at most `limit`."""
    is_held = EARLY_RESULTS.c.received_at > now - HELD_FOR
    counted = select(EARLY_RESULTS.c.id).where(is_held).limit(limit).subquery()
    return await session.scalar(select(func.count()).select_from(counted)) or 0
