"""The loop that ends acknowledgements and snoozes: projects take turns, and one bad incident or a
backlog stops no other.
"""

from datetime import timedelta

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from domain.ids import IncidentId
from domain.projects import ProjectChanges
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import Statements
from store.projects.projects import change_project
from store.receipts.operator_actions import acknowledge
from store.receipts.triage.quiet_times import end_quiet_times
from tests.store.alerts.test_claims import other_project
from tests.support.given import OPERATOR, Story
from worker.triage import quiet_times
from worker.triage.quiet_times import QuietTimes


async def acknowledged(story: Story, count: int) -> list[IncidentId]:
    """Incidents whose acknowledgement has ended by the store's clock."""
    async with story.database.transaction() as session:
        story.at = await story.database.now(session) - timedelta(days=2)
        changes = ProjectChanges(alert_emails=("ops@shop.example",))
        await change_project(session, story.project.id, changes=changes)
    incidents = [(await story.opened())[1] for _ in range(count)]
    for incident_id in incidents:
        await story.do(acknowledge, incident_id, requested_by=OPERATOR)
    return incidents


async def still_acknowledged(story: Story) -> int:
    async with story.database.reading() as session:
        counted = "SELECT count(*) FROM incidents WHERE project_id = :of AND acknowledged_at > 0"
        found = await session.scalar(text(counted), {"of": story.project.id})
    return int(found or 0)


async def is_acknowledged(story: Story, incident_id: IncidentId) -> bool:
    async with story.database.reading() as session:
        query = text("SELECT acknowledged_at FROM incidents WHERE id = :id")
        return await session.scalar(query, {"id": incident_id}) is not None


async def test_backlog_of_one_project_delays_no_other(
    database: Database, story: Story, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quiet_times, "OF_EACH_PROJECT", 2)
    other = await other_project(story, sealer, "second")
    await acknowledged(story, 5)
    await acknowledged(other, 1)
    loop = QuietTimes(database)

    first = await loop.turn()
    left = [await still_acknowledged(one) for one in (story, other)]
    more = [await loop.turn(), await loop.turn()]

    assert (first, left, more) == (True, [3, 0], [True, False])
    assert await still_acknowledged(story) == 0


async def test_turn_without_time_goes_on_at_the_next_project(
    database: Database, story: Story, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quiet_times, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(quiet_times, "OF_EACH_PROJECT", 1)
    other = await other_project(story, sealer, "second")
    await acknowledged(story, 2)
    await acknowledged(other, 1)
    loop = QuietTimes(database)

    for _ in range(2):
        assert await loop.turn()

    assert [await still_acknowledged(one) for one in (story, other)] == [1, 0]


async def test_incident_that_fails_is_backed_off_and_hides_no_other(
    database: Database, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(quiet_times, "OF_EACH_PROJECT", 1)
    bad, good = await acknowledged(story, 2)

    async def end(st: Statements, incident_id: IncidentId, *values: object) -> bool:
        if incident_id == bad:
            raise ValueError("unreadable")
        return await end_quiet_times(st, incident_id, *values)  # type: ignore[arg-type]

    monkeypatch.setattr(quiet_times, "end_quiet_times", end)
    loop = QuietTimes(database)

    with capture_logs() as logs:
        await loop.turn()
        await loop.turn()

    assert [line["incident_id"] for line in logs if line["event"] == "quiet_time_broken"] == [bad]
    assert await still_acknowledged(story) == 1
    assert await is_acknowledged(story, good) is False
