"""Passkeys in the store: names, limits, counters, and the recovery codes that go with them.

A challenge is used once, by its own browser, for its own ceremony, in time.
"""

import asyncio
from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from sqlalchemy import text

from domain.errors import NotFound, Refusal, ValidationFailed
from domain.ids import UserId
from domain.security.passkeys import CHALLENGE_LIFETIME, LONGEST_NAME, MOST_PASSKEYS, Ceremony
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.maintenance.retention import purge
from store.people import members, passkeys, second_factor, users
from store.people.passkey_challenges import issue_challenge, read_challenge, use_challenge
from tests.support.passkeys import new_passkey

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
EXPIRY = NOW + CHALLENGE_LIFETIME
MILLISECOND = timedelta(milliseconds=1)


@pytest.fixture
async def ada(database: Database) -> UserId:
    async with database.transaction() as session:
        return (await users.create_user(session, email="ada@example.com", now=NOW)).user_id


async def add(database: Database, user_id: UserId, credential: str, name: str = "Phone") -> str:
    async with database.transaction() as session:
        made = new_passkey(credential)
        return (await passkeys.add_passkey(session, user_id, made, name=name, now=NOW)).id


async def test_passkey_is_stored_as_it_was_made(database: Database, ada: UserId) -> None:
    made = new_passkey("Y3JlZA", sign_count=7)

    async with database.transaction() as session:
        added = await passkeys.add_passkey(session, ada, made, name="  My\n phone ", now=NOW)

    async with database.reading() as session:
        assert await passkeys.list_passkeys(session, ada) == [added]
        found = await passkeys.find_passkey(session, "Y3JlZA")
        assert await passkeys.find_passkey(session, "other") is None
    assert found is not None
    assert (found[0], found[1].user_id) == (added, ada)
    assert (added.name, added.user_id, added.public_key) == ("My phone", ada, made.public_key)
    assert (added.sign_count, added.rp_id, added.transports) == (7, made.rp_id, ("internal",))
    assert (added.created_at, added.last_used_at) == (NOW, None)


@pytest.mark.parametrize("name", ["", " \t\n", "x" * (LONGEST_NAME + 1), "\0"])
async def test_name_that_is_empty_or_too_long_is_refused(
    database: Database, ada: UserId, name: str
) -> None:
    passkey_id = await add(database, ada, "cred-1")

    with pytest.raises(ValidationFailed, match="1 to 60 characters"):
        await add(database, ada, "cred-2", name=name)
    async with database.transaction() as session:
        with pytest.raises(ValidationFailed, match="1 to 60 characters"):
            await passkeys.rename_passkey(session, ada, passkey_id, name=name)


async def test_user_has_at_most_twenty_even_when_two_are_added_at_once(
    database: Database, ada: UserId
) -> None:
    for number in range(MOST_PASSKEYS - 1):
        await add(database, ada, f"cred-{number}")

    added = await asyncio.gather(
        *(add(database, ada, f"late-{number}") for number in range(3)), return_exceptions=True
    )

    assert sorted(isinstance(one, ValidationFailed) for one in added) == [False, True, True]
    async with database.reading() as session:
        assert await passkeys.count_passkeys(session, ada) == MOST_PASSKEYS == 20


async def test_known_passkey_is_refused_for_everybody(database: Database, ada: UserId) -> None:
    await add(database, ada, "cred-1")
    async with database.transaction() as session:
        eve = (await users.create_user(session, email="eve@example.com", now=NOW)).user_id

    for user_id in (ada, eve):
        with pytest.raises(ValidationFailed, match="already registered"):
            await add(database, user_id, "cred-1")


async def test_passkey_of_another_user_is_neither_renamed_nor_removed(
    database: Database, ada: UserId
) -> None:
    passkey_id = await add(database, ada, "cred-1")
    eve = UserId("usr_eve")

    for act in (
        lambda session: passkeys.rename_passkey(session, eve, passkey_id, name="mine"),
        lambda session: passkeys.remove_passkey(session, eve, passkey_id),
    ):
        with pytest.raises(NotFound):
            async with database.transaction() as session:
                await act(session)

    async with database.reading() as session:
        assert [one.name for one in await passkeys.list_passkeys(session, ada)] == ["Phone"]


