"""Sums of amounts that are at risk, for each currency. Amounts of two currencies are never added.

Called by `store.receipts.queries`, and reads the index `incidents_at_risk` alone.
"""

from collections.abc import Sequence

from sqlalchemy import ColumnElement, literal_column, select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import ProjectId
from store.schema.tables import INCIDENT_IS_AT_RISK, INCIDENTS

# SQLite's sum fails beyond 64 bits, and PostgreSQL's is no longer an integer.
PART = 10**9


async def amounts_at_risk(
    session: AsyncSession, scope: Sequence[ProjectId]
) -> tuple[tuple[str, int], ...]:
    """The sum of the amounts of unresolved incidents by currency, in alphabetical order."""
    currency = INCIDENTS.c.currency
    high: ColumnElement[int] = literal_column(f"sum(amount / {PART})")
    low: ColumnElement[int] = literal_column(f"sum(amount % {PART})")
    query = (
        select(currency, high, low)
        .where(INCIDENTS.c.project_id.in_(scope), text(INCIDENT_IS_AT_RISK))
        .group_by(INCIDENTS.c.project_id, currency)
    )
    sums: dict[str, int] = {}
    for code, billions, rest in await session.execute(query):
        sums[code] = sums.get(code, 0) + int(billions) * PART + int(rest)
    return tuple(sorted(sums.items()))
