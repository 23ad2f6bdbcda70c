"""The console shows rows of a later version, while its processes replace these."""

import pytest
from sqlalchemy import text

from domain.lifecycle import LifecycleState
from domain.projects import CreatedProject
from domain.temporal.runs import StuckCause
from domain.users import Role
from store.people import invitations
from store.receipts.reconcile.stuck_runs import mark_stuck, runs_to_look_at, suspect_run
from tests.console.conftest import Visitor
from tests.console.people import ConsoleWorld
from tests.support.given import Story
from tests.support.later_version import OF_RECEIPT, plant


@pytest.mark.spread
@pytest.mark.parametrize(("column", "value"), OF_RECEIPT.items(), ids=list(OF_RECEIPT))
@pytest.mark.parametrize("state", [LifecycleState.CALLING, LifecycleState.CLOSED])
async def test_pages_of_a_receipt_open_with_a_value_of_a_later_version(
    operator: Visitor, story: Story, state: LifecycleState, column: str, value: str
) -> None:
    event_id, _ = await story.reach(state)
    await plant(story.database, column, value)

    pages = [
        await operator.open(path)
        for path in (f"/events/{event_id}", "/events?tab=all", "/incidents?tab=all", "/incidents")
    ]

    assert [page.status_code for page in pages] == [200] * 4


async def test_pages_claim_nothing_about_what_they_do_not_know(
    operator: Visitor, story: Story
) -> None:
    event_id, _ = await story.opened()
    waiting = await story.receipt()
    await plant(story.database, "incidents.reason", "missing_receipt")
    page = (await operator.open(f"/events/{event_id}")).text
    await plant(story.database, "receipts.state", "expected")
    listed = (await operator.open("/events?tab=all")).text

    assert "The app reported that the effect was not applied." not in page
    assert waiting in listed
    assert "Result in time" not in listed


async def test_entry_of_a_later_version_is_shown_in_its_place(
    operator: Visitor, story: Story
) -> None:
    event_id, _ = await story.opened()
    (entry,) = [
        row for row in await story.rows("timeline", event_id) if row["kind"] == "incident_opened"
    ]
    async with story.database.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO timeline (event_id, at, kind, fields)"
                " VALUES (:event_id, :at, 'incident_pinned', :fields)"
            ),
            {"event_id": event_id, "at": entry["at"], "fields": '{"pinned_by": "usr_1"}'},
        )

    page = (await operator.open(f"/events/{event_id}")).text

    assert page.index("Incident opened") < page.index("Incident pinned")
    assert "usr_1" in page


async def test_page_names_a_cause_of_a_later_version(operator: Visitor, story: Story) -> None:
    event_id, _ = await story.opened()
    await story.do(suspect_run, event_id, story.project.id)
    async with story.database.transaction() as session:
        (run,) = await runs_to_look_at(session, story.at, limit=1, of_each=1)
        await mark_stuck(session, run, StuckCause.TASK_FAILS, story.at, look_at=story.at)
    await plant(story.database, "stuck_runs.cause", "quota_used_up")

    page = await operator.open(f"/events/{event_id}")

    assert page.status_code == 200
    assert "the cause is quota_used_up" in page.text


async def test_role_of_a_later_version_is_listed_and_grants_nothing(
    world: ConsoleWorld, project: CreatedProject, story: Story
) -> None:
    owner = await world.administrator()
    auditor = await world.member("auditor", project.project.id, Role.OWNER)
    event_id = await story.receipt()
    await plant(story.database, "members.role", "auditor")

    listed = await owner.get(f"/projects/{project.project.id}")
    theirs = [
        await auditor.get(path)
        for path in (f"/projects/{project.project.id}", f"/events/{event_id}")
    ]
    events = await auditor.get("/events?tab=all")

    assert '<option value="" selected disabled>Auditor</option>' in listed.text
    assert [page.status_code for page in theirs] == [404, 404]
    assert (events.status_code, event_id in events.text) == (200, False)


async def test_invitation_of_a_later_version_is_listed_and_waits_for_it(
    world: ConsoleWorld, project: CreatedProject, story: Story
) -> None:
    owner = await world.administrator()
    async with story.database.transaction() as session:
        token, _ = await invitations.invite(
            session,
            project_id=project.project.id,
            email="ada@shop.example",
            role=Role.VIEWER,
            invited_by=owner.user_id,
            now=await story.database.now(session),
        )
    await plant(story.database, "invitations.role", "auditor")
    ada = await world.nobody()

    listed = await owner.get(f"/projects/{project.project.id}")
    refused = await ada.post_anonymously("/join", token=token)
    await plant(story.database, "invitations.role", "viewer")
    accepted = await ada.post_anonymously("/join", token=token)

    assert "Auditor" in listed.text
    assert refused.status_code == 422
    assert accepted.status_code == 303
