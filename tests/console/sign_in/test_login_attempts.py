"""Sign-in attempts are rate limited, alike for known and unknown accounts. Lockouts are short."""

import json
import re
from dataclasses import replace
from datetime import timedelta
from ipaddress import ip_address, ip_network

import httpx
import pytest
from argon2 import PasswordHasher

from api.console.composition import ConsoleDependencies
from api.http.client_address import address_block
from domain.security.login_backoff import ACCOUNT, ADDRESS
from store.db.database import Database
from store.people import login_attempts as throttling
from tests.console.conftest import EMAIL, PASSWORD, Visitor, visiting
from tests.console.pages.test_audit import log
from tests.support.passwords import PRODUCTION, hash_passwords

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
async def owner(member: Visitor) -> Visitor:
    """The owner of the account, in a browser that has not signed in with a password yet."""
    await member.post("/logout", page="/incidents")
    return member


@pytest.fixture
def production_passwords(monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords are hashed at the cost of production."""
    hash_passwords(monkeypatch, PRODUCTION)


async def guess(
    visitor: Visitor, email: str = EMAIL, password: str = "a wrong guess"
) -> httpx.Response:
    return await visitor.post("/login", page="/login", email=email, password=password)


async def exhausted(database: Database, email: str, failures: int = ACCOUNT.free) -> None:
    """Count this number of failed attempts for the account."""
    counters = [throttling.counter("account", email, ACCOUNT)]
    async with database.transaction() as session:
        now = await database.now(session)
        for number in range(failures):
            assert (
                await throttling.charge(
                    session, counters, now=now - timedelta(minutes=2 * (failures - number))
                )
                is None
            )
        assert await throttling.charge(session, counters, now=now) is None


async def address_with_one_try(database: Database) -> None:
    """Leave the test client's address one attempt before the longest wait."""
    counters = [
        throttling.counter("address", address_block(ip_address("127.0.0.1")), ADDRESS, kept=True)
    ]
    async with database.transaction() as session:
        now = await database.now(session)
        for number in range(ADDRESS.free + 6):
            tried_at = now - timedelta(minutes=2 * (ADDRESS.free + 6 - number))
            assert await throttling.charge(session, counters, now=tried_at) is None


def without_tokens(page: str) -> str:
    return re.sub(r'name="form_token" value="[^"]*"', "", page)


async def test_known_and_unknown_accounts_are_answered_alike(
    owner: Visitor, database: Database
) -> None:
    for email in (EMAIL, "nobody@shop.example"):
        await exhausted(database, email, failures=ACCOUNT.free - 2)
    known = [await guess(owner, EMAIL) for _ in range(2)]
    unknown = [await guess(owner, "nobody@shop.example") for _ in range(2)]

    assert [answer.status_code for answer in known] == [422, 429]
    for mine, theirs in zip(known, unknown, strict=True):
        assert mine.status_code == theirs.status_code
        assert mine.headers.get("retry-after") == theirs.headers.get("retry-after")
        assert without_tokens(mine.text).replace(EMAIL, "nobody@shop.example") == without_tokens(
            theirs.text
        )


async def test_known_and_unknown_accounts_cost_the_same_work(
    production_passwords: None, owner: Visitor, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, judged = PasswordHasher.verify, list[str]()

    def verify(self: PasswordHasher, password_hash: str, password: str) -> bool:
        judged.append(password_hash.rpartition("$")[0].rpartition("$")[0])
        return real(self, password_hash, password)

    monkeypatch.setattr(PasswordHasher, "verify", verify)
    await guess(owner, EMAIL)
    await guess(owner, "nobody@shop.example")

    assert len(judged) == 2
    assert judged[0] == judged[1], (
        "the hash that stands in for nobody's has other parameters than a new one"
    )


async def test_a_refused_attempt_names_the_wait_after_which_the_next_succeeds(
    owner: Visitor, database: Database
) -> None:
    await exhausted(database, EMAIL)

    too_early = await guess(owner, EMAIL, PASSWORD)
    database.clock.skew += timedelta(seconds=int(too_early.headers["retry-after"]))
    in_time = await guess(owner, EMAIL, PASSWORD)

    assert (too_early.status_code, in_time.status_code) == (429, 303)
    assert f"{too_early.headers['retry-after']} seconds" in too_early.text


async def test_lockout_lasts_a_minute_at_most(owner: Visitor, database: Database) -> None:
    await exhausted(database, EMAIL, failures=100)

    answer = await guess(owner, EMAIL, PASSWORD)

    assert 50 < int(answer.headers["retry-after"]) <= 60


async def test_other_clients_do_not_lock_out_the_browser_of_the_owner(
    owner: Visitor, parts: ConsoleDependencies, database: Database
) -> None:
    await guess(owner, EMAIL, PASSWORD)
    await owner.post("/logout", page="/incidents")
    await exhausted(database, EMAIL)

    async with visiting(parts) as other:
        shut_out = await guess(other, EMAIL, PASSWORD)
    let_in = await guess(owner, EMAIL, PASSWORD)

    assert (shut_out.status_code, let_in.status_code) == (429, 303)


async def test_a_known_browser_has_no_counter_of_its_own_for_another_account(
    owner: Visitor, database: Database
) -> None:
    await guess(owner, EMAIL, PASSWORD)
    await owner.post("/logout", page="/incidents")
    await exhausted(database, "other@shop.example")

    assert (await guess(owner, "other@shop.example")).status_code == 429


async def redeem(visitor: Visitor, forwarded: str = "") -> int:
    headers = {"X-Forwarded-For": forwarded} if forwarded else {}
    form = {"form_token": "mine", "token": "a guess"}
    visitor.client.cookies.set("makegood_form", "mine")
    return (await visitor.client.post("/login/link", data=form, headers=headers)).status_code


async def test_attempts_of_an_address_are_limited_for_all_accounts(visitor: Visitor) -> None:
    answers = [
        await redeem(visitor, forwarded=f"198.51.100.{number}")
        for number in range(ADDRESS.free + 1)
    ]

    assert answers == [422] * ADDRESS.free + [429]
    assert (await guess(visitor, "nobody@shop.example")).status_code == 429


async def test_attempts_behind_a_trusted_proxy_count_for_the_client(
    parts: ConsoleDependencies,
) -> None:
    async with visiting(replace(parts, trusted_proxies=(ip_network("127.0.0.0/8"),))) as visitor:
        one = [await redeem(visitor, forwarded="198.51.100.1") for _ in range(ADDRESS.free + 1)]
        another = await redeem(visitor, forwarded="198.51.100.1, 198.51.100.2")

    assert (one[-1], another) == (429, 422)


async def test_processes_share_their_counters(parts: ConsoleDependencies) -> None:
    async with visiting(parts) as here, visiting(parts) as there:
        answers = [
            await redeem(visitor) for _ in range(ADDRESS.free // 2) for visitor in (here, there)
        ]

        assert (answers, await redeem(here), await redeem(there)) == (
            [422] * ADDRESS.free,
            429,
            429,
        )


async def test_refused_attempts_are_recorded_once_per_wait(
    owner: Visitor, parts: ConsoleDependencies, database: Database
) -> None:
    """Attempts of unknown people cannot fill the log."""
    at_first = len(await log(parts))
    for email in (EMAIL, "nobody@shop.example"):
        await exhausted(database, email, failures=10)
    early = [
        await guess(owner, email) for email in (EMAIL, "nobody@shop.example") for _ in range(3)
    ]
    database.clock.skew += timedelta(seconds=int(early[-1].headers["retry-after"]))
    await guess(owner)
    await guess(owner)
    await guess(owner)

    entries = (await log(parts))[at_first:]
    user_id = entries[0]["subject_id"]
    recorded = [
        (entry["action"], entry["subject_id"], entry["details"].get("by")) for entry in entries
    ]
    assert recorded == [
        ("tries_refused", user_id, "password"),
        ("tries_refused", None, "password"),
        ("sign_in_failed", user_id, "password"),
        ("tries_refused", user_id, "password"),
    ]
    assert user_id is not None
    assert entries[0]["details"]["wait_seconds"] == int(early[0].headers["retry-after"])
    assert {entry["actor"] for entry in entries} == {"visitor"}
    assert not re.search("shop.example|guess", json.dumps(entries))


async def test_an_address_leaves_no_more_entries_than_allowed_attempts(
    visitor: Visitor, parts: ConsoleDependencies, database: Database
) -> None:
    await address_with_one_try(database)

    answers = [await redeem(visitor) for _ in range(5)]

    assert answers == [422, 429, 429, 429, 429]
    assert [entry["action"] for entry in await log(parts)] == ["sign_in_failed", "tries_refused"]
