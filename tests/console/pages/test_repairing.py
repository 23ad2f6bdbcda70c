"""The pages of bulk repairs, and the sections of holds and rules on the page of a project."""

import json
import re
from datetime import timedelta

import pytest
from sqlalchemy import text

from domain.ids import BulkId
from domain.projects import CreatedProject
from domain.repairing.rules import RuleSpec
from domain.users import Role
from domain.values.timestamps import to_unix_ms
from store.db.database import Database
from store.repairing.bulk_repairs import list_bulk_repairs, list_items
from store.repairing.bulk_steps import begin_next
from store.repairing.rules import read_rules, replace_rules
from tests.console.people import ConsoleWorld, Person
from tests.support.given import Story

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def story(database: Database, project: CreatedProject) -> Story:
    story = Story(database, project.project)
    async with database.reading() as session:
        story.at = await database.now(session)
    return story


@pytest.fixture
async def person(world: ConsoleWorld, project: CreatedProject) -> Person:
    """An operator of the project."""
    return await world.member("ada", project.project.id, Role.OPERATOR)


async def failed(story: Story, **changes: object) -> str:
    event_id = await story.receipt(**changes)
    await story.result(event_id, "failed")
    return await story.incident_id(event_id)


async def started(story: Story) -> BulkId:
    """The only bulk repair."""
    async with story.database.reading() as session:
        (bulk,) = (await list_bulk_repairs(session, [story.project.id], limit=9)).rows
    return bulk.id


async def test_list_of_incidents_leads_to_a_dry_run_of_its_filter(
    story: Story, person: Person
) -> None:
    await failed(story, internal_reference="seat 7", amount=1_250, currency="EUR")
    await failed(story, internal_reference="seat 8")

    page = (await person.get("/incidents?q=seat+7")).text
    link = re.search(r'href="(/bulk-repairs/new\?[^"]*)"', page)
    assert link is not None
    new = (await person.get(link[1].replace("&amp;", "&"))).text

    assert "<dt>Incidents</dt><dd>1</dd>" in new
    assert "€12.50" in new or "12.50" in new
    assert "Start with 1" in new
    assert 'name="q" value="seat 7"' in new
    assert 'name="first"' in new


@pytest.mark.parametrize(
    ("query", "matched"),
    [
        ("q=error:db_timeout", 1),
        ("q=is:open+amount:>1000", 1),
        ("state=acknowledged", 1),
        ("sort=-amount&mode=test", 2),
        ("state=all&from=2020-01-01", 3),
    ],
)
async def test_all_that_match_the_list_are_in_the_dry_run(
    story: Story, person: Person, query: str, matched: int
) -> None:
    acknowledged = await failed(story, amount=1_250, currency="EUR")
    await person.post(f"/incidents/{acknowledged}/acknowledge")
    coded = await story.receipt()
    await story.result(coded, "failed", error_code="db_timeout")
    resolved = await story.receipt()
    await story.result(resolved, "failed")
    await story.result(resolved)

    page = (await person.get(f"/incidents?{query}")).text
    link = re.search(r'href="(/bulk-repairs/new\?[^"]*)">Repair all', page)
    assert link is not None
    new = (await person.get(link[1].replace("&amp;", "&"))).text

    assert f"<dt>Incidents</dt><dd>{matched}</dd>" in new


async def test_search_that_is_refused_is_named_in_the_dry_run(person: Person) -> None:
    page = (await person.get("/bulk-repairs/new?q=effet:x")).text

    assert "There is no token “effet:”" in page.replace("`effet:`", "“effet:”")
    assert "disabled" in page


async def test_selected_incidents_are_repaired_in_the_order_of_the_plan(
    story: Story, person: Person
) -> None:
    ids = [await failed(story) for _ in range(3)]
    path = f"/projects/{story.project.id}/bulk-repairs"
    plan = {"first": "2", "then": "0", "per_minute": "60", "stop_at_failed_percent": "50"}

    chosen = await person.post("/bulk-repairs/new", incident_ids=" ".join(ids[:2]))
    answer = await person.post(path, incident_ids=" ".join(ids[:2]), reason="outage", **plan)
    bulk_id = await started(story)
    async with story.database.transaction() as session:
        await begin_next(session, bulk_id, story.at)
    page = (await person.get(answer.headers["location"])).text
    listed = (await person.get("/bulk-repairs")).text

    assert "<dt>Incidents</dt><dd>2</dd>" in chosen.text
    assert answer.headers["location"] == f"/bulk-repairs/{bulk_id}"
    assert "2 first, then 0, then 60 a minute. Stops at 50 % failed." in page
    assert [row for row in ("Repairing", "Waiting") if row in page] == ["Repairing", "Waiting"]
    assert 'hx-trigger="every 3s"' in page
    assert "outage" in listed
    assert "0 of 2" in listed
    async with story.database.reading() as session:
        items = (await list_items(session, bulk_id, limit=9)).rows
    assert [item.incident_id for item in items] == ids[:2]


