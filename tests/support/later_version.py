"""Plants values that only a later version stores, as its processes do while it is rolled out."""

from sqlalchemy import text

from store.db.database import Database

# A column, and a value of it that this version does not know.
OF_RECEIPT = {
    "receipts.state": "expected",
    "receipts.provider": "paddle",
    "receipts.event_type": "invoice.voided",
    "receipts.effect_type": "seat_gift",
    "receipts.flags": "doubtful",
    "incidents.state": "investigated",
    "incidents.reason": "missing_receipt",
    "incidents.resolution": "withdrawn",
    "repairs.state": "held",
    "repairs.cause": "held_too_long",
    "timeline.kind": "incident_snoozed",
}


async def plant(database: Database, column: str, value: str) -> None:
    """Store the value in this column of every row. `column` is `table.column`."""
    table, _, name = column.partition(".")
    async with database.transaction() as session:
        await session.execute(text(f"UPDATE {table} SET {name} = :value"), {"value": value})
