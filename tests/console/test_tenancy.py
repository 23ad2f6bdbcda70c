"""Two tenants at one console: what one of them names of the other's is as unknown to it as an id that was never given out.

The table has a row for every address of the router that can name something of a project, with the other's ids in path, query,
body and cursor. Each request is made twice, with ids that exist next door and with ids that exist nowhere: both get the same
answer, by the same SQL statements in the same order, and nothing of the other's is written. REST:
`tests/api/rest/test_tenancy.py`.
"""

import base64
import html
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import httpx
import pytest
from fastapi.routing import APIRoute
from sqlalchemy import event, select
from sqlalchemy.engine import Engine

from api.console.composition import ConsoleParts
from api.console.ui import labels as wording
from domain.audit import Actor, AuditAction
from domain.projects import CreatedProject, ProjectChanges
from domain.users import Role
from store.audit import log as audit
from store.db.database import Database
from store.people import invitations, sessions
from store.projects.projects import change_project
from store.receipts.repairs import request_repair
from store.schema import tables
from tests.console.people import Person, Town
from tests.support.given import Story

# Addresses by which nothing of a project can be asked for: of whoever comes, of one's own account, and the administrators'.
OF_NO_PROJECT = {
    *("GET /", "GET /static/{name}", "GET /login", "GET /login/link", "GET /login/password", "GET /login/code"),
    *("GET /login/oidc", "GET /login/oidc/callback", "GET /account", "GET /account/security", "GET /account/totp"),
    *("GET /account/totp/qr.svg", "POST /login", "POST /login/link", "POST /login/password", "POST /login/code", "POST /logout"),
    *("POST /account/totp", "POST /account/totp/confirm", "POST /account/totp/remove", "POST /account/recovery-codes"),
    *("POST /account/sessions/end-others", "POST /projects"),
    *("GET /mailbox", "GET /mailbox/{name}", "GET /mailbox/{name}/html"),
}


@dataclass(frozen=True, slots=True)
class Named:
    """What a tenant has, by the names under which somebody else might ask for it."""

    project_id: str
    event_id: str
    incident_id: str
    replay_id: str
    key_id: str
    user_id: str
    email: str
    invitation_id: str
    session_id: str
    entry_hash: str
    internal_reference: str

    def cursor(self, identifier: str) -> str:
        return base64.urlsafe_b64encode(identifier.encode()).decode().rstrip("=")

    def hidden(self, told: str) -> str:
        """The text without these names, and without what differs each time: secrets and digests."""
        for name, value in asdict(self).items():
            for known in (self.cursor(value), value, wording.short_id(value)):
                told = told.replace(known, name)
        return re.sub(r'token=[\w-]+|name="seen" value="\w+"', "random", told)


def nobody(of: Named) -> Named:
    """Names of the same shapes that nothing has."""
    values = asdict(of)
    ids = {name: f"{value[:-8]}ffffffff" for name, value in values.items()}
    return Named(**{**ids, "email": "nobody@shop.example", "internal_reference": "order-of-nobody"})


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; `sees` is what must come of it."""

    path: str
    sees: str  # not found | refused | nothing | its own
    query: dict[str, str] | None = None
    body: dict[str, str] | None = None


Requests = Callable[[Named, Named], list[Asked]]


def missing(path: str, **body: str) -> Requests:
    """Something of the other's in the path."""
    return lambda of, own: [Asked(path.format(**asdict(of)), "not found", body=body)]


def within(path: str, **body: str) -> Requests:
    """Something of the other's in one's own project, and one's own thing in the other's project."""

    def asked(of: Named, own: Named) -> list[Asked]:
        theirs, ours = asdict(of), asdict(own)
        own_project, foreign_project = {**theirs, "project_id": own.project_id}, {**ours, "project_id": of.project_id}
        return [
            Asked(path.format(**theirs), "not found", body=body),
            Asked(path.format(**own_project), "refused", body=body),
            Asked(path.format(**foreign_project), "not found", body=body),
        ]

    return asked


