"""Two projects on one store: whatever one of them names of the other's is as unknown to it as an id that was never given out.

The table below has a row for every operation of the OpenAPI document, with the other's ids in path, query, body and cursor. Each
request is made twice, with ids that exist next door and with ids that exist nowhere: both get the same answer, by the same SQL
statements in the same order, so that not even the time of an answer tells which it was; and nothing is written.
"""

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import event, select
from sqlalchemy.engine import Engine

from api.app import create_app
from api.rest.openapi import document
from domain.projects import CreatedProject, Scope
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import Row, Statements, Values
from store.ingest.connection import IngestConnection, open_ingest_connection
from store.ingest.group_commit import Committer
from store.projects.projects import create_project
from store.schema import tables
from tests.api.serving import Caller, Json, is_a_request, parts_on, receipt, routes_of, serving

# What processes write by themselves meanwhile, and what a key's own use changes.
OF_THE_PROCESS = {"heartbeats", "api_keys", "facts"}
IDS = ("project_id", "event_id", "incident_id", "replay_id")


@dataclass(frozen=True, slots=True)
class Named:
    """What a project has, by the names under which somebody else might ask for it."""

    project_id: str
    event_id: str
    incident_id: str
    replay_id: str
    provider_event_id: str
    internal_reference: str
    entry_hash: str

    def cursor(self, identifier: str) -> str:
        return base64.urlsafe_b64encode(identifier.encode()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Asked:
    """One request; `sees` is what must come of it."""

    path: str
    sees: str  # not_found | refused | nothing | its own
    query: Json | None = None
    body: Json | None = None


def lists(path: str, identifier: Callable[[Named], str]) -> Callable[[Named], list[Asked]]:
    """A list, asked for the other's things by each filter that can name one, and from the other's place on."""
    return lambda of: [
        Asked(path, "nothing", {"q": identifier(of)}),
        Asked(path, "nothing", {"q": of.provider_event_id}),
        Asked(path, "nothing", {"internal_reference": of.internal_reference}),
        Asked(path, "its own", {"cursor": of.cursor(identifier(of))}),
        Asked(path, "its own", {"project_id": of.project_id, "project": of.project_id}),
    ]


def results(of: Named) -> list[Asked]:
    said = {"status": "failed", "error_code": "boom"}
    return [
        Asked("/result", "not_found", body={**said, **ids})
        for ids in (
            {"event_id": of.event_id},
            {"provider_event_id": of.provider_event_id},
            {"stripe_event_id": of.provider_event_id, "effect_type": "access_unlock"},
            {"event_id": of.event_id, "provider_event_id": of.provider_event_id, "replay_id": of.replay_id},
            {"provider_event_id": "evt_of_the_asker", "replay_id": of.replay_id},
            {"event_id": of.event_id, "project_id": of.project_id},
        )
    ]


TABLE: dict[str, Callable[[Named], list[Asked]]] = {
    "POST /api/v1/result": results,
    "GET /api/v1/events": lists("/events", lambda of: of.event_id),
    "GET /api/v1/events/{event_id}": lambda of: [
        Asked(f"/events/{of.event_id}", "not_found"),
        Asked(f"/events/{of.event_id}", "not_found", {"project_id": of.project_id}),
    ],
    "GET /api/v1/events/{event_id}/timeline": lambda of: [
        Asked(f"/events/{of.event_id}/timeline", "not_found"),
        Asked(f"/events/{of.event_id}/timeline", "not_found", {"project_id": of.project_id}),
    ],
    "POST /api/v1/events/{event_id}/expire": lambda of: [Asked(f"/events/{of.event_id}/expire", "not_found")],
    "POST /api/v1/events/{event_id}/restart": lambda of: [Asked(f"/events/{of.event_id}/restart", "not_found")],
    "GET /api/v1/incidents": lists("/incidents", lambda of: of.incident_id),
    "GET /api/v1/incidents/{incident_id}": lambda of: [Asked(f"/incidents/{of.incident_id}", "not_found")],
    "POST /api/v1/incidents/{incident_id}/reprocess": lambda of: [
        Asked(f"/incidents/{of.incident_id}/reprocess", "not_found", body={"replay_id": of.replay_id})
    ],
    "POST /api/v1/incidents/{incident_id}/resolve": lambda of: [
        Asked(f"/incidents/{of.incident_id}/resolve", "not_found", body={"reason": "mine now", "project_id": of.project_id})
    ],
    "POST /api/v1/incidents/{incident_id}/acknowledge": lambda of: [
        Asked(f"/incidents/{of.incident_id}/acknowledge", "not_found")
    ],
    "GET /api/v1/project": lambda of: [Asked("/project", "its own", {"project_id": of.project_id})],
    "PATCH /api/v1/project": lambda of: [
        Asked("/project", "its own", {"project_id": of.project_id}, {"project_id": of.project_id, "late_result": "note"})
    ],
    "GET /api/v1/audit": lambda of: [
        Asked("/audit", "nothing", {"actor": of.event_id}),
        Asked("/audit", "refused", {"cursor": of.entry_hash}),
        Asked("/audit", "its own", {"project_id": of.project_id, "project": of.project_id}),
    ],
    # Last, since from then on the asker has an event of that name too.
    "POST /api/v1/receipt": lambda of: [
        Asked(
            "/receipt",
            "its own",
            body=receipt(
                provider_event_id=of.provider_event_id,
                internal_reference=of.internal_reference,
                event_id=of.event_id,
                project_id=of.project_id,
            ),
        )
    ],
}


class Recorded:
    """A front door and the statements that passed it: the real one, listened to."""

    def __init__(self, behind: IngestConnection, said: list[str]) -> None:
        self._behind, self._said = behind, said

    @asynccontextmanager
    async def transaction(self, *, short_lock_timeout: bool = False) -> AsyncIterator[Statements]:
        async with self._behind.transaction(short_lock_timeout=short_lock_timeout) as statements:
            yield _Listened(statements, self._said)

    @asynccontextmanager
    async def autocommit(self) -> AsyncIterator[Statements | None]:
        async with self._behind.autocommit() as statements:
            yield None if statements is None else _Listened(statements, self._said)

    async def close(self) -> None:
        await self._behind.close()


class _Listened:
    def __init__(self, statements: Statements, said: list[str]) -> None:
        self._statements, self._said = statements, said
        self.dialect = statements.dialect

    async def fetch(self, sql: str, *values: Values) -> Any:
        # Without the committer's own beats, which come at any time and ask what time it is.
        is_a_beat = any(part in sql for part in ("heartbeats", "outages", "LOCK TABLE")) or sql.startswith("SELECT floor(")
        if not is_a_beat:
            self._said.append(sql)
        rows: list[Row] = list(await self._statements.fetch(sql, *values))
        return rows


@contextmanager
def heard(said: list[str]) -> Iterator[None]:
    """The list holds every statement that a request's own sessions make; the process has tasks of its own beside it."""

    def hear(_: Any, __: Any, sql: str, *___: Any) -> None:
        if is_a_request(asyncio.current_task()):
            said.append(sql)

    event.listen(Engine, "before_cursor_execute", hear)
    try:
        yield
    finally:
        event.remove(Engine, "before_cursor_execute", hear)


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The one who asks, and what the other has; `said` is the SQL that was run."""

    asker: Caller
    other: Named
    said: list[str]
    database: Database

    async def answer(self, label: str, asked: Asked) -> tuple[int, Json, list[str]]:
        """The status, the body without what differs at every call, and the statements that it took."""
        method = label.split(" ")[0]
        self.said.clear()
        if asked.path in ("/receipt", "/result"):
            answer = await self.asker.send(asked.path[1:], asked.body)
        else:
            options = {"params": asked.query} | ({} if asked.body is None else {"json": asked.body})
            answer = await self.asker.ask(method, asked.path, **options)
        return answer.status_code, _comparable(answer.json()), list(self.said)

    async def rows(self) -> dict[str, list[str]]:
        """Every row of every table that is not the process's own."""
        async with self.database.reading() as session:
            return {
                table.name: sorted(str(tuple(row)) for row in await session.execute(select(table)))
                for table in tables.Project.metadata.sorted_tables
                if table.name not in OF_THE_PROCESS
            }


@pytest.fixture
async def other_project(database: Database, sealer: Sealer) -> CreatedProject:
    """The asker's project: in test mode like the other's, so that every call exists in it."""
    async with database.transaction() as session:
        now = await database.now(session)
        return await create_project(
            session, sealer, name="next door", livemode=False, repair_url="https://b.example/", scopes=frozenset(Scope), now=now
        )


@pytest.fixture
async def neighbours(
    database: Database, sealer: Sealer, project: CreatedProject, other_project: CreatedProject
) -> AsyncIterator[Neighbours]:
    said: list[str] = []
    front_door: IngestConnection = Recorded(open_ingest_connection(database.url), said)
    parts = replace(parts_on(database, sealer), committer=Committer(front_door, database.clock))
    # A clock that does not move: a key that is looked up again would be a statement more.
    async with serving(create_app(parts, clock=lambda: 0.0)) as client, _hearing(said):
        asker, owner = Caller(client, other_project.api_key), Caller(client, project.api_key)
        await asker.incident_of(await asker.accept(provider_event_id="evt_of_the_asker", internal_reference="the asker's"))
        event_id = await owner.accept(provider_event_id="evt_next_door", internal_reference="next door's")
        incident_id = await owner.incident_of(event_id)
        replay_id = (await owner.ask("POST", f"/incidents/{incident_id}/reprocess")).json()["replay_id"]
        entry_hash = (await owner.ask("GET", "/audit")).json()["data"][0]["hash"]
        named = Named(project.project.id, event_id, incident_id, replay_id, "evt_next_door", "next door's", entry_hash)
        yield Neighbours(asker, named, said, database)


def _hearing(said: list[str]) -> AbstractAsyncContextManager[None]:
    @asynccontextmanager
    async def hearing() -> AsyncIterator[None]:
        with heard(said):
            yield

    return hearing()


def nobody(of: Named) -> Named:
    """Names of the same shapes that nothing has; later than the other's, as far as ids tell a time."""
    ids = {name: f"{getattr(of, name)[:-8]}ffffffff" for name in (*IDS, "entry_hash")}
    return replace(of, **ids, provider_event_id="evt_nextXdoor", internal_reference="nobody else's")


def test_every_operation_of_the_document_has_its_row() -> None:
    told = {f"{method.upper()} {path}" for path, item in document()["paths"].items() for method in item}

    assert set(TABLE) == told


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_every_route_of_rest_is_in_the_document(database: Database, sealer: Sealer) -> None:
    served = {f"{method} {path}" for method, path in routes_of(create_app(parts_on(database, sealer))) if "/v1/" in path}

    assert served | {"POST /api/v1/receipt", "POST /api/v1/result"} == set(TABLE)


@pytest.mark.timeout(240)
async def test_what_another_project_has_is_as_unknown_as_what_nobody_has(neighbours: Neighbours) -> None:
    other = neighbours.other
    for label, requests in TABLE.items():
        for asked, unknown in zip(requests(other), requests(nobody(other)), strict=True):
            told = f"{label} {asked}"
            before = await neighbours.rows()

            status, body, statements = await neighbours.answer(label, asked)
            after = await neighbours.rows()
            as_unknown = await neighbours.answer(label, unknown)

            assert (status, body, statements) == as_unknown, told
            assert statements, told
            if asked.sees == "not_found":
                assert (status, body["code"]) == (404, "not_found"), told
                assert after == before, told
            elif asked.sees == "refused":
                assert (status, body["code"]) == (422, "validation_error"), told
                assert after == before, told
            elif asked.sees == "nothing":
                assert (status, body["data"], body["has_more"]) == (200, [], False), told
                assert after == before, told
            else:
                assert status in (200, 202), told
                assert not [value for value in vars_of(other) if value in json.dumps(body)], told
                assert _of(other, after) == _of(other, before), told


@pytest.mark.parametrize("first", ["one", "other", "together"])
async def test_same_event_and_key_in_two_projects_are_two_receipts(
    neighbours: Neighbours, project: CreatedProject, first: str
) -> None:
    one, other = neighbours.asker.with_key(project.api_key), neighbours.asker
    sent = receipt()
    said = {"provider_event_id": sent["provider_event_id"], "status": "success"}
    callers = [other, one] if first == "other" else [one, other]

    if first == "together":
        taken = await asyncio.gather(*(caller.send("receipt", sent, key="the same") for caller in callers))
    else:
        taken = [await caller.send("receipt", sent, key="the same") for caller in callers]
    ids = [answer.json()["event_id"] for answer in taken]
    foreign = await callers[0].send("result", {"event_id": ids[1], "status": "success"})
    applied = await callers[0].send("result", said, key="the same result")
    states = [(await caller.ask("GET", f"/events/{i}")).json()["state"] for caller, i in zip(callers, ids, strict=True)]
    also = await callers[1].send("result", {**said, "status": "failed"}, key="the same result")

    assert [answer.status_code for answer in taken] == [202, 202]
    assert len(set(ids)) == 2
    assert not any("Idempotent-Replayed" in answer.headers for answer in (*taken, applied, also))
    assert foreign.json()["code"] == "not_found"
    assert (applied.json()["event_id"], states) == (ids[0], ["applied", "waiting"])
    assert (also.json()["event_id"], also.json()["state"]) == (ids[1], "incident")


def vars_of(of: Named) -> list[str]:
    """The ids that must not be told; what a sender chose, it may have chosen too."""
    return [getattr(of, name) for name in (*IDS, "entry_hash")]


def _of(of: Named, rows: dict[str, list[str]]) -> dict[str, list[str]]:
    ids = [getattr(of, name) for name in IDS]  # the entry that comes next is built upon its hash
    return {name: [row for row in found if any(value in row for value in ids)] for name, found in rows.items()}


def _comparable(body: Json) -> Json:
    """Without the id of the request, and of what it has just made."""
    return {name: value for name, value in body.items() if name not in ("request_id", "timeout_at", "event_id")}
