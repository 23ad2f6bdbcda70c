"""The key cache: how long a key is trusted and when the store is queried. And the rate limit."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from api.auth.api_keys import REFRESH_SECONDS, TRUST_SECONDS, ApiKeyCache, Digests
from api.auth.key_lookup import is_in_force
from api.auth.rate_limit import RateLimit
from domain.errors import RateLimited, TooManyUnknownKeys, Unauthorized, Unavailable
from domain.ids import KeyId, ProjectId
from domain.projects import AuthenticatedKey, CreatedProject, Key, Project, Scope
from domain.results import LateResult
from domain.security.api_keys import api_key_text
from store.db.database import Database
from store.projects.api_keys import revoke_key
from tests.api.serving import Caller, receipt

AT = datetime(2026, 11, 23, 12, tzinfo=UTC)
TOKEN = api_key_text(bytes(32), livemode=False)
PROJECT = Project(
    id=ProjectId("prj_1"),
    name="shop",
    livemode=False,
    repair_url=None,
    repair_url_gone=False,
    timeout_minutes=30.0,
    late_result=LateResult.RESOLVE,
    snapshots=False,
    alert_destinations=(),
    is_suspended=False,
    created_at=AT,
)


def key(
    *, expires_at: datetime | None = None, revoked_at: datetime | None = None
) -> AuthenticatedKey:
    return AuthenticatedKey(
        Key(
            id=KeyId("key_1"),
            project_id=PROJECT.id,
            label="app",
            hint="sk_test_…abcd",
            scopes=frozenset({Scope.INGEST}),
            created_at=AT,
            expires_at=expires_at,
            revoked_at=revoked_at,
            last_used_at=None,
        ),
        PROJECT,
    )


class KeyStore:
    """A store with one key, which counts its queries."""

    def __init__(self) -> None:
        self.found: AuthenticatedKey | None = key()
        self.is_away = False
        self.asked = 0
        self.seconds = 0.0

    async def find(self, _: Digests) -> AuthenticatedKey | None:
        self.asked += 1
        await asyncio.sleep(0)
        if self.is_away:
            raise Unavailable
        return self.found

    def ring(self) -> ApiKeyCache:
        return ApiKeyCache(
            find_key=self.find, digests=lambda token: (token,), clock=lambda: self.seconds
        )


async def settle() -> None:
    """Wait until the background tasks have finished."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_concurrent_callers_share_one_query() -> None:
    store = KeyStore()
    ring = store.ring()

    await asyncio.gather(*(ring.caller(TOKEN) for _ in range(20)))
    await ring.caller(TOKEN)

    assert store.asked == 1


async def test_key_in_use_is_refreshed_in_the_background() -> None:
    store = KeyStore()
    ring = store.ring()
    await ring.caller(TOKEN)
    store.seconds, store.found = REFRESH_SECONDS + 0.1, None

    still = await ring.caller(TOKEN)
    await settle()

    assert still.project == PROJECT
    assert store.asked == 2
    with pytest.raises(Unauthorized):
        await ring.caller(TOKEN)


async def test_revoked_key_is_refused_within_five_seconds_at_the_latest() -> None:
    store = KeyStore()
    ring = store.ring()
    await ring.caller(TOKEN)
    store.seconds, store.found = TRUST_SECONDS, None

    with pytest.raises(Unauthorized):
        await ring.caller(TOKEN)
    assert TRUST_SECONDS <= 5


async def test_failed_refresh_refuses_no_caller_while_the_key_is_trusted() -> None:
    store = KeyStore()
    ring = store.ring()
    await ring.caller(TOKEN)
    store.seconds, store.is_away = REFRESH_SECONDS + 0.1, True

    await ring.caller(TOKEN)
    await settle()
    await ring.caller(TOKEN)
    store.seconds = TRUST_SECONDS

    with pytest.raises(Unavailable):
        await ring.caller(TOKEN)