def listed(path: str, identifier: Callable[[Named], str]) -> Requests:
    return lambda of, own: [
        Asked(path, "nothing", {"project": of.project_id}),
        Asked(path, "nothing", {"project": of.project_id, "state": "all", "q": identifier(of)}),
        Asked(path, "nothing", {"q": identifier(of), "state": "all"}),
        Asked(path, "nothing", {"q": of.internal_reference, "state": "all"}),
        Asked(path, "nothing", {"internal_reference": of.internal_reference, "state": "all"}),
        Asked(path, "its own", {"state": "all", "cursor": of.cursor(identifier(of))}),
        Asked(path, "its own", {"state": "all", "project_id": of.project_id}),
    ]


def saved(of: Named, own: Named) -> list[Asked]:
    fields = {"name": "mine", "timeout_minutes": "30", "alert_emails": "", "late_result": "note", "project_id": of.project_id}
    fields |= {"repair_url": "https://asker.example/repair"}  # as it is
    return [
        Asked(f"/projects/{of.project_id}", "not found", body=fields),
        Asked(f"/projects/{own.project_id}", "its own", body=fields),
    ]


# What the store does on either engine has its tests there.
pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

TABLE: dict[str, Requests] = {
    "GET /rail": lambda of, own: [Asked("/rail", "its own", {"project": of.project_id, "here": "events"})],
    "GET /incidents": listed("/incidents", lambda of: of.incident_id),
    "GET /incidents/{incident_id}": missing("/incidents/{incident_id}"),
    "GET /events": listed("/events", lambda of: of.event_id),
    "GET /events/{event_id}": missing("/events/{event_id}"),
    "GET /projects": lambda of, own: [Asked("/projects", "its own", {"project": of.project_id, "q": of.project_id})],
    "GET /projects/{project_id}": missing("/projects/{project_id}"),
    "GET /audit": lambda of, own: [
        Asked("/audit", "not found", {"project": of.project_id}),
        Asked("/audit", "not found", {"project": of.project_id, "cursor": of.entry_hash}),
        Asked("/audit", "nothing", {"project": own.project_id, "actor": of.user_id}),
        Asked("/audit", "nothing", {"project": own.project_id, "actor": of.key_id}),
        Asked("/audit", "refused", {"project": own.project_id, "cursor": of.entry_hash}),
    ],
    "GET /join": lambda of, own: [Asked("/join", "refused", {"token": of.invitation_id, "project": of.project_id})],
    "POST /join": lambda of, own: [Asked("/join", "refused", body={"token": of.invitation_id, "project_id": of.project_id})],
    "POST /account/sessions/{session_id}/end": lambda of, own: [
        Asked(f"/account/sessions/{of.session_id}/end", "refused", body={"user_id": of.user_id})
    ],
    "POST /incidents/{incident_id}/reprocess": missing("/incidents/{incident_id}/reprocess"),
    "POST /incidents/{incident_id}/acknowledge": missing("/incidents/{incident_id}/acknowledge"),
    "POST /incidents/{incident_id}/resolve": missing("/incidents/{incident_id}/resolve", reason="mine now"),
    "POST /events/{event_id}/expire": missing("/events/{event_id}/expire"),
    "POST /events/{event_id}/restart": missing("/events/{event_id}/restart"),
    "POST /projects/{project_id}": saved,
    "POST /projects/{project_id}/delete": missing("/projects/{project_id}/delete", confirmation="shop", end_open="on"),
    "POST /projects/{project_id}/keys": missing("/projects/{project_id}/keys", label="mine", scopes="read"),
    "POST /projects/{project_id}/keys/{key_id}/revoke": within("/projects/{project_id}/keys/{key_id}/revoke"),
    "POST /projects/{project_id}/signing-secret": missing("/projects/{project_id}/signing-secret"),
    "POST /projects/{project_id}/signing-secret/finish": missing("/projects/{project_id}/signing-secret/finish"),
    "POST /projects/{project_id}/members": missing("/projects/{project_id}/members", email="me@shop.example", role="owner"),
    "POST /projects/{project_id}/members/{user_id}/role": within("/projects/{project_id}/members/{user_id}/role", role="owner"),
    "POST /projects/{project_id}/members/{user_id}/remove": within("/projects/{project_id}/members/{user_id}/remove"),
    "POST /projects/{project_id}/invitations/{invitation_id}/withdraw": within(
        "/projects/{project_id}/invitations/{invitation_id}/withdraw"
    ),
    "POST /audit/export": lambda of, own: [
        Asked("/audit/export", "not found", body={"project": of.project_id}),
        Asked("/audit/export", "its own", body={"project": own.project_id, "actor": of.user_id}),
        Asked("/audit/export", "its own", body={"project": own.project_id, "action": "key_revoked", "cursor": of.entry_hash}),
    ],
}


