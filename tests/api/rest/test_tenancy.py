"""Two projects on one store: another project's ids behave exactly like ids that do not exist.

The table has a row for every operation of the OpenAPI document, with foreign ids in path, query,
body and cursor. Each request is made twice, with ids of the other project and with unknown ids.
Both get the same response with the same SQL statements in the same order, so that the response time
reveals nothing. Neither writes anything.
"""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace

import pytest
from sqlalchemy import select

from api.app import create_app
from api.rest.openapi import document
from domain.projects import CreatedProject, Scope
from domain.receipts import effect_key
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.ingest.connection import IngestConnection, open_ingest_connection
from store.ingest.group_commit import Committer
from store.projects.projects import create_project
from store.schema import tables
from tests.api.rest.recorded_sql import RecordingConnection, recorded_statements
from tests.api.rest.tenancy import IDS, TABLE, Asked, Named
from tests.api.rest.test_sources import new_source
from tests.api.serving import Caller, Json, parts_on, receipt, routes_of, serving

# The tables that background tasks and the use of a key change.
OF_THE_PROCESS = {"heartbeats", "api_keys", "facts"}


@dataclass(frozen=True, slots=True)
class Neighbours:
    """The caller, and the other project's objects; `recorded` is the recorded SQL."""

    asker: Caller
    other: Named
    recorded: list[str]
    database: Database

    async def answer(self, label: str, asked: Asked) -> tuple[int, Json, list[str]]:
        """The status, the body without its variable parts, and the statements."""
        method = label.split(" ")[0]
        self.recorded.clear()
        if asked.path in ("/receipt", "/result"):
            answer = await self.asker.send(asked.path[1:], asked.body)
        else:
            options = {"params": asked.query} | ({} if asked.body is None else {"json": asked.body})
            answer = await self.asker.ask(method, asked.path, **options)
        body = answer.json()
        if asked.path == "/receipt" and asked.body is not None and "effect_key" in body:
            # The caller's own words, which differ where the request does.
            named = (asked.body[name] for name in ("provider", "provider_event_id", "effect_type"))
            assert body.pop("effect_key") == effect_key(*map(str, named))
        return answer.status_code, _comparable(body), list(self.recorded)

    async def rows(self) -> dict[str, list[str]]:
        """Every row of all tables except those of the process itself."""
        async with self.database.reading() as session:
            return {
                table.name: sorted(str(tuple(row)) for row in await session.execute(select(table)))
                for table in tables.Project.metadata.sorted_tables
                if table.name not in OF_THE_PROCESS
            }


@pytest.fixture
async def other_project(database: Database, sealer: Sealer) -> CreatedProject:
    """The caller's project, in test mode like the other one, so that every call is available."""
    async with database.transaction() as session:
        now = await database.now(session)
        return await create_project(
            session,
            sealer,
            name="next door",
            livemode=False,
            repair_url="https://b.example/",
            scopes=frozenset(Scope),
            now=now,
        )


@pytest.fixture
async def neighbours(
    database: Database, sealer: Sealer, project: CreatedProject, other_project: CreatedProject
) -> AsyncIterator[Neighbours]:
    recorded: list[str] = []
    ingest_connection: IngestConnection = RecordingConnection(
        open_ingest_connection(database.url), recorded
    )
    parts = replace(
        parts_on(database, sealer), committer=Committer(ingest_connection, database.clock)
    )
    # A frozen clock, because a repeated key look-up would add a statement.
    async with serving(create_app(parts, clock=lambda: 0.0)) as client, _recording(recorded):
        asker, owner = Caller(client, other_project.api_key), Caller(client, project.api_key)
        await asker.incident_of(
            await asker.accept(
                provider_event_id="evt_of_the_asker", internal_reference="the asker's"
            )
        )
        event_id = await owner.accept(
            provider_event_id="evt_next_door", internal_reference="next door's"
        )
        incident_id = await owner.incident_of(event_id)
        replay_id = (await owner.ask("POST", f"/incidents/{incident_id}/reprocess")).json()[
            "replay_id"
        ]
        source_id = (await owner.ask("POST", "/sources", json=new_source())).json()["id"]
        slack = {"kind": "slack", "url": "https://hooks.example/T1/B1"}
        added = await owner.ask("POST", "/alert-destinations", json=slack)
        destination_id = added.json()["id"]
        view_id = (await owner.ask("POST", "/views", json={"name": "theirs"})).json()["id"]
        group_id = (await owner.ask("GET", f"/incidents/{incident_id}")).json()["group_id"]
        rule = {"name": "of-next-door", "delay_seconds": 60}
        await owner.ask("PUT", "/project/repair-rules", json={"rules": [rule]})
        selected = {"incident_ids": [incident_id], "reason": "outage"}
        bulk_id = (await owner.ask("POST", "/bulk-repairs", json=selected)).json()["bulk_id"]
        hold = {"all": True, "reason": "closed"}
        hold_id = (await owner.ask("POST", "/holds", json=hold)).json()["id"]
        entry_hash = (await owner.ask("GET", "/audit")).json()["data"][0]["hash"]
        named = Named(
            project.project.id,
            event_id,
            incident_id,
            replay_id,
            source_id,
            destination_id,
            view_id,
            group_id,
            bulk_id,
            hold_id,
            "evt_next_door",
            "next door's",
            entry_hash,
        )
        yield Neighbours(asker, named, recorded, database)


