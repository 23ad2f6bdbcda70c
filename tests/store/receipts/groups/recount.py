"""Counts groups from their incidents, to compare with their rows."""

from typing import Any

from sqlalchemy import text

from store.db.database import Database

_COUNTED = """
SELECT group_id, sum(CASE WHEN state = 'open' THEN 1 ELSE 0 END) AS open_count,
  sum(CASE WHEN state = 'repairing' THEN 1 ELSE 0 END) AS repairing_count,
  sum(CASE WHEN state = 'resolved' THEN 1 ELSE 0 END) AS resolved_count
FROM incidents GROUP BY group_id ORDER BY group_id"""
_STORED = """
SELECT id AS group_id, open_count, repairing_count, resolved_count
FROM incident_groups ORDER BY id"""
_COUNTED_AMOUNTS = """
SELECT group_id, currency, sum(amount) AS amount FROM incidents WHERE amount IS NOT NULL
GROUP BY group_id, currency ORDER BY group_id, currency"""
_STORED_AMOUNTS = """
SELECT group_id, currency, billions * 1000000000 + rest AS amount FROM group_amounts
WHERE billions * 1000000000 + rest <> 0 ORDER BY group_id, currency"""


async def stored_and_counted(database: Database) -> tuple[list[Any], list[Any]]:
    """The rows of groups and amounts as they are stored, and as the incidents have them."""
    stored = [*await rows_of(database, _STORED), *await rows_of(database, _STORED_AMOUNTS)]
    counted = [*await rows_of(database, _COUNTED), *await rows_of(database, _COUNTED_AMOUNTS)]
    return stored, counted


async def rows_of(database: Database, sql: str, **values: object) -> list[dict[str, Any]]:
    """The rows of a query. Sums of PostgreSQL are decimals, and become ints."""
    async with database.reading() as session:
        found = (await session.execute(text(sql), values)).mappings().all()
    return [
        {
            name: value if isinstance(value, str | None) else int(value)
            for name, value in row.items()
        }
        for row in found
    ]
