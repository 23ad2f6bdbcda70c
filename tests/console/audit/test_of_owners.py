"""Owners see audit entries of their own projects only: page, paging, filters and export."""

import html
import json
import re
from typing import Any

import pytest

from api.console.composition import ConsoleDependencies
from domain.audit import Actor, AuditAction
from domain.ids import ProjectId
from domain.projects import CreatedProject
from domain.users import Role
from operations.responses.audit import AuditList
from store.audit import log as audit
from store.people import members
from store.projects import deletion as deleting
from tests.console.people import ConsoleWorld, Person
from tests.support.given import START

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

FOREIGN_ACTOR = "key_foreign"
UNKNOWN_HASH = "0" * 64
ROW = '<span class="act'


async def enter(
    parts: ConsoleDependencies,
    project_id: ProjectId | None,
    action: AuditAction,
    actor: str,
    times: int = 1,
) -> None:
    async with parts.database.transaction() as session:
        for _ in range(times):
            await audit.record(
                session, parts.sealer, Actor(actor), action, now=START, project_id=project_id
            )


async def entries(parts: ConsoleDependencies) -> list[dict[str, Any]]:
    """The whole log, newest first."""
    filters = audit.AuditFilters(project_id=None)
    page = await parts.operations.audit.list_audit(filters, limit=200)
    found: list[dict[str, Any]] = AuditList.of(page).to_json()["data"]
    return found


@pytest.fixture
async def owner(
    world: ConsoleWorld,
    parts: ConsoleDependencies,
    project: CreatedProject,
    other_project: CreatedProject,
) -> Person:
    """The owner of one of two projects. Entries of both and of the installation alternate."""
    for _ in range(2):
        await enter(parts, other_project.project.id, AuditAction.PROJECT_SUSPENDED, FOREIGN_ACTOR)
        await enter(parts, project.project.id, AuditAction.KEY_REVOKED, "temporal")
        await enter(parts, None, AuditAction.BACKUP_STARTED, "cli:root")
    return await world.member("owner", project.project.id, Role.OWNER)


@pytest.mark.parametrize(
    ("filters", "rows"),
    [
        ("", 2),
        ("&actor=temporal", 2),
        ("&action=key_revoked&from=2026-11-23&to=2026-11-23", 2),
        (f"&actor={FOREIGN_ACTOR}", 0),
        ("&actor=cli", 0),
        ("&action=project_suspended", 0),
        ("&action=backup_started", 0),
    ],
)
async def test_page_has_only_entries_of_the_owners_project(
    owner: Person, project: CreatedProject, other_project: CreatedProject, filters: str, rows: int
) -> None:
    page = (await owner.get(f"/audit?project={project.project.id}{filters}")).text

    table = page.partition("<tbody>")[2].partition("</tbody>")[0]
    assert (table.count(f'{ROW}">Key revoked'), table.count(ROW)) == (rows, rows)
    assert other_project.project.id not in page
    assert other_project.project.name not in page
    assert FOREIGN_ACTOR not in page or FOREIGN_ACTOR in filters


async def test_paging_covers_only_the_owners_entries(
    owner: Person, parts: ConsoleDependencies, project: CreatedProject
) -> None:
    await enter(parts, project.project.id, AuditAction.KEY_CREATED, "temporal", times=49)

    first = (await owner.get(f"/audit?project={project.project.id}")).text
    older = (
        await owner.get(html.unescape(re.findall(r'rel="next" href="([^"]*)"', first)[0]))
    ).text

    assert (
        first.count(ROW),
        first.count("Key created</span>"),
        first.count("Key revoked</span>"),
    ) == (50, 49, 1)
    assert (older.count(ROW), older.count("Key revoked</span>"), older.count('rel="next"')) == (
        1,
        1,
        0,
    )


async def test_cursor_of_another_project_is_answered_like_an_unknown_one(
    owner: Person, parts: ConsoleDependencies, project: CreatedProject
) -> None:
    foreign = [
        entry["hash"] for entry in await entries(parts) if entry["project_id"] != project.project.id
    ]
    path = f"/audit?project={project.project.id}&cursor="

    answers = [await owner.get(path + cursor) for cursor in (*foreign, UNKNOWN_HASH)]

    assert len(answers) == 5
    assert {(answer.status_code, answer.text) for answer in answers} == {(400, answers[-1].text)}


async def test_owner_without_a_chosen_project_is_redirected_to_their_first_one(
    world: ConsoleWorld,
    owner: Person,
    parts: ConsoleDependencies,
    project: CreatedProject,
    other_project: CreatedProject,
) -> None:
    """Projects are sorted by name: "Elsewhere" comes before "shop"."""
    both = await world.member("both", project.project.id, Role.OWNER)
    async with parts.database.transaction() as session:
        await members.grant(
            session,
            project_id=other_project.project.id,
            user_id=both.user_id,
            role=Role.OWNER,
            now=START,
        )
    both = await world.browser(both.user_id)

    led = [
        (await one.get("/audit?action=key_revoked")).headers["location"] for one in (owner, both)
    ]
    page = (await both.get(f"/audit?project={project.project.id}&action=key_revoked")).text
    links = {html.unescape(link) for link in re.findall(r'href="(/audit\?[^"]*)"', page)}

    assert led == [
        f"/audit?project={one.project.id}&action=key_revoked" for one in (project, other_project)
    ]
    assert links == {
        f"/audit?project={project.project.id}{rest}" for rest in ("", "&actor=temporal")
    }
    assert "All projects" not in page
    assert all(f'<option value="{one.project.id}"' in page for one in (project, other_project))


