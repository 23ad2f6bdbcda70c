"""Signing in: links once, passwords by argon2id; tokens are stored as digests."""

import asyncio
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from domain.errors import NotFound, ValidationFailed
from domain.ids import UserId
from domain.users import User
from store.crypto.tokens import new_user_id
from store.db.database import Database
from store.people import users

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PASSWORD = "correct horse battery"


async def first_user(database: Database) -> User:
    async with database.transaction() as session:
        token = await users.create_login_link(session, now=NOW)
        user = await users.redeem_login_link(session, token=token, now=NOW)
    assert user is not None
    return user


async def give_password(database: Database, user: User, email: str = "Ada@Example.com ") -> User:
    async with database.transaction() as session:
        return await users.set_password(
            session, user_id=user.user_id, email=email, password=PASSWORD, now=NOW
        )


async def test_the_first_link_makes_the_first_user(database: Database) -> None:
    user = await first_user(database)

    assert user.user_id.startswith("usr_")
    assert (user.email, user.has_password) == (None, False)


async def test_later_links_sign_in_the_same_user(database: Database) -> None:
    assert (await first_user(database)).user_id == (await first_user(database)).user_id


async def test_a_link_signs_in_once(database: Database) -> None:
    async with database.transaction() as session:
        token = await users.create_login_link(session, now=NOW)

    async def redeem() -> User | None:
        async with database.transaction() as session:
            return await users.redeem_login_link(session, token=token, now=NOW)

    redeemed = await asyncio.gather(*(redeem() for _ in range(5)))

    assert sum(user is not None for user in redeemed) == 1


@pytest.mark.parametrize(("hours", "is_good"), [(23.9, True), (24, False)])
async def test_a_link_lives_for_24_hours(database: Database, hours: float, is_good: bool) -> None:
    async with database.transaction() as session:
        token = await users.create_login_link(session, now=NOW)
        user = await users.redeem_login_link(session, token=token, now=NOW + timedelta(hours=hours))
        unknown = await users.redeem_login_link(session, token="unknown", now=NOW)

    assert (user is not None, unknown) == (is_good, None)


async def test_address_and_password_sign_in_together(database: Database) -> None:
    user = await give_password(database, await first_user(database))

    async with database.reading() as session:
        right = await users.check_password(session, email=" ada@EXAMPLE.com", password=PASSWORD)
        wrong = await users.check_password(session, email="ada@example.com", password="wrong")
        unknown = await users.check_password(session, email="eve@example.com", password=PASSWORD)

    assert right == user == User(user.user_id, "ada@example.com", True)
    assert (wrong, unknown) == (None, None)


async def test_a_password_is_stored_by_argon2id(database: Database) -> None:
    await give_password(database, await first_user(database))

    async with database.reading() as session:
        stored = await session.scalar(text("SELECT password_hash FROM users"))

    assert stored.startswith("$argon2id$")


async def test_a_password_ends_the_links_that_still_wait(database: Database) -> None:
    user = await first_user(database)
    async with database.transaction() as session:
        token = await users.create_login_link(session, now=NOW)

    await give_password(database, user)

    async with database.transaction() as session:
        assert await users.redeem_login_link(session, token=token, now=NOW) is None


async def test_an_address_belongs_to_one_user(database: Database) -> None:
    user = await give_password(database, await first_user(database))
    other = User(new_user_id(), None, False)
    async with database.transaction() as session:
        await session.execute(
            text("INSERT INTO users (id, created_at) VALUES (:id, 0)"), {"id": other.user_id}
        )

    with pytest.raises(ValidationFailed) as refused:
        await give_password(database, other)

    assert refused.value.errors[0].pointer == "/email"
    with pytest.raises(NotFound):
        await give_password(
            database, User(UserId("usr_none"), None, False), email="nobody@example.com"
        )
    async with database.reading() as session:
        assert (
            await users.check_password(session, email="ada@example.com", password=PASSWORD) == user
        )
