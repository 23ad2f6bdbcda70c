"""`makegood overview`, and the silence of a project as `makegood project set` takes it."""

import pytest

from domain.projects import CreatedProject
from store.db.database import Database
from tests.cli.makegood import Makegood
from tests.support.given import Story

# Each command is a process that must import everything.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


async def test_overview_prints_numbers_and_tables(
    makegood: Makegood, database: Database, project: CreatedProject
) -> None:
    story = Story(database, project.project)
    async with database.reading() as session:
        story.at = await database.now(session)
    await story.result(await story.receipt())

    printed = makegood("overview", "shop")
    as_json = makegood("overview", "shop", "--json").json

    assert printed.code == 0, printed.err
    assert "EFFECT TYPE" in printed.out
    assert "stripe" in printed.out
    assert (as_json["today"]["applied"], len(as_json["days"])) == (1, 30)


def test_silence_is_set_learned_and_refused(makegood: Makegood, project: CreatedProject) -> None:
    typed = ("--silent-event-type", "invoice.paid=60", "--silent-event-type", "a.b=learned")

    changed = makegood("project", "set", "shop", "--silent-after-minutes", "90", *typed, "--json")
    learned = makegood("project", "set", "shop", "--silent-after-minutes", "learned", "--json")
    refused = makegood("project", "set", "shop", "--silent-after-minutes", "soon")

    assert changed.json["silent_after_minutes"] == 90
    assert changed.json["silent_event_types"] == {"a.b": None, "invoice.paid": 60}
    assert learned.json["silent_after_minutes"] is None
    assert (refused.code, "no number of minutes" in refused.err) == (2, True)