@contextmanager
def heard(said: list[str]) -> Iterator[None]:
    """The list holds every statement made meanwhile: the console is in this very task."""

    def hear(_: Any, __: Any, sql: str, *___: Any) -> None:
        said.append(sql)

    said.clear()
    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", hear)


@dataclass(frozen=True, slots=True)
class Tenants:
    """The owner of one project, who asks, and what there is in his and in the other."""

    asker: Person
    own: Named
    other: Named
    database: Database

    async def answer(self, label: str, asked: Asked) -> tuple[httpx.Response, str, list[str]]:
        """The answer, the page that a redirect leads to (or the answer's own), and the statements of the answer."""
        said: list[str] = []
        with heard(said):
            if label.startswith("GET"):
                answer = await self.asker.client.get(asked.path, params=asked.query)
            else:
                send = self.asker.post_early if asked.path == "/join" else self.asker.post
                answer = await send(asked.path, **(asked.body or {}))
        page = answer
        if answer.status_code == 303:
            page = await self.asker.get(answer.headers["location"])
        return answer, html.unescape(page.text), said

    async def rows(self) -> dict[str, list[str]]:
        """Every row of every table."""
        async with self.database.reading() as session:
            return {
                table.name: sorted(str(tuple(row)) for row in await session.execute(select(table)))
                for table in tables.Project.metadata.sorted_tables
            }


async def furnished(parts: ConsoleParts, created: CreatedProject, person: Person, name: str) -> Named:
    """What there is in this project, of which the person is a member: one of everything."""
    database, project = parts.database, created.project
    story, reference = Story(database, project), f"order-of-{name}"
    async with database.transaction() as session:
        await change_project(session, project.id, changes=ProjectChanges(repair_url=f"https://{name}.example/repair"))
    event_id, incident_id = await story.opened(internal_reference=reference)
    begun = await story.do(request_repair, event_id, requested_by=person.user_id)
    async with database.transaction() as session:
        now = await database.now(session)
        asked = {"project_id": project.id, "email": f"invited@{name}.example", "invited_by": person.user_id}
        await invitations.invite(session, **asked, role=Role.VIEWER, now=now)
        (invitation,) = await invitations.list_invitations(session, project.id, now=now)
        (opened,) = await sessions.list_sessions(session, person.user_id, now=now)
        actor = Actor(created.key.id)
        await audit.record(session, parts.sealer, actor, AuditAction.INCIDENT_ACKNOWLEDGED, now=now, project_id=project.id)
        (entry,) = (await audit.list_audit(session, audit.AuditFilters(project_id=project.id), limit=1, cursor=None)).rows
    return Named(
        project_id=project.id,
        event_id=event_id,
        incident_id=incident_id,
        replay_id=begun.replay_id,
        key_id=created.key.id,
        user_id=person.user_id,
        email=person.email,
        invitation_id=invitation.id,
        session_id=opened.id,
        entry_hash=entry.hash,
        internal_reference=reference,
    )


