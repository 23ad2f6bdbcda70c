"""Tenants of one console are isolated: ids of another tenant are answered like unknown ids.

`TABLE` has a row for every address that can name an object of a project, with ids in path, query,
body and cursor. Each request is sent twice, with ids of the other tenant and with unknown ids. Both
get the same response, run the same SQL statements in the same order, and change nothing of the
other tenant. The REST API has its own test: `tests/api/rest/test_tenancy.py`.
"""

import html
from dataclasses import asdict, dataclass

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import select

from api.console.composition import ConsoleDependencies
from domain.alerts import AlertChannel
from domain.audit import Actor, AuditAction
from domain.ids import DestinationId, ProjectId
from domain.projects import CreatedProject, ProjectChanges
from domain.repairing.bulk import Plan
from domain.results import LateResult
from domain.search.saved_views import SavedView
from domain.users import Role
from store.alerts.destinations import add_secret_destination
from store.audit import log as audit
from store.crypto.tokens import new_view_id
from store.db.database import Database
from store.people import invitations, passkeys, saved_views, sessions
from store.projects.projects import change_project
from store.receipts.repairs import request_repair
from store.repairing.bulk_repairs import NewBulkRepair, add_bulk_repair
from store.schema import tables
from tests.console.people import ConsoleWorld, Person
from tests.console.recording import recorded_statements
from tests.console.tenancy import TABLE, WITHOUT_PROJECT, Probe, TenantIds, unknown_ids
from tests.support.given import Story
from tests.support.passkeys import new_passkey
from tests.support.sources import stored_source

# Both databases are covered by the tests of the store.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclass(frozen=True, slots=True)
class Tenants:
    """The owner of one project, who sends requests, and the ids of both projects."""

    asker: Person
    own: TenantIds
    other: TenantIds
    database: Database

    async def answer(self, label: str, probe: Probe) -> tuple[httpx.Response, str, list[str]]:
        """The response, the page that it shows or redirects to, and its SQL statements."""
        statements: list[str] = []
        with recorded_statements(statements):
            if label.startswith("GET"):
                answer = await self.asker.client.get(probe.path, params=probe.query)
            else:
                send = self.asker.post_anonymously if probe.path == "/join" else self.asker.post
                answer = await send(probe.path, **(probe.body or {}))
        page = answer
        if answer.status_code == 303:
            page = await self.asker.get(answer.headers["location"])
        return answer, html.unescape(page.text), statements

    async def rows(self) -> dict[str, list[str]]:
        """Every row of every table."""
        async with self.database.reading() as session:
            return {
                table.name: sorted(str(tuple(row)) for row in await session.execute(select(table)))
                for table in tables.Project.metadata.sorted_tables
            }


async def populate_project(
    parts: ConsoleDependencies, created: CreatedProject, person: Person, name: str
) -> TenantIds:
    """Create one object of each kind in the project; the person is a member of it."""
    database, project = parts.database, created.project
    story, reference = Story(database, project), f"order-of-{name}"
    async with database.transaction() as session:
        await change_project(
            session, project.id, changes=ProjectChanges(repair_url=f"https://{name}.example/repair")
        )
    event_id, incident_id = await story.opened(internal_reference=reference)
    begun = await story.do(request_repair, event_id, requested_by=person.user_id)
    async with database.transaction() as session:
        now = await database.now(session)
        invitation = {
            "project_id": project.id,
            "email": f"invited@{name}.example",
            "invited_by": person.user_id,
        }
        await invitations.invite(session, **invitation, role=Role.VIEWER, now=now)
        (invited,) = await invitations.list_invitations(session, project.id, now=now)
        (opened,) = await sessions.list_sessions(session, person.user_id, now=now)
        actor = Actor(created.key.id)
        await audit.record(
            session,
            parts.sealer,
            actor,
            AuditAction.INCIDENT_ACKNOWLEDGED,
            now=now,
            project_id=project.id,
        )
        (entry,) = (
            await audit.list_audit(
                session, audit.AuditFilters(project_id=project.id), limit=1, cursor=None
            )
        ).rows
        view = SavedView(new_view_id(), person.user_id, project.id, f"of {name}", "", now)
        await saved_views.save_view(session, view)
        passkey = await passkeys.add_passkey(
            session, person.user_id, new_passkey(f"cred-{name}"), name=f"key of {name}", now=now
        )
    new = NewBulkRepair("outage", person.user_id, Plan(), False, [(incident_id, event_id)])
    async with database.transaction() as session:
        bulk_id = await add_bulk_repair(session, project.id, new, now)
    return TenantIds(
        project_id=project.id,
        event_id=event_id,
        incident_id=incident_id,
        replay_id=begun.replay_id,
        key_id=created.key.id,
        user_id=person.user_id,
        email=person.email,
        invitation_id=invited.id,
        session_id=opened.id,
        passkey_id=passkey.id,
        entry_hash=entry.hash,
        internal_reference=reference,
        destination_id=await slack_destination(parts, project.id),
        bulk_id=bulk_id,
        hold_id=(await story.hold(effect_type="seat_update")).id,
        source_id=(await stored_source(database, parts.sealer, project.id)).id,
        view_id=view.id,
        group_id=(await story.rows("incidents", event_id))[0]["group_id"],
    )