def _recording(recorded: list[str]) -> AbstractAsyncContextManager[None]:
    @asynccontextmanager
    async def recording() -> AsyncIterator[None]:
        with recorded_statements(recorded):
            yield

    return recording()


def nobody(of: Named) -> Named:
    """Ids of the same shape that do not exist, with later timestamps."""
    ids = {name: f"{getattr(of, name)[:-8]}ffffffff" for name in (*IDS, "entry_hash")}
    return replace(of, **ids, provider_event_id="evt_nextXdoor", internal_reference="nobody else's")


def test_every_operation_of_the_document_has_its_row() -> None:
    operation_ids = {
        f"{method.upper()} {path}" for path, item in document()["paths"].items() for method in item
    }

    assert set(TABLE) == operation_ids


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_every_route_of_rest_is_in_the_document(database: Database, sealer: Sealer) -> None:
    served = {
        f"{method} {path}"
        for method, path in routes_of(create_app(parts_on(database, sealer)))
        if "/v1/" in path
    }

    assert served | {"POST /api/v1/receipt", "POST /api/v1/result"} == set(TABLE)


@pytest.mark.timeout(240)
async def test_foreign_ids_behave_like_unknown_ids(neighbours: Neighbours) -> None:
    other = neighbours.other
    for label, requests in TABLE.items():
        for asked, unknown in zip(requests(other), requests(nobody(other)), strict=True):
            case = f"{label} {asked}"
            before = await neighbours.rows()

            status, body, statements = await neighbours.answer(label, asked)
            after = await neighbours.rows()
            as_unknown = await neighbours.answer(label, unknown)

            assert (status, body, statements) == as_unknown, case
            # A request with an unknown parameter may end before the database is asked.
            assert statements or asked.sees == "unknown_parameter", case
            if asked.sees == "not_found":
                assert (status, body["code"]) == (404, "not_found"), case
                assert after == before, case
            elif asked.sees in {"refused", "unknown_parameter"}:
                assert (status, body["code"]) == (422, "validation_error"), case
                assert after == before, case
            elif asked.sees == "nothing":
                assert (status, body["data"], body["has_more"]) == (200, [], False), case
                assert after == before, case
            else:
                assert status in (200, 201, 202), case
                assert not [value for value in vars_of(other) if value in json.dumps(body)], case
                assert _of(other, after) == _of(other, before), case


@pytest.mark.parametrize("first", ["one", "other", "together"])
async def test_same_event_and_key_in_two_projects_are_two_receipts(
    neighbours: Neighbours, project: CreatedProject, first: str
) -> None:
    one, other = neighbours.asker.with_key(project.api_key), neighbours.asker
    sent = receipt()
    success = {"provider_event_id": sent["provider_event_id"], "status": "success"}
    callers = [other, one] if first == "other" else [one, other]

    if first == "together":
        taken = await asyncio.gather(
            *(caller.send("receipt", sent, key="the same") for caller in callers)
        )
    else:
        taken = [await caller.send("receipt", sent, key="the same") for caller in callers]
    ids = [answer.json()["event_id"] for answer in taken]
    foreign = await callers[0].send("result", {"event_id": ids[1], "status": "success"})
    applied = await callers[0].send("result", success, key="the same result")
    states = [
        (await caller.ask("GET", f"/events/{i}")).json()["state"]
        for caller, i in zip(callers, ids, strict=True)
    ]
    also = await callers[1].send("result", {**success, "status": "failed"}, key="the same result")

    assert [answer.status_code for answer in taken] == [202, 202]
    assert len(set(ids)) == 2
    assert not any("Idempotent-Replayed" in answer.headers for answer in (*taken, applied, also))
    assert foreign.json()["code"] == "not_found"
    assert (applied.json()["event_id"], states) == (ids[0], ["applied", "waiting"])
    assert (also.json()["event_id"], also.json()["state"]) == (ids[1], "incident")


def vars_of(of: Named) -> list[str]:
    """The ids that must not be revealed. Values that the sender chose may be equal by chance."""
    return [getattr(of, name) for name in (*IDS, "entry_hash")]


def _of(of: Named, rows: dict[str, list[str]]) -> dict[str, list[str]]:
    ids = [getattr(of, name) for name in IDS]  # the next entry contains its hash
    return {
        name: [row for row in found if any(value in row for value in ids)]
        for name, found in rows.items()
    }


def _comparable(body: Json) -> Json:
    """The body without the request id and without ids and instants that were just created."""
    created = ("request_id", "timeout_at", "event_id", "hook_path", "created_at", "since")
    kept = {
        name: value
        for name, value in body.items()
        if name not in created and not str(value).startswith(("src_", "dst_", "view_", "hld_"))
    }
    if "expects" in kept:
        kept["expects"] = [_comparable(one) for one in kept["expects"]]
    return kept