@pytest.fixture
async def tenants(town: Town, project: CreatedProject, other_project: CreatedProject) -> Tenants:
    """The other is older by everything that it has, and has a second member, so that any of them could go."""
    other = await town.member("them", project.project.id, Role.OWNER)
    await town.member("theirs", project.project.id, Role.OWNER)
    theirs = await furnished(town.parts, project, other, "them")
    asker = await town.member("asker", other_project.project.id, Role.OWNER)
    own = await furnished(town.parts, other_project, asker, "asker")
    return Tenants(asker, own, theirs, town.parts.database)


def test_every_address_that_can_name_something_has_its_row(town: Town) -> None:
    routes = [route for route in town.router.routes if isinstance(route, APIRoute)]
    served = {f"{method} {route.path}" for route in routes for method in route.methods or ()}

    assert served == {*TABLE, *OF_NO_PROJECT}
    assert not set(TABLE) & OF_NO_PROJECT


async def test_what_another_tenant_has_is_as_unknown_as_what_nobody_has(tenants: Tenants) -> None:
    own, other, unknown = tenants.own, tenants.other, nobody(tenants.other)
    before = await tenants.rows()
    for label, requests in TABLE.items():
        for foreign, as_unknown in zip(requests(other, own), requests(unknown, own), strict=True):
            told = f"{label} {foreign}"

            answer, page, said = await tenants.answer(label, foreign)
            after = await tenants.rows()
            same, same_page, said_of_unknown = await tenants.answer(label, as_unknown)

            assert (answer.status_code, headers(answer, other)) == (same.status_code, headers(same, unknown)), told
            assert other.hidden(page) == unknown.hidden(same_page), told
            assert said == said_of_unknown, told
            assert said, told
            assert [value for value in asdict(other).values() if value in page and value not in str(foreign)] == [], told
            check(foreign.sees, answer, page, told)
            if foreign.sees == "its own":
                assert _of(other, after) == _of(other, before), told
                before = await tenants.rows()
            else:
                assert after == before, told


async def test_whom_others_know_is_invited_like_anybody(tenants: Tenants) -> None:
    path = f"/projects/{tenants.own.project_id}/members"
    before = await tenants.rows()

    asked = [Asked(path, "its own", body={"email": of.email, "role": "viewer"}) for of in (tenants.other, nobody(tenants.other))]
    answers = [await tenants.answer("POST", one) for one in asked]

    assert [answer.headers["location"] for answer, _, _ in answers] == [f"/projects/{tenants.own.project_id}#members"] * 2
    assert answers[0][2] == answers[1][2]
    assert [page.count('class="notice good"') for _, page, _ in answers] == [1, 1]
    assert tenants.other.user_id not in answers[0][1]
    after = await tenants.rows()
    assert {name for name in before if before[name] != after[name]} - {"audit_log", "audit_head"} == {"invitations"}


def check(sees: str, answer: httpx.Response, page: str, told: str) -> None:
    """Whether that came of it which the row says."""
    match sees:
        case "not found":
            assert answer.status_code == 404, told
        case "refused":
            is_told = 'class="notice bad"' in page or "leads nowhere" in page
            assert answer.status_code == 400 or is_told, told
        case "nothing":
            assert (answer.status_code, "Nothing matches" in page) == (200, True), told
        case _:
            assert answer.status_code in (200, 303), told
            assert 'class="notice bad"' not in page, told


def headers(answer: httpx.Response, of: Named) -> dict[str, str]:
    """All but those that differ each time, or with the length of what was asked for."""
    return {
        name: of.hidden(value)
        for name, value in answer.headers.items()
        if name not in ("set-cookie", "content-length", "etag", "date")
    }


def _of(of: Named, rows: dict[str, list[str]]) -> dict[str, list[str]]:
    values = asdict(of).values()
    return {name: [row for row in found if any(value in row for value in values)] for name, found in rows.items()}
