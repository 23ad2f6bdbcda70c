"""Sessions in the store:

a token is stored as a digest, and each session ends by time or by hand.
"""

from datetime import timedelta

import pytest
from sqlalchemy import text

from domain.users import User
from store.db.database import Database
from store.people import sessions
from tests.store.people.test_users import NOW, first_user


async def opened(database: Database, user: User, **origin: str) -> str:
    async with database.transaction() as session:
        return await sessions.open_session(session, user_id=user.user_id, now=NOW, **origin)


@pytest.mark.parametrize(
    ("seen_at", "hours", "is_good"),
    [(0, 11.9, True), (0, 12, False), (167, 167.9, True), (167, 168, False)],
    ids=["in use", "idle", "within a week", "after a week"],
)
async def test_session_ends_by_idleness_and_age(
    database: Database, seen_at: float, hours: float, is_good: bool
) -> None:
    user = await first_user(database)
    token = await opened(database, user)
    async with database.transaction() as session:
        for hour in range(10, seen_at + 1, 10):
            await sessions.see_session(session, token=token, now=NOW + timedelta(hours=hour))
        await sessions.see_session(session, token=token, now=NOW + timedelta(hours=seen_at))

    async with database.reading() as session:
        found = await sessions.read_session(session, token=token, now=NOW + timedelta(hours=hours))
        stored = (await session.execute(text("SELECT * FROM sessions"))).one()

    seen = sessions.LiveSession(user, seen_at=NOW + timedelta(hours=seen_at), proved_at=NOW)
    assert found == (seen if is_good else None)
    assert token not in map(str, stored)


async def test_ended_session_is_not_begun_anew_by_being_seen(database: Database) -> None:
    token = await opened(database, await first_user(database))

    async with database.transaction() as session:
        await sessions.see_session(session, token=token, now=NOW + timedelta(hours=12))
        assert (
            await sessions.read_session(session, token=token, now=NOW + timedelta(hours=12)) is None
        )


async def test_closed_session_ends_and_the_others_continue(database: Database) -> None:
    user = await first_user(database)
    token, other = await opened(database, user), await opened(database, user)

    async with database.transaction() as session:
        await sessions.close_session(session, token=token)
        await sessions.close_session(session, token=token)

        assert await sessions.read_session(session, token=token, now=NOW) is None
        assert await sessions.read_session(session, token=other, now=NOW) == sessions.LiveSession(
            user, seen_at=NOW, proved_at=NOW
        )


async def test_list_names_where_each_was_signed_in(database: Database) -> None:
    user = await first_user(database)
    token = await opened(database, user, address="192.0.2.7", user_agent="x" * 900 + "\0")
    await opened(database, user)

    async with database.reading() as session:
        listed = await sessions.list_sessions(session, user.user_id, now=NOW, token=token)

    (own,) = (one for one in listed if one.is_this)
    assert len(listed) == 2
    assert (own.address, own.user_agent) == ("192.0.2.7", "x" * 300)


@pytest.mark.parametrize("name", ["", "%" * 16, "_" * 16, "0" * 16])
async def test_one_session_is_ended_by_its_own_name_alone(database: Database, name: str) -> None:
    user = await first_user(database)
    token, other = await opened(database, user), await opened(database, user)

    async with database.transaction() as session:
        (this,) = (
            one
            for one in await sessions.list_sessions(session, user.user_id, now=NOW, token=token)
            if one.is_this
        )
        assert not await sessions.end_session(session, user.user_id, session_id=name)
        assert await sessions.end_session(session, user.user_id, session_id=this.id)

        assert await sessions.read_session(session, token=token, now=NOW) is None
        assert await sessions.end_sessions(session, user.user_id, but_for=other) == 0
        assert await sessions.end_sessions(session, user.user_id) == 1