async def slack_destination(parts: ConsoleDependencies, project_id: ProjectId) -> DestinationId:
    async with parts.database.transaction() as session:
        return await add_secret_destination(
            session,
            parts.sealer,
            project_id=project_id,
            channel=AlertChannel.SLACK,
            target="https://hooks.example/T0/B0",
        )


@pytest.fixture
async def tenants(
    world: ConsoleWorld, project: CreatedProject, other_project: CreatedProject
) -> Tenants:
    """All objects of the other tenant are older.

    It has a second owner, so that any member can be removed.
    """
    other = await world.member("them", project.project.id, Role.OWNER)
    await world.member("theirs", project.project.id, Role.OWNER)
    theirs = await populate_project(world.parts, project, other, "them")
    asker = await world.member("asker", other_project.project.id, Role.OWNER)
    own = await populate_project(world.parts, other_project, asker, "asker")
    # Saved before: a change leaves an audit entry, and only the first of two requests would be one.
    settings = ProjectChanges(name="mine", alert_emails=(), late_result=LateResult.NOTE)
    async with world.parts.database.transaction() as session:
        await change_project(session, other_project.project.id, changes=settings)
    return Tenants(asker, own, theirs, world.parts.database)


def test_every_address_that_can_name_an_object_has_a_row(world: ConsoleWorld) -> None:
    routes = [route for route in world.router.routes if isinstance(route, APIRoute)]
    served = {f"{method} {route.path}" for route in routes for method in route.methods or ()}

    assert served == {*TABLE, *WITHOUT_PROJECT}
    assert not set(TABLE) & WITHOUT_PROJECT


async def test_ids_of_another_tenant_are_answered_like_unknown_ids(tenants: Tenants) -> None:
    own, other, unknown = tenants.own, tenants.other, unknown_ids(tenants.other)
    before = await tenants.rows()
    for label, requests in TABLE.items():
        for foreign, as_unknown in zip(requests(other, own), requests(unknown, own), strict=True):
            context = f"{label} {foreign}"

            answer, page, statements = await tenants.answer(label, foreign)
            after = await tenants.rows()
            same, same_page, statements_of_unknown = await tenants.answer(label, as_unknown)

            assert (answer.status_code, headers(answer, other)) == (
                same.status_code,
                headers(same, unknown),
            ), context
            assert other.masked(page) == unknown.masked(same_page), context
            assert statements == statements_of_unknown, context
            assert statements, context
            assert [
                value
                for value in asdict(other).values()
                if value in page and value not in str(foreign)
            ] == [], context
            check(foreign.expected, answer, page, context)
            if foreign.expected == "its own":
                assert _of(other, after) == _of(other, before), context
                before = await tenants.rows()
            else:
                assert after == before, context


async def test_user_of_another_tenant_is_invited_like_an_unknown_one(tenants: Tenants) -> None:
    path = f"/projects/{tenants.own.project_id}/members"
    before = await tenants.rows()

    probes = [
        Probe(path, "its own", body={"email": of.email, "role": "viewer"})
        for of in (tenants.other, unknown_ids(tenants.other))
    ]
    answers = [await tenants.answer("POST", one) for one in probes]

    assert [answer.headers["location"] for answer, _, _ in answers] == [
        f"/projects/{tenants.own.project_id}#members"
    ] * 2
    assert answers[0][2] == answers[1][2]
    assert [page.count('class="notice good"') for _, page, _ in answers] == [1, 1]
    assert tenants.other.user_id not in answers[0][1]
    after = await tenants.rows()
    assert {name for name in before if before[name] != after[name]} - {
        "audit_log",
        "audit_head",
    } == {"invitations"}


def check(expected: str, answer: httpx.Response, page: str, context: str) -> None:
    """Check the outcome against that of the row."""
    match expected:
        case "not found":
            assert answer.status_code == 404, context
        case "refused":
            is_shown = 'class="notice bad"' in page or "no longer valid" in page
            assert answer.status_code == 400 or is_shown, context
        case "nothing":
            assert (answer.status_code, "Nothing matches" in page) == (200, True), context
        case _:
            assert answer.status_code in (200, 303), context
            assert 'class="notice bad"' not in page, context


def headers(answer: httpx.Response, of: TenantIds) -> dict[str, str]:
    """Headers without those that differ each time or depend on the length of the request."""
    return {
        name: of.masked(value)
        for name, value in answer.headers.items()
        if name not in ("set-cookie", "content-length", "etag", "date")
    }


def _of(of: TenantIds, rows: dict[str, list[str]]) -> dict[str, list[str]]:
    values = asdict(of).values()
    return {
        name: [row for row in found if any(value in row for value in values)]
        for name, found in rows.items()
    }