async def test_buttons_pause_resume_and_abort(story: Story, person: Person) -> None:
    await failed(story)
    path = f"/projects/{story.project.id}/bulk-repairs"
    await person.post(path, state="open", reason="outage", first="1", then="1", per_minute="1")
    bulk_id = await started(story)

    shown = []
    for act in ("pause", "resume", "abort"):
        answer = await person.post(f"/bulk-repairs/{bulk_id}/{act}")
        page = (await person.get(answer.headers["location"])).text
        buttons = [name for name in ("pause", "resume", "abort") if f"{bulk_id}/{name}" in page]
        shown.append(buttons)

    assert shown == [["resume", "abort"], ["pause", "abort"], []]


async def test_what_is_refused_is_shown_at_its_field(story: Story, person: Person) -> None:
    await failed(story)
    path = f"/projects/{story.project.id}/bulk-repairs"

    answer = await person.post(path, state="open", reason=" ", first="none")

    assert answer.status_code == 422
    for name in ("reason", "first"):
        assert f'id="{name}-problem"' in answer.text
    assert 'value="none"' in answer.text


async def test_unknown_incidents_are_refused_in_the_dry_run(story: Story, person: Person) -> None:
    page = (await person.get("/bulk-repairs/new?incident=inc_none&incident=inc_other")).text

    assert "No incident of this project has this id." in page
    assert "disabled" in page


async def test_viewer_sees_progress_without_buttons_and_starts_nothing(
    story: Story, person: Person, world: ConsoleWorld
) -> None:
    await failed(story)
    await person.post(f"/projects/{story.project.id}/bulk-repairs", state="open", reason="outage")
    viewer = await world.member("vic", story.project.id, Role.VIEWER)

    page = (await viewer.get(f"/bulk-repairs/{await started(story)}")).text
    new = (await viewer.get("/bulk-repairs/new?state=open")).text

    assert "outage" in page
    assert "/abort" not in page
    assert "You are an operator of no project" in new


async def test_hold_is_added_shown_and_removed(story: Story, person: Person) -> None:
    path = f"/projects/{story.project.id}"
    until = (story.at + timedelta(days=1)).strftime("%Y-%m-%dT%H:%M")

    await person.post(f"{path}/holds", effect_type="access_unlock", reason="<b>closed", until=until)
    page = (await person.get(path)).text
    remove = re.search(r'action="([^"]*/holds/hld_[^"]*/remove)"', page)
    assert remove is not None
    await person.post(remove[1])
    after = (await person.get(path)).text
    refused = await person.post(f"{path}/holds", reason="x", until="2020-01-01T00:00")

    assert "&lt;b&gt;closed" in page
    assert "No hold is active" in after
    assert "Must be in the future" in (await person.get(refused.headers["location"])).text


async def test_rules_are_changed_by_owners_and_armed_by_operators(
    story: Story, person: Person, world: ConsoleWorld
) -> None:
    path = f"/projects/{story.project.id}"
    owner = await world.member("olga", story.project.id, Role.OWNER)
    rules = json.dumps({"rules": [{"name": "again", "delay_seconds": 60, "error_code": "db_*"}]})

    await owner.post(f"{path}/repair-rules", rules=rules)
    page = (await person.get(path)).text
    broken = await owner.post(f"{path}/repair-rules", rules="[")
    told = (await owner.get(broken.headers["location"])).text
    async with story.database.reading() as session:
        (kept,) = await read_rules(session, story.project.id)

    assert "<code>db_*</code>" in page
    assert "Change the rules" not in page
    assert "must be a JSON object" in told
    assert kept.spec.name == "again"


async def test_disarmed_rule_is_shown_and_armed_again(story: Story, person: Person) -> None:
    spec = RuleSpec("again", None, None, None, None, 60, 1, 10, 3)
    async with story.database.transaction() as session:
        await replace_rules(session, story.project.id, [spec])
        disarmed = text("UPDATE repair_rules SET disarmed_at = :at, failures = 3")
        await session.execute(disarmed, {"at": to_unix_ms(story.at)})
    path = f"/projects/{story.project.id}"

    before = (await person.get(path)).text
    answer = await person.post(f"{path}/repair-rules/again/arm")

    after = (await person.get(path)).text
    unknown = await person.post(f"{path}/repair-rules/nobody/arm")
    assert ("Disarmed" in before, "after 3 failures in a row" in before) == (True, True)
    assert ("Disarmed" in after, "/again/arm" in after) == (False, False)
    assert answer.status_code == 303
    assert "No rule of this project" in (await person.get(unknown.headers["location"])).text
