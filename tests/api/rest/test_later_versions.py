"""REST shows rows of a later version with their own names, while its processes replace these."""

import pytest

from domain.lifecycle import LifecycleState
from domain.projects import CreatedProject
from store.db.database import Database
from tests.api.serving import Caller
from tests.support.given import Story
from tests.support.later_version import OF_RECEIPT, plant


@pytest.mark.parametrize(("column", "value"), OF_RECEIPT.items(), ids=list(OF_RECEIPT))
async def test_value_of_a_later_version_is_shown_by_its_name(
    caller: Caller, database: Database, project: CreatedProject, column: str, value: str
) -> None:
    story = Story(database, project.project)
    event_id, _ = await story.reach(LifecycleState.CLOSED)
    incident_id = await story.incident_id(event_id)
    await plant(database, column, value)

    answers = [
        await caller.ask("GET", path)
        for path in (
            f"/events/{event_id}",
            f"/events/{event_id}/timeline",
            "/events",
            f"/incidents/{incident_id}",
            "/incidents",
        )
    ]

    assert [answer.status_code for answer in answers] == [200] * 5
    assert f'"{value}"' in answers[0].text


async def test_settings_of_a_later_version_are_shown_and_ingest_goes_on(
    caller: Caller, database: Database
) -> None:
    await plant(database, "projects.late_result", "ask")
    await plant(database, "api_keys.scopes", "admin ingest read replay")

    shown = await caller.ask("GET", "/project")
    event_id = await caller.accept()
    await caller.incident_of(event_id)
    late = await caller.send("result", {"event_id": event_id, "status": "success"})

    assert (shown.status_code, shown.json()["late_result"]) == (200, "ask")
    # An unknown rule for late results counts as the default: they resolve the incident.
    assert (late.status_code, late.json()["state"]) == (202, "recovered")


async def test_scope_of_a_later_version_grants_nothing(caller: Caller, database: Database) -> None:
    await plant(database, "api_keys.scopes", "replay")

    answers = [
        await caller.ask("GET", "/events"),
        await caller.ask("GET", "/project"),
        await caller.send("receipt", {}),
    ]

    assert [answer.status_code for answer in answers] == [403] * 3
