"""The check of bulk repairs, holds and rules: whether a worker does what is due."""

from cli.doctor.findings import Finding, ok, warn
from store.db.database import Database
from store.repairing.delays import LATE_AFTER, Delays, read_delays

FIX = "check that a worker runs and reaches Temporal, and read its log"


async def check_repairing(database: Database) -> Finding:
    """Whether bulk repairs, held repairs and rules are late."""
    async with database.reading() as session:
        delays = await read_delays(session, await database.now(session))
    if delays.total == 0:
        return ok("bulk repairs, holds and rules are on time")
    minutes = LATE_AFTER.total_seconds() / 60
    return warn(f"late by more than {minutes:.0f} minutes: {_words(delays)}", fix=FIX)


def _words(delays: Delays) -> str:
    named = (
        (delays.bulk_repairs, "bulk repairs"),
        (delays.holds, "ended holds"),
        (delays.incidents, "incidents for rules"),
    )
    return ", ".join(f"{count} {name}" for count, name in named if count)
