"""The commands of people who look after incidents, and `receipt deadline`."""

from datetime import datetime, timedelta

import pytest

from domain.projects import CreatedProject
from store.db.database import Database
from tests.cli.makegood import Makegood
from tests.support.given import Story

# Each command is a process that must import everything.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def story(database: Database, project: CreatedProject) -> Story:
    told = Story(database, project.project)
    async with database.reading() as session:
        told.at = await database.now(session)
    return told


async def test_an_incident_is_looked_after(makegood: Makegood, story: Story) -> None:
    _, incident_id = await story.opened(timeout_minutes=0.01)

    def act(name: str, *arguments: str) -> dict[str, str]:
        done = makegood("incident", name, incident_id, *arguments, "--json")
        assert done.code == 0, done.err
        return dict(done.json)

    acknowledged = act("acknowledge", "--until", "2d")
    taken_back = act("unacknowledge")
    snoozed = act("snooze", "--until", "30m")
    act("comment", "looked at it")
    assigned = act("assign", "--nobody")
    act("resolve", "--reason", "refunded")
    reopened = act("reopen", "--reason", "not refunded")

    begins, ends = (acknowledged[name] for name in ("acknowledged_at", "acknowledged_until"))
    lasts = datetime.fromisoformat(ends) - datetime.fromisoformat(begins)
    assert abs(lasts - timedelta(days=2)) < timedelta(minutes=1)
    assert acknowledged["acknowledged_by"] == "command line"
    assert taken_back["acknowledged_by"] is None
    assert snoozed["snoozed_until"] is not None
    assert assigned["assignee"] is None
    assert reopened["state"] == "open"


async def test_deadline_is_moved(makegood: Makegood, story: Story) -> None:
    event_id = await story.receipt()

    moved = makegood("receipt", "deadline", event_id, "--at", "6d", "--json").json
    refused = makegood("receipt", "deadline", event_id, "--at", "8d")

    assert moved["deadline_at"] > moved["timeout_at"]
    assert (refused.code, "7 days" in refused.err) == (2, True)


def test_assign_needs_a_person_or_nobody(makegood: Makegood) -> None:
    done = makegood("incident", "assign", "inc_1")

    assert (done.code, "--nobody" in done.err) == (2, True)
