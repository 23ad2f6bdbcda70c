"""Sums of amounts that are at risk, for each currency. Amounts of two currencies are never added.

Called by `store.receipts.queries` and `store.overview.figures`. Reads the index `incidents_at_risk`
alone.
"""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, literal_column, select, text

from domain.ids import ProjectId
from store.schema.tables import INCIDENT_IS_AT_RISK, INCIDENTS

# SQLite's sum fails beyond 64 bits, and PostgreSQL's is no longer an integer.
PART = 10**9


# Any: the columns of a sum.
def amounts_at_risk(scope: Sequence[ProjectId]) -> Select[Any]:
    """The amounts of unresolved incidents: currency, sum of whole `PART`s, sum of the rest."""
    currency = INCIDENTS.c.currency
    high: ColumnElement[int] = literal_column(f"sum(amount / {PART})")
    low: ColumnElement[int] = literal_column(f"sum(amount % {PART})")
    return (
        select(currency, high, low)
        .where(INCIDENTS.c.project_id.in_(scope), text(INCIDENT_IS_AT_RISK))
        .group_by(INCIDENTS.c.project_id, currency)
    )


def summed(rows: Iterable[tuple[str, int, int]]) -> tuple[tuple[str, int], ...]:
    """The sum of each currency, in alphabetical order."""
    sums: dict[str, int] = {}
    for code, billions, rest in rows:
        sums[code] = sums.get(code, 0) + billions * PART + rest
    return tuple(sorted(sums.items()))
