"""The doctor's check of silent projects."""

from cli.doctor.findings import Finding, ok, warn
from store.db.database import Database
from store.maintenance.metrics import COUNTED
from store.overview.silence import count_silent


async def check_projects(database: Database) -> Finding:
    """Whether projects receive nothing for unusually long. Their destinations were alerted."""
    async with database.reading() as session:
        silent = await count_silent(session, limit=COUNTED)
    fix = "see `makegood overview PROJECT` for each project, then check that its app sends receipts"
    return warn(f"{silent} silent", fix=fix) if silent else ok("none is silent")