@pytest.mark.parametrize(
    ("given", "accepted"),
    [
        ((1, 2, 9), [True, True, True]),
        ((3, 3), [True, False]),
        ((3, 2, 4), [True, False, True]),
        ((0, 0), [True, True]),
        ((1, 0), [True, False]),
    ],
)
async def test_counter_that_does_not_grow_is_refused_and_not_stored(
    database: Database, ada: UserId, given: tuple[int, ...], accepted: list[bool]
) -> None:
    await add(database, ada, "cred-1")
    async with database.reading() as session:
        (passkey,) = await passkeys.list_passkeys(session, ada)

    results = []
    for number, count in enumerate(given):
        async with database.transaction() as session:
            at = NOW + timedelta(minutes=number)
            results.append(await passkeys.record_use(session, passkey.id, sign_count=count, now=at))

    assert results == accepted
    last = max(number for number, was_accepted in enumerate(accepted) if was_accepted)
    async with database.reading() as session:
        (stored,) = await passkeys.list_passkeys(session, ada)
    assert (stored.sign_count, stored.last_used_at) == (
        given[last],
        NOW + timedelta(minutes=last),
    )


async def test_of_two_uses_with_one_counter_at_once_one_is_accepted(
    database: Database, ada: UserId
) -> None:
    await add(database, ada, "cred-1")
    async with database.reading() as session:
        (passkey,) = await passkeys.list_passkeys(session, ada)

    async def use() -> bool:
        async with database.transaction() as session:
            return await passkeys.record_use(session, passkey.id, sign_count=1, now=NOW)

    assert sorted(await asyncio.gather(use(), use())) == [False, True]


async def test_use_of_a_removed_passkey_is_refused(database: Database, ada: UserId) -> None:
    await add(database, ada, "cred-1")
    async with database.transaction() as session:
        (passkey,) = await passkeys.list_passkeys(session, ada)
        await passkeys.remove_passkey(session, ada, passkey.id)

        assert not await passkeys.record_use(session, passkey.id, sign_count=1, now=NOW)
        assert await passkeys.read_sign_count(session, passkey.id) is None


async def test_passkey_is_a_second_factor_and_recovery_codes_replace_it(
    database: Database, sealer: Sealer, ada: UserId
) -> None:
    async with database.transaction() as session:
        assert not await second_factor.has_second_factor(session, ada)
    passkey_id = await add(database, ada, "cred-1")

    async with database.transaction() as session:
        assert await second_factor.has_second_factor(session, ada)
        code, *_ = await second_factor.renew_recovery_codes(session, ada, now=NOW)
        given = [
            await second_factor.accept_code(session, sealer, ada, code=one, now=NOW)
            for one in (code, code, "123456")
        ]
    assert given == [second_factor.Accepted.RECOVERY_CODE, None, None]

    async with database.transaction() as session:
        await passkeys.remove_passkey(session, ada, passkey_id)
        assert not await second_factor.has_second_factor(session, ada)
        assert await second_factor.count_recovery_codes(session, ada) == 0


async def test_recovery_codes_stay_while_any_second_factor_does(
    database: Database, sealer: Sealer, ada: UserId
) -> None:
    async with database.transaction() as session:
        secret = await second_factor.begin_totp(session, sealer, ada, now=NOW)
        code = pyotp.TOTP(secret).at(NOW)
        await second_factor.confirm_totp(session, sealer, ada, code=code, now=NOW)
    left = []
    for credential in ("cred-1", "cred-2"):
        await add(database, ada, credential)

    async with database.transaction() as session:
        for act in (
            second_factor.remove_totp(session, ada),
            passkeys.remove_passkeys(session, ada),
        ):
            await act
            left.append(await second_factor.count_recovery_codes(session, ada))

    assert left == [second_factor.RECOVERY_CODE_COUNT, 0]


