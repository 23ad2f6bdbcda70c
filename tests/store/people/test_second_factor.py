"""Codes:

a step's code once, one step to either side, recovery codes once; the secret sealed, the codes
digested.
"""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pyotp
import pytest
from sqlalchemy import text

from domain.ids import UserId
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import second_factor as factors
from store.people import sessions, users
from store.people.identities import adopt_identity, find_identity, has_identity

# A whole time step.
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
ADA, EVE = UserId("usr_ada"), UserId("usr_eve")
ISSUER = "https://id.example"


def code_at(secret: str, **later: float) -> str:
    return pyotp.TOTP(secret).at(NOW + timedelta(**later))


async def enrolled(
    database: Database, sealer: Sealer, user_id: UserId = ADA
) -> tuple[str, tuple[str, ...]]:
    """Turn TOTP on with the code of a minute ago. Returns the secret and the recovery codes."""
    async with database.transaction() as session:
        secret = await factors.begin_totp(session, sealer, user_id, now=NOW)
        before = NOW - timedelta(seconds=60)
        codes = await factors.confirm_totp(
            session, sealer, user_id, code=code_at(secret, seconds=-60), now=before
        )
    assert codes is not None
    return secret, codes


async def accepted(
    database: Database, sealer: Sealer, code: str, user_id: UserId = ADA, **later: float
) -> bool:
    async with database.transaction() as session:
        return (
            await factors.accept_code(
                session, sealer, user_id, code=code, now=NOW + timedelta(**later)
            )
            is not None
        )


async def test_no_code_is_required_before_the_first_code_confirms_the_app(
    database: Database, sealer: Sealer
) -> None:
    async with database.transaction() as session:
        secret = await factors.begin_totp(session, sealer, ADA, now=NOW)
        again = await factors.begin_totp(session, sealer, ADA, now=NOW)
        wrong = await factors.confirm_totp(session, sealer, ADA, code="000000", now=NOW)
        is_on = await factors.has_totp(session, ADA)

    assert (again, wrong, is_on) == (secret, None, False)
    assert not await accepted(database, sealer, code_at(secret))


async def test_a_confirmed_secret_is_never_given_out_again(
    database: Database, sealer: Sealer
) -> None:
    await enrolled(database, sealer)

    async with database.transaction() as session:
        assert await factors.begin_totp(session, sealer, ADA, now=NOW) == ""
        assert await factors.read_begun_secret(session, sealer, ADA) is None
        assert await factors.confirm_totp(session, sealer, ADA, code="000000", now=NOW) is None


@pytest.mark.parametrize(
    ("seconds", "is_good"), [(-60, False), (-30, True), (0, True), (30, True), (60, False)]
)
async def test_code_is_valid_one_step_before_and_after_its_own(
    database: Database, sealer: Sealer, seconds: float, is_good: bool
) -> None:
    secret, _ = await enrolled(database, sealer)

    assert await accepted(database, sealer, code_at(secret, seconds=seconds)) is is_good


async def test_code_is_accepted_once_by_concurrent_requests(
    database: Database, sealer: Sealer
) -> None:
    secret, _ = await enrolled(database, sealer)

    at_once = await asyncio.gather(*(accepted(database, sealer, code_at(secret)) for _ in range(5)))

    assert sum(at_once) == 1
    assert not await accepted(database, sealer, code_at(secret), seconds=29)


async def test_an_older_step_is_not_taken_after_a_newer_one(
    database: Database, sealer: Sealer
) -> None:
    secret, _ = await enrolled(database, sealer)

    assert await accepted(database, sealer, code_at(secret))
    assert not await accepted(database, sealer, code_at(secret, seconds=-30))
    assert await accepted(database, sealer, code_at(secret, seconds=30), seconds=30)


async def test_code_that_confirmed_the_app_does_not_sign_in(
    database: Database, sealer: Sealer
) -> None:
    secret, _ = await enrolled(database, sealer)

    assert not await accepted(database, sealer, code_at(secret, seconds=-60), seconds=-60)


async def test_ten_recovery_codes_each_once(database: Database, sealer: Sealer) -> None:
    _, codes = await enrolled(database, sealer)

    once = [await accepted(database, sealer, code.upper().replace("-", " ")) for code in codes]
    twice = [await accepted(database, sealer, code) for code in codes]

    assert (len(set(codes)), once, twice) == (10, [True] * 10, [False] * 10)
    async with database.reading() as session:
        assert await factors.count_recovery_codes(session, ADA) == 0


