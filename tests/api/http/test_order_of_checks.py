"""A request with several errors gets the one that comes first in the contract."""

import json
from collections.abc import AsyncIterator

import httpx
import pytest

from api.app import create_app
from domain.errors import Code
from domain.projects import CreatedProject, Scope
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.api_keys import create_key
from store.projects.projects import set_suspended
from tests.api.serving import Caller, parts_on, serving

# From the last check to the first. Each change adds an error, which is the one reported.
SPOILED_ONE_BY_ONE = (
    Code.NOT_FOUND,
    Code.VALIDATION_ERROR,
    Code.TOO_MANY_FIELDS,
    Code.IDEMPOTENCY_CONFLICT,
    Code.MISSING_IDEMPOTENCY_KEY,
    Code.PAYLOAD_TOO_LARGE,
    Code.UNSUPPORTED_MEDIA_TYPE,
    Code.MISSING_ACCEPT_HEADER,
    Code.RATE_LIMITED,
    Code.SUBSCRIPTION_REQUIRED,
    Code.FORBIDDEN,
    Code.UNAUTHORIZED,
)


class Spoiled:
    """A result with more and more errors."""

    def __init__(self, api_key: str) -> None:
        self.body: dict[str, object] | bytes = {"event_id": "evt_unknown", "status": "success"}
        self.headers: dict[str, str | None] = {}
        self.key = "fresh"
        self.api_key = api_key

    async def send(self, caller: Caller) -> httpx.Response:
        return await caller.with_key(self.api_key).send(
            "result", self.body, key=self.key, headers=self.headers
        )


@pytest.mark.parametrize("spoiled_until", SPOILED_ONE_BY_ONE, ids=str)
async def test_first_check_of_the_contract_wins(
    spoiled_until: Code, database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        now = await database.now(session)
        _, reader = await create_key(
            session,
            sealer,
            project_id=project.project.id,
            label="r",
            scopes=frozenset({Scope.READ}),
            now=now,
        )
    chosen = SPOILED_ONE_BY_ONE[: SPOILED_ONE_BY_ONE.index(spoiled_until) + 1]
    burst = 2 if Code.RATE_LIMITED in chosen else 100
    # a frozen clock adds no tokens
    app = create_app(parts_on(database, sealer, rate_limit=1, rate_burst=burst), clock=lambda: 0.0)
    async with serving(app) as client:
        caller = Caller(client, project.api_key)
        await caller.accept()
        await caller.send("result", {"event_id": "evt_unknown", "status": "nothing"}, key="used")
        spoiled = Spoiled(project.api_key)
        for code in chosen:
            _spoil(spoiled, code, reader)
        if Code.SUBSCRIPTION_REQUIRED in chosen:
            await _suspend(database, project)
            # A key that this process has not cached: a cached one may be 5 s old.
            spoiled.api_key = (
                reader if Code.FORBIDDEN in chosen else await _other_key(database, sealer, project)
            )
        if Code.UNAUTHORIZED in chosen:
            spoiled.api_key = "sk_test_unknown"

        answer = await spoiled.send(caller)

    assert answer.json()["code"] == spoiled_until


def _spoil(spoiled: Spoiled, code: Code, reader: str) -> None:
    match code:
        case Code.VALIDATION_ERROR:
            spoiled.body = {"status": "nothing"}
        case Code.TOO_MANY_FIELDS:
            spoiled.body = {f"field_{number}": "x" * 20 for number in range(51)}
        case Code.IDEMPOTENCY_CONFLICT:
            spoiled.key = "used"
        case Code.MISSING_IDEMPOTENCY_KEY:
            spoiled.headers["Idempotency-Key"] = ""
        case Code.PAYLOAD_TOO_LARGE:
            spoiled.body = json.dumps({"payload": "x" * 1_048_576}).encode()
        case Code.UNSUPPORTED_MEDIA_TYPE:
            spoiled.headers["Content-Type"] = "text/csv"
        case Code.MISSING_ACCEPT_HEADER:
            spoiled.headers["Accept"] = ""
        case Code.FORBIDDEN:
            spoiled.api_key = reader


async def _suspend(database: Database, project: CreatedProject) -> None:
    async with database.transaction() as session:
        await set_suspended(
            session, project.project.id, suspended=True, now=await database.now(session)
        )


async def _other_key(database: Database, sealer: Sealer, project: CreatedProject) -> str:
    async with database.transaction() as session:
        now, scopes = await database.now(session), frozenset({Scope.INGEST})
        return (
            await create_key(
                session, sealer, project_id=project.project.id, label="o", scopes=scopes, now=now
            )
        )[1]


async def test_refused_body_is_not_read_to_its_end(caller: Caller) -> None:
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        while sent < 50_000_000:
            sent += 65_536
            yield b"x" * 65_536

    headers = {
        "Authorization": f"Bearer {caller.api_key}",
        "Accept": "*/*",
        "Content-Type": "application/json",
    }
    answer = await caller.client.post("/v1/receipt", content=endless(), headers=headers)

    assert answer.status_code == 413
