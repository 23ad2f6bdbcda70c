"""The check of sources: their health, and whether Temporal's Schedules follow them."""

from cli.doctor.findings import Finding, ok, warn
from operations.readiness import judge_sources
from store.db.database import Database
from store.maintenance.metrics import COUNTED, count_unwell_sources
from store.sources.schedules import read_not_scheduled


async def check_sources(database: Database) -> Finding:
    """Whether sources are failing or silent, or have a Schedule that Temporal does not take."""
    async with database.reading() as session:
        unwell = await count_unwell_sources(session, limit=COUNTED)
        not_scheduled = await read_not_scheduled(session, limit=COUNTED)
    detail = judge_sources(unwell, not_scheduled).detail
    fix = "see `makegood source list PROJECT` for each project, or the page of its sources"
    if not_scheduled.count:
        fix += ", and the worker's log for source_not_scheduled"
    return warn(detail, fix=fix) if unwell or not_scheduled.count else ok(detail)