async def test_deleted_account_leaves_no_passkeys_or_challenges(
    database: Database, ada: UserId
) -> None:
    await add(database, ada, "cred-1")
    async with database.transaction() as session:
        given = {"browser": "hers", "now": NOW, "user_id": ada}
        await issue_challenge(session, Ceremony.STEP_UP, **given)

        await members.delete_user(session, ada)

        for table in ("passkeys", "passkey_challenges"):
            assert await session.scalar(text(f"SELECT count(*) FROM {table}")) == 0


async def test_challenge_is_used_once_by_its_browser_for_its_ceremony(
    database: Database, ada: UserId
) -> None:
    async with database.transaction() as session:
        challenge = await issue_challenge(
            session, Ceremony.STEP_UP, browser="hers", now=NOW, user_id=ada
        )
        right = {"browser": "hers", "now": NOW, "user_id": ada}
        wrong = [
            (challenge[:-1], Ceremony.STEP_UP, right),
            (challenge, Ceremony.SIGN_IN, right),
            (challenge, Ceremony.STEP_UP, {**right, "browser": "theirs"}),
            (challenge, Ceremony.STEP_UP, {**right, "user_id": UserId("usr_eve")}),
            (challenge, Ceremony.STEP_UP, {**right, "user_id": None}),
            (challenge, Ceremony.STEP_UP, {**right, "now": EXPIRY}),
        ]

        assert [await use_challenge(session, one, of, **by) for one, of, by in wrong] == [False] * 6
        assert await use_challenge(session, challenge, Ceremony.STEP_UP, **right)
        assert not await use_challenge(session, challenge, Ceremony.STEP_UP, **right)


async def test_challenge_lives_five_minutes(database: Database) -> None:
    async with database.transaction() as session:
        given = {"browser": "hers", "now": NOW}
        challenge = await issue_challenge(session, Ceremony.REGISTRATION, **given)

        read = [
            await read_challenge(session, Ceremony.REGISTRATION, browser="hers", now=at)
            for at in (NOW, EXPIRY - MILLISECOND, EXPIRY)
        ]
        last = {"browser": "hers", "now": EXPIRY - MILLISECOND}
        assert await use_challenge(session, challenge, Ceremony.REGISTRATION, **last)

    assert read == [challenge, challenge, None]
    assert timedelta(minutes=5) == CHALLENGE_LIFETIME


async def test_browser_has_one_challenge_of_each_ceremony(database: Database) -> None:
    async with database.transaction() as session:
        issued = [
            await issue_challenge(session, ceremony, browser="hers", now=NOW)
            for ceremony in (Ceremony.SIGN_IN, Ceremony.SECOND_FACTOR, Ceremony.SIGN_IN)
        ]
        stored = set(await session.scalars(text("SELECT challenge FROM passkey_challenges")))
        kept = (await session.execute(text("SELECT browser FROM passkey_challenges"))).all()

    assert stored == set(issued[1:])
    assert len(set(issued)) == 3
    assert "hers" not in str(kept)


async def test_expired_challenges_are_deleted(database: Database) -> None:
    async with database.transaction() as session:
        for number, browser in enumerate(("old", "new")):
            at = NOW + timedelta(minutes=number)
            await issue_challenge(session, Ceremony.SIGN_IN, browser=browser, now=at)

    async with database.transaction() as session:
        purged = await purge(session, EXPIRY)

        assert (purged.passkey_challenges, purged.total) == (1, 1)
        left = await session.scalar(text("SELECT count(*) FROM passkey_challenges"))
        assert left == 1


async def test_missing_user_has_no_passkey_added(database: Database) -> None:
    with pytest.raises(Refusal, match="no such user"):
        await add(database, UserId("usr_none"), "cred-1")