async def test_unknown_keys_evict_no_known_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.auth.api_keys.MAXIMUM_CACHED", 3)
    store = KeyStore()
    ring = store.ring()
    await ring.caller(TOKEN)
    known, store.found = store.found, None
    for number in range(10):
        with pytest.raises(Unauthorized):
            await ring.caller(api_key_text(bytes([number + 1] * 32), livemode=False))
    asked = store.asked

    assert (await ring.caller(TOKEN)) == known
    assert store.asked == asked


async def test_key_in_use_does_not_wait_behind_unknown_keys() -> None:
    store, is_held = KeyStore(), asyncio.Event()
    asked: list[str] = []

    async def find(digests: Digests) -> AuthenticatedKey | None:
        asked.append(digests[0])
        if digests[0] != TOKEN:
            await is_held.wait()
            return None
        return await store.find(digests)

    ring = ApiKeyCache(find_key=find, digests=lambda token: (token,), clock=lambda: store.seconds)
    await ring.caller(TOKEN)
    lookups = [
        asyncio.create_task(ring.caller(api_key_text(bytes([number + 1] * 32), livemode=False)))
        for number in range(20)
    ]
    await settle()
    store.seconds = TRUST_SECONDS

    async with asyncio.timeout(5):
        await ring.caller(TOKEN)
    assert len(asked) == 3, "the known one twice, and one unknown key at a time"
    is_held.set()
    outcomes = await asyncio.gather(*lookups, return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {Unauthorized}


async def test_what_cannot_be_a_key_is_never_looked_up() -> None:
    store = KeyStore()
    ring = store.ring()
    for token in (None, "", "sk_test_", TOKEN[:-1], TOKEN[:-1] + "x", "ümläut"):
        with pytest.raises(Unauthorized):
            await ring.caller(token)

    assert store.asked == 0


async def test_unknown_key_is_remembered_for_as_long() -> None:
    store = KeyStore()
    store.found = None
    ring = store.ring()
    for _ in range(3):
        with pytest.raises(Unauthorized):
            await ring.caller(TOKEN)

    assert store.asked == 1


async def test_forgetting_asks_again_at_once() -> None:
    store = KeyStore()
    ring = store.ring()
    await ring.caller(TOKEN)
    ring.forget(PROJECT.id)
    await ring.caller(TOKEN)

    assert store.asked == 2


class Crowd:
    """A store that knows the keys of its projects. Look-ups of unknown keys wait until they are
    released.
    """

    def __init__(self, *projects: str) -> None:
        self.seconds = 0.0
        self.asked: list[str] = []
        self.is_held = asyncio.Event()
        self.ring = ApiKeyCache(
            find_key=self._find, digests=lambda token: (token,), clock=lambda: self.seconds
        )
        self.tokens = {
            name: api_key_text(bytes([100 + n] * 32), livemode=False)
            for n, name in enumerate(projects)
        }
        self._found = {token: self._key(name) for name, token in self.tokens.items()}
        self._flood: list[asyncio.Task[AuthenticatedKey]] = []

    def _key(self, name: str) -> AuthenticatedKey:
        of = key()
        return replace(of, project=replace(of.project, id=ProjectId(name)))

    async def _find(self, digests: Digests) -> AuthenticatedKey | None:
        self.asked.append(digests[0])
        if digests[0] not in self._found:
            await self.is_held.wait()
        return self._found.get(digests[0])

    async def flood(self, unknown_keys: int) -> None:
        tokens = (
            api_key_text(number.to_bytes(32, "big"), livemode=False)
            for number in range(unknown_keys)
        )
        self._flood = [asyncio.create_task(self.ring.caller(token)) for token in tokens]
        await settle()

    async def outcomes(self) -> list[type]:
        self.is_held.set()
        return [
            type(outcome) for outcome in await asyncio.gather(*self._flood, return_exceptions=True)
        ]


async def test_change_of_a_project_refreshes_its_own_keys_only() -> None:
    crowd = Crowd("changed", "next door")
    for token in crowd.tokens.values():
        await crowd.ring.caller(token)
    await crowd.flood(20)
    crowd.asked.clear()

    crowd.ring.forget(ProjectId("changed"))
    async with asyncio.timeout(5):
        for token in crowd.tokens.values():
            await crowd.ring.caller(token)

    assert crowd.asked == [crowd.tokens["changed"]]
    assert set(await crowd.outcomes()) == {Unauthorized}


async def test_unknown_keys_wait_in_a_bounded_queue_and_known_keys_bypass_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("api.auth.api_keys.MAXIMUM_WAITING_LOOKUPS", 10)
    crowd = Crowd("shop")
    await crowd.ring.caller(crowd.tokens["shop"])
    await crowd.flood(30)
    crowd.seconds = TRUST_SECONDS

    async with asyncio.timeout(5):
        await crowd.ring.caller(crowd.tokens["shop"])

    outcomes = await crowd.outcomes()
    assert (outcomes.count(Unauthorized), outcomes.count(TooManyUnknownKeys)) == (10, 20)


async def test_queued_key_is_cached_although_projects_changed_meanwhile() -> None:
    crowd = Crowd("shop")
    await crowd.flood(1)
    waiting = asyncio.create_task(crowd.ring.caller(crowd.tokens["shop"]))
    await settle()
    crowd.seconds = 1.0
    for name in ("shop", "next door"):
        crowd.ring.forget(ProjectId(name))
    await crowd.outcomes()
    await waiting

    crowd.seconds = 1.0 + REFRESH_SECONDS
    await crowd.ring.caller(crowd.tokens["shop"])
    await settle()

    assert crowd.asked.count(crowd.tokens["shop"]) == 1


async def test_change_of_a_project_during_the_look_up_repeats_it() -> None:
    store, answers = (
        KeyStore(),
        [
            replace(key(), project=replace(PROJECT, is_suspended=suspended))
            for suspended in (False, True)
        ],
    )

    async def find(_: Digests) -> AuthenticatedKey | None:
        store.asked += 1
        found = answers[min(store.asked, 2) - 1]
        if store.asked == 1:
            ring.forget(PROJECT.id)
        return found

    ring = ApiKeyCache(find_key=find, digests=lambda token: (token,), clock=lambda: store.seconds)

    assert (await ring.caller(TOKEN)).project.is_suspended
    assert store.asked == 2


async def test_cache_evicts_the_keys_looked_up_longest_ago(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.auth.api_keys.MAXIMUM_CACHED", 10)
    crowd = Crowd(*(f"project {n}" for n in range(11)))
    tokens = list(crowd.tokens.values())
    for token in tokens:
        crowd.seconds += 0.01
        await crowd.ring.caller(token)
    crowd.asked.clear()

    for token in reversed(tokens):
        await crowd.ring.caller(token)

    assert set(crowd.asked) <= set(tokens[:5])


@pytest.mark.parametrize(
    ("caller", "is_taken"),
    [
        (key(), True),
        (key(expires_at=AT + timedelta(seconds=1)), True),
        (key(expires_at=AT), False),
        (key(revoked_at=AT - timedelta(days=1)), False),
    ],
    ids=["plain", "expires later", "expires now", "revoked"],
)
def test_key_is_in_force_until_it_expires_or_is_revoked(
    caller: AuthenticatedKey, is_taken: bool
) -> None:
    assert is_in_force(caller, AT) is is_taken


async def test_revoked_key_stops_working(
    caller: Caller, database: Database, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        await revoke_key(
            session, project.project.id, project.key.id, now=await database.now(session)
        )

    answer = await caller.send("receipt", receipt())

    assert answer.json()["code"] == "unauthorized"


def test_burst_is_let_through_and_then_the_rate() -> None:
    seconds = 0.0
    limit = RateLimit(rate=10, burst=20, clock=lambda: seconds)
    for _ in range(20):
        limit.take(PROJECT.id)

    with pytest.raises(RateLimited) as refused:
        limit.take(PROJECT.id)
    assert refused.value.retry_after_seconds == 1
    seconds = 0.25
    limit.take(PROJECT.id)
    limit.take(PROJECT.id)
    with pytest.raises(RateLimited):
        limit.take(PROJECT.id)
    limit.take(ProjectId("prj_2"))