async def test_new_recovery_codes_end_the_old_ones(database: Database, sealer: Sealer) -> None:
    _, old = await enrolled(database, sealer)

    async with database.transaction() as session:
        new = await factors.renew_recovery_codes(session, ADA, now=NOW)

    assert not await accepted(database, sealer, old[0])
    assert await accepted(database, sealer, new[0])


async def test_codes_work_for_their_own_user_only(database: Database, sealer: Sealer) -> None:
    secret, codes = await enrolled(database, sealer)
    await enrolled(database, sealer, EVE)

    assert not await accepted(database, sealer, codes[0], EVE)
    assert not await accepted(database, sealer, code_at(secret), EVE)


@pytest.mark.parametrize(
    "code", ["", " ", "-", "12345", "1234567", "abcdef", "१२३४५६", "0" * 1_000, "\0"]
)
async def test_value_that_is_not_a_code_is_refused(
    database: Database, sealer: Sealer, code: str
) -> None:
    await enrolled(database, sealer)

    assert not await accepted(database, sealer, code)


async def test_neither_secret_nor_codes_can_be_read_in_the_store(
    database: Database, sealer: Sealer
) -> None:
    secret, codes = await enrolled(database, sealer)

    async with database.reading() as session:
        stored = [*(await session.execute(text("SELECT * FROM totp_factors"))).one()]
        stored += [
            value
            for row in await session.execute(text("SELECT * FROM recovery_codes"))
            for value in row
        ]
    joined = b"\n".join(
        value if isinstance(value, bytes) else str(value).encode() for value in stored
    )
    assert secret.encode() not in joined
    assert not any(
        form.encode() in joined for code in codes for form in (code, code.replace("-", ""))
    )


async def test_a_secret_moved_to_another_person_does_not_open(
    database: Database, sealer: Sealer
) -> None:
    secret, _ = await enrolled(database, sealer)
    async with database.transaction() as session:
        await session.execute(text("UPDATE totp_factors SET user_id = :eve"), {"eve": EVE})
        assert await factors.has_totp(session, EVE)

    assert not await accepted(database, sealer, code_at(secret), EVE)


async def test_after_the_app_is_removed_no_code_is_required_or_valid(
    database: Database, sealer: Sealer
) -> None:
    secret, codes = await enrolled(database, sealer)

    async with database.transaction() as session:
        assert await factors.remove_totp(session, ADA)
        assert not await factors.remove_totp(session, ADA)
        assert not await factors.has_totp(session, ADA)
    assert not await accepted(database, sealer, code_at(secret))
    assert not await accepted(database, sealer, codes[0])


async def test_a_session_remembers_its_last_proof(database: Database) -> None:
    async with database.transaction() as session:
        token = await sessions.open_session(session, user_id=ADA, now=NOW)
        other = await sessions.open_session(session, user_id=ADA, now=NOW)
        await factors.mark_proved(session, token=token, now=NOW + timedelta(hours=1))

        assert await factors.read_proved_at(session, token=token) == NOW + timedelta(hours=1)
        assert await factors.read_proved_at(session, token=other) == NOW
        assert await factors.read_proved_at(session, token="unknown") is None


async def test_a_provider_names_known_people_alone(database: Database) -> None:
    async with database.transaction() as session:
        link = await users.create_login_link(session, now=NOW)
        ada = await users.redeem_login_link(session, token=link, now=NOW)
        assert ada is not None
        ada = await users.set_password(
            session, user_id=ada.user_id, email="ada@example.com", password="x" * 12, now=NOW
        )

        unknown = await adopt_identity(
            session, issuer=ISSUER, subject="9", email="eve@example.com", now=NOW
        )
        known = await adopt_identity(
            session, issuer=ISSUER, subject="1", email="Ada@Example.com", now=NOW
        )
        # The address was given to somebody else over there.
        successor = await adopt_identity(
            session, issuer=ISSUER, subject="2", email="ada@example.com", now=NOW
        )

        # Whoever chose the password may be another than whose address it is.
        ada = replace(ada, has_password=False)
        assert (unknown, known, successor) == (None, ada, None)
        assert await find_identity(session, issuer=ISSUER, subject="1") == ada
        assert await find_identity(session, issuer="https://other.example", subject="1") is None
        assert await has_identity(session, issuer=ISSUER, user_id=ada.user_id)
        assert not await has_identity(session, issuer="https://other.example", user_id=ada.user_id)