@pytest.mark.parametrize("role", [Role.VIEWER, Role.OPERATOR])
async def test_user_who_owns_no_project_sees_no_log(
    world: ConsoleWorld, project: CreatedProject, role: Role
) -> None:
    person = await world.member("person", project.project.id, role)

    asked = [
        "/audit",
        f"/audit?project={project.project.id}",
        "/audit?project=prj_none",
        "/audit?actor=temporal",
    ]
    answers = [await person.get(path) for path in asked]
    answers += [
        await person.post("/audit/export"),
        await person.post("/audit/export", project=project.project.id),
    ]

    assert [answer.status_code for answer in answers] == [404] * 6
    assert len({answer.text for answer in answers}) == 1


async def test_export_has_only_entries_of_the_owners_project_without_positions(
    owner: Person, parts: ConsoleDependencies, project: CreatedProject
) -> None:
    answer = await owner.post("/audit/export", project=project.project.id)

    lines = [json.loads(line) for line in answer.text.splitlines()]
    own = [entry for entry in await entries(parts) if entry["project_id"] == project.project.id]
    assert lines == own[::-1]
    assert [line["action"] for line in lines] == ["key_revoked", "key_revoked", "audit_exported"]
    assert lines[-1]["actor"] == owner.user_id
    assert {"sequence", "previous_hash"}.isdisjoint(lines[0])


async def test_export_of_another_project_is_neither_made_nor_recorded(
    owner: Person,
    parts: ConsoleDependencies,
    project: CreatedProject,
    other_project: CreatedProject,
) -> None:
    before = await entries(parts)
    asked = [
        {},
        {"project": ""},
        {"project": other_project.project.id},
        {"project": "prj_none"},
        {"actor": "temporal"},
    ]

    answers = [await owner.post("/audit/export", **fields) for fields in asked]
    # All values of a repeated field are joined.
    projects = f"project={project.project.id}&project={other_project.project.id}"
    both = f"form_token={owner.form_token}&{projects}"
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answers.append(await owner.client.post("/audit/export", content=both, headers=form))
    # The query of the address does not select what is exported.
    answers.append(await owner.post(f"/audit/export?project={project.project.id}"))

    assert {(answer.status_code, answer.text) for answer in answers} == {(404, answers[0].text)}
    assert await entries(parts) == before


async def test_export_filtered_to_others_actions_is_empty(
    owner: Person, project: CreatedProject, other_project: CreatedProject
) -> None:
    asked = [
        {"actor": FOREIGN_ACTOR},
        {"action": "project_suspended"},
        {"actor": other_project.key.id},
        {"actor": "cli"},
    ]

    answers = [
        await owner.post("/audit/export", project=project.project.id, **fields) for fields in asked
    ]

    assert [(answer.status_code, answer.text) for answer in answers] == [(200, "")] * 4


async def test_administrator_sees_and_exports_the_whole_log(
    world: ConsoleWorld, owner: Person, parts: ConsoleDependencies, other_project: CreatedProject
) -> None:
    administrator = await world.administrator()

    page = (await administrator.get("/audit")).text
    narrowed = (await administrator.get(f"/audit?project={other_project.project.id}")).text
    lines = [
        json.loads(line) for line in (await administrator.post("/audit/export")).text.splitlines()
    ]

    assert (page.count(ROW), narrowed.count(ROW)) == (6, 2)
    assert "All projects" in page
    assert [line["sequence"] for line in lines] == list(range(1, 8))
    assert [{**line, "sequence": 0, "previous_hash": ""} for line in lines] == [
        {**entry, "sequence": 0, "previous_hash": ""} for entry in reversed(await entries(parts))
    ]


async def test_navigation_shows_the_log_only_to_owners(
    world: ConsoleWorld, owner: Person, project: CreatedProject
) -> None:
    project_id = project.project.id
    people = [
        await world.member(role.value, project_id, role) for role in (Role.VIEWER, Role.OPERATOR)
    ]
    people += [owner, await world.administrator()]

    rails = [
        'href="/audit"' in (await person.get("/rail?section=events")).text for person in people
    ]
    links = [
        f'href="/audit?project={project_id}"' in (await person.get(f"/projects/{project_id}")).text
        for person in people
    ]

    assert rails == links == [False, False, True, True]


async def test_only_administrators_see_the_log_of_a_deleted_project(
    world: ConsoleWorld, owner: Person, parts: ConsoleDependencies, project: CreatedProject
) -> None:
    administrator = await world.administrator()
    async with parts.database.transaction() as session:
        await deleting.delete_project(session, project.project.id, end_open=True, now=START)

    gone = await owner.get(f"/audit?project={project.project.id}")
    kept = await administrator.get(f"/audit?project={project.project.id}")
    exported = await owner.post("/audit/export", project=project.project.id)

    assert [gone.status_code, exported.status_code, kept.status_code] == [404, 404, 200]
    assert kept.text.count("Key revoked</span>") == 2
