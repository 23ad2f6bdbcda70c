"""The doctor's check of alert destinations."""

from cli.doctor.findings import Finding, ok, warn
from store.db.database import Database
from store.maintenance.metrics import COUNTED, count_failing_destinations


async def check_destinations(database: Database) -> Finding:
    """Whether alerts do not reach destinations. Their projects' other destinations got a notice."""
    async with database.reading() as session:
        failing = await count_failing_destinations(session, limit=COUNTED)
    fix = "see `makegood destination list PROJECT` for each project, then test the failing ones"
    return warn(f"{failing} failing", fix=fix) if failing else ok("none is failing")
