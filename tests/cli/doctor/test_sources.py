"""The check `Sources` of `makegood doctor`."""

from datetime import UTC, datetime

from cli.doctor.findings import Verdict
from cli.doctor.sources import check_sources
from domain.projects import CreatedProject
from domain.sources.source import SourceKind
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.sources.schedules import record_not_scheduled, sources_to_schedule
from tests.support.sources import stored_source


async def test_schedule_that_temporal_did_not_take_is_a_warning_with_its_time(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    await stored_source(database, sealer, project.project.id, SourceKind.STRIPE_API)
    before = await check_sources(database)
    async with database.transaction() as session:
        (changed,) = await sources_to_schedule(session, after=None, limit=10)
        await record_not_scheduled(session, changed, datetime(2026, 11, 23, 11, 13, tzinfo=UTC))

    found = await check_sources(database)

    assert (before.verdict, before.detail) == (Verdict.OK, "None is failing or silent.")
    assert found.verdict is Verdict.WARN
    assert "not yet changed: 1. The first is tried again on 2026-11-23 at 11:13:00 UTC" in (
        found.detail
    )
    assert "source_not_scheduled" in (found.fix or "")
