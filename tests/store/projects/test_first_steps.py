"""What the first steps of a project are derived from, and the bounds of reading them."""

from datetime import timedelta

import pytest
from sqlalchemy import insert, select, update

from bench.fill_lists import fill_lists
from domain.ids import ProjectId, UserId
from domain.lifecycle import LifecycleState
from domain.projects import CreatedProject, Scope
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.api_keys import create_key, revoke_key
from store.projects.deletion import delete_project
from store.projects.first_steps import (
    FirstSteps,
    hidden_checklists,
    hide_checklist,
    read_first_steps,
    show_checklist,
)
from store.projects.projects import create_project
from store.schema.tables import ALERTS, FACTS
from tests.store.explained import faults_of, noted, plan_of
from tests.support.given import START, Story

NADIA, OLGA = UserId("usr_nadia"), UserId("usr_olga")
STEPS = ("has_receipt", "has_result", "has_timeout", "has_alert", "has_repair_call", "has_resolved")


@pytest.fixture
def story(database: Database, project: CreatedProject) -> Story:
    return Story(database, project.project)


@pytest.fixture
async def other_project(database: Database, sealer: Sealer) -> CreatedProject:
    async with database.transaction() as session:
        return await create_project(session, sealer, name="Elsewhere", livemode=False, now=START)


async def steps_of(story: Story) -> FirstSteps:
    async with story.database.reading() as session:
        return await read_first_steps(session, story.project.id, START)


async def done_in(story: Story) -> set[str]:
    """The steps that are done, beside the key."""
    steps = await steps_of(story)
    return {name for name in STEPS if getattr(steps, name)}


async def test_new_project_has_a_key_and_nothing_else(story: Story) -> None:
    steps = await steps_of(story)

    assert steps == FirstSteps(True, False, False, False, False, False, False, 0, None)


@pytest.mark.parametrize(
    ("state", "done"),
    [
        (LifecycleState.EXPECTED, set()),
        (LifecycleState.WAITING, {"has_receipt"}),
        (LifecycleState.APPLIED, {"has_receipt", "has_result"}),
        (LifecycleState.OPEN, {"has_receipt", "has_timeout"}),
        (LifecycleState.CALLING, {"has_receipt", "has_timeout"}),
        (LifecycleState.AWAITING_RESULT, {"has_receipt", "has_timeout", "has_repair_call"}),
        (
            LifecycleState.RECOVERED,
            {"has_receipt", "has_result", "has_timeout", "has_repair_call", "has_resolved"},
        ),
        (LifecycleState.CLOSED, {"has_receipt", "has_timeout", "has_repair_call"}),
    ],
)
async def test_steps_follow_the_state_of_the_receipt(
    story: Story, state: LifecycleState, done: set[str]
) -> None:
    await story.reach(state)

    assert await done_in(story) == done


async def test_event_that_only_a_source_saw_is_no_receipt(story: Story) -> None:
    await story.reach_unreceipted(LifecycleState.OPEN)

    assert await done_in(story) == set()


async def test_failed_result_is_a_result_and_no_timeout(story: Story) -> None:
    event_id = await story.receipt()
    await story.result(event_id, "failed", error_code="seat_limit")

    assert await done_in(story) == {"has_receipt", "has_result"}


async def test_alert_counts_when_it_is_sent(story: Story) -> None:
    _, incident_id = await story.opened()
    before = await done_in(story)

    async with story.database.transaction() as session:
        sent = update(ALERTS).where(ALERTS.c.incident_id == incident_id)
        await session.execute(sent.values(sent_at=START))

    assert await done_in(story) - before == {"has_alert"}


async def test_open_incident_is_the_newest_unresolved_one(story: Story) -> None:
    await story.opened()
    newest, incident_id = await story.opened()
    resolved, _ = await story.opened()
    await story.result(resolved)

    steps = await steps_of(story)

    assert steps.incidents == 3
    assert steps.open_incident is not None
    assert (steps.open_incident.event_id, steps.open_incident.incident_id) == (newest, incident_id)


async def test_key_must_work_and_may_send(
    story: Story, database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    scopes = {"reading": Scope.READ, "sending": Scope.INGEST}
    async with database.transaction() as session:
        await revoke_key(session, project.project.id, project.key.id, START)
        for name, scope in scopes.items():
            await create_key(
                session,
                sealer,
                project_id=project.project.id,
                label=name,
                scopes=frozenset({scope}),
                expires_at=START + timedelta(days=1) if name == "sending" else None,
                now=START,
            )

    async with database.reading() as session:
        asked = [
            (await read_first_steps(session, story.project.id, at)).has_key
            for at in (START, START + timedelta(days=2))
        ]

    assert asked == [True, False]


async def test_other_project_changes_nothing(
    story: Story, database: Database, other_project: CreatedProject
) -> None:
    await Story(database, other_project.project).reach(LifecycleState.RECOVERED)

    assert await done_in(story) == set()


async def test_checklist_is_hidden_for_one_user_until_shown(
    story: Story, database: Database, other_project: CreatedProject
) -> None:
    both = [story.project.id, other_project.project.id]
    async with database.transaction() as session:
        await hide_checklist(session, story.project.id, NADIA)
        await hide_checklist(session, story.project.id, NADIA)
        hidden = [await hidden_checklists(session, user, both) for user in (NADIA, OLGA)]
        await show_checklist(session, story.project.id, NADIA)
        shown = await hidden_checklists(session, NADIA, both)

    assert hidden == [{story.project.id}, set()]
    assert shown == set()


async def test_deleted_project_leaves_no_trace_of_what_was_hidden(
    story: Story, database: Database, other_project: CreatedProject
) -> None:
    async with database.transaction() as session:
        for project_id in (story.project.id, other_project.project.id):
            await hide_checklist(session, project_id, NADIA)

        await delete_project(session, story.project.id, end_open=True, now=START)

        left = (await session.scalars(select(FACTS.c.name))).all()
    assert [name for name in left if name.startswith("checklist_hidden")] == [
        f"checklist_hidden:{other_project.project.id}:{NADIA}"
    ]


@pytest.mark.parametrize("analyzed", [True, False], ids=["with statistics", "without"])
async def test_steps_of_a_large_project_are_read_by_index(
    database: Database, analyzed: bool
) -> None:
    filled = await fill_lists(database, 20_000, is_analyzed=analyzed)
    faults: list[str] = []
    for project_id in map(ProjectId, filled.projects[:2]):
        async with database.reading() as session:
            with noted(session) as statements:
                steps = await read_first_steps(session, project_id, START)
            for statement, values in statements:
                if "set_config" in statement:
                    continue
                plan = await plan_of(session, statement, values)
                faults += faults_of(plan, statement, most_rows=2_000)

    assert steps.has_receipt
    assert faults == []


async def test_facts_of_the_installation_stay(database: Database, story: Story) -> None:
    """A name that begins like the project's id is another one."""
    async with database.transaction() as session:
        near = f"checklist_hidden:{story.project.id}0:usr_x"
        await session.execute(insert(FACTS).values(name=near, value="1"))

        await delete_project(session, story.project.id, end_open=True, now=START)

        assert near in (await session.scalars(select(FACTS.c.name))).all()
