"""Lists hold 1,000 projects and people and say so. Others are still found by name or id."""

import html

from sqlalchemy import event, insert
from sqlalchemy.engine import Engine

from api.console.composition import ConsoleDependencies
from domain.audit import Actor, AuditAction
from domain.ids import UserId
from domain.projects import CreatedProject
from domain.users import Role
from operations.people.composition import People
from store.audit import log as audit
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.paging import LISTED_AT_MOST
from store.people import members, users
from store.projects.projects import list_projects
from store.schema.tables import PROJECTS
from tests.console.people import ConsoleWorld
from tests.support.given import START, Story

OLGA = Actor("usr_olga")
BEYOND = "This list shows the newest 1,000 projects."


async def add_projects(
    database: Database, project: CreatedProject, count: int = LISTED_AT_MOST
) -> None:
    """Add copies of the project, all newer than it."""
    async with database.transaction() as session:
        row = (
            await session.execute(PROJECTS.select().where(PROJECTS.c.id == project.project.id))
        ).one()
        rows = [
            {**row._mapping, "id": f"prj_f{number:031x}", "name": f"copy {number}"}
            for number in range(count)
        ]
        await session.execute(insert(PROJECTS), rows)


async def add_users(database: Database, count: int = LISTED_AT_MOST) -> None:
    """Add users that are newer than the existing ones."""
    async with database.transaction() as session:
        rows = [
            {"id": f"usr_f{n:031x}", "email": f"u{n}@shop.example", "created_at": START}
            for n in range(count)
        ]
        await session.execute(insert(users.USERS), rows)


async def test_lists_hold_the_newest_thousand_oldest_first(
    database: Database, project: CreatedProject
) -> None:
    await add_projects(database, project)
    await add_users(database, LISTED_AT_MOST + 1)

    async with database.reading() as session:
        projects, people = await list_projects(session), await users.list_users(session)
        old = await list_projects(session, among=[project.project.id])

    assert [one.id for one in projects] == [f"prj_f{number:031x}" for number in range(1_000)]
    assert [one.user_id for one in people] == [f"usr_f{number:031x}" for number in range(1, 1_001)]
    assert old == [project.project]


async def test_console_shows_the_end_of_the_project_list_and_names_of_projects_beyond_it(
    world: ConsoleWorld, parts: ConsoleDependencies, project: CreatedProject, story: Story
) -> None:
    await story.receipt()
    async with parts.database.transaction() as session:
        acted = {"now": START, "project_id": project.project.id}
        await audit.record(session, parts.sealer, OLGA, AuditAction.KEY_REVOKED, **acted)
    await add_projects(parts.database, project)
    administrator = await world.administrator()

    listed, events, log, one = [
        html.unescape((await administrator.get(path)).text)
        for path in ("/projects", "/events", "/audit", f"/projects/{project.project.id}")
    ]

    link = f"/projects/{project.project.id}"
    assert (BEYOND in listed, link in listed, "copy 999" in listed) == (True, False, True)
    assert f'<td class="col-project">{project.project.name}<' in events
    assert f"<span>{project.project.name}</span>" in log
    assert f"<h1>{project.project.name}" in one


async def test_member_sees_own_projects_behind_a_thousand_newer_ones(
    world: ConsoleWorld, database: Database, project: CreatedProject
) -> None:
    await add_projects(database, project)
    owner = await world.member("olga", project.project.id, Role.OWNER)

    listed, log = (await owner.get("/projects")).text, await owner.get("/audit")

    assert f"/projects/{project.project.id}" in listed
    assert "copy" not in listed
    assert BEYOND not in listed
    assert log.headers["location"] == f"/audit?project={project.project.id}"


async def test_owner_of_more_than_a_thousand_projects_sees_the_log_of_each(
    world: ConsoleWorld, database: Database, project: CreatedProject
) -> None:
    await add_projects(database, project)
    owner = await world.member("olga", project.project.id, Role.OWNER)
    async with database.transaction() as session:
        of_owner = {"user_id": owner.user_id, "role": Role.OWNER.value, "since": START}
        rows = [
            {**of_owner, "project_id": f"prj_f{number:031x}"} for number in range(LISTED_AT_MOST)
        ]
        await session.execute(insert(members.MEMBERS), rows)

    log = await owner.get(f"/audit?project={project.project.id}")

    assert log.status_code == 200
    assert (
        f'<option value="{project.project.id}" selected>{project.project.name}</option>' in log.text
    )


async def test_role_of_a_member_beyond_the_list_can_be_changed(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    await add_users(database, LISTED_AT_MOST + 1)
    async with database.transaction() as session:
        row = {"project_id": project.project.id, "role": Role.VIEWER.value, "since": START}
        rows = [{**row, "user_id": f"usr_f{number:031x}"} for number in range(LISTED_AT_MOST + 1)]
        await session.execute(insert(members.MEMBERS), rows)
    last = UserId(f"usr_f{LISTED_AT_MOST:031x}")

    await People.build(database, sealer).members.change_role(
        project.project.id, last, "operator", actor=OLGA
    )

    async with database.reading() as session:
        assert (await members.read_access(session, last)).roles == {
            project.project.id: Role.OPERATOR
        }


async def test_list_of_people_needs_a_constant_number_of_statements(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    people = People.build(database, sealer)
    async with database.transaction() as session:
        user = await users.create_user(session, email="ada@shop.example", now=START)
        await members.grant(
            session, project_id=project.project.id, user_id=user.user_id, role=Role.OWNER, now=START
        )
    few = await statements_of(database, people)
    await add_users(database, 20)

    many = await statements_of(database, people)

    assert len(few) == len(many)
    (ada, *others) = await people.accounts.list_users()
    assert (ada.user.email, ada.roles) == ("ada@shop.example", {project.project.id: "owner"})
    assert [one.roles for one in others] == [{}] * 20


async def statements_of(database: Database, people: People) -> list[str]:
    """The SELECT statements of the list."""
    asked: list[str] = []

    def keep(connection: object, cursor: object, statement: str, *others: object) -> None:
        if statement.lstrip().upper().startswith("SELECT"):
            asked.append(statement)

    event.listen(Engine, "before_cursor_execute", keep)
    try:
        await people.accounts.list_users()
    finally:
        event.remove(Engine, "before_cursor_execute", keep)
    return asked
