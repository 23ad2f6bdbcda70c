"""Authenticator apps while the root secret is replaced:

each goes on, also one that is set up or taken away meanwhile.
"""

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any

import pyotp
import pytest
from sqlalchemy import text

from domain.ids import UserId
from domain.projects import CreatedProject, Key, Scope
from store.crypto import root_secret as rotation
from store.crypto.encryption import SealBroken, Sealer
from store.crypto.root_secret import SecretStatus, Unopened
from store.db.database import Database
from store.people import second_factor as factors
from store.people import users
from store.projects import api_keys as keys
from tests.conftest import SECRET_KEY
from tests.support.waiting import wait_until_async

# A whole time step.
NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
NEW_KEY = "the root secret that comes after it, as long"
OLD, BOTH, NEW = Sealer(SECRET_KEY), Sealer(NEW_KEY, SECRET_KEY), Sealer(NEW_KEY)
ADA, EVE = UserId("usr_ada"), UserId("usr_eve")


class Phone:
    """Somebody's authenticator app. Each code is of a later time step than the one before."""

    def __init__(self, database: Database, user_id: UserId = ADA) -> None:
        self.user_id = user_id
        self.secret = ""
        self._database = database
        self._at = NOW

    async def begin(self, sealer: Sealer) -> None:
        async with self._database.transaction() as session:
            self.secret = await factors.begin_totp(session, sealer, self.user_id, now=self._at)

    async def confirm(self, sealer: Sealer) -> tuple[str, ...] | None:
        code = self.next_code()
        async with self._database.transaction() as session:
            return await factors.confirm_totp(
                session, sealer, self.user_id, code=code, now=self._at
            )

    async def is_let_in(self, sealer: Sealer) -> bool:
        return await self.is_taken(sealer, self.next_code())

    async def is_taken(self, sealer: Sealer, code: str) -> bool:
        async with self._database.transaction() as session:
            return bool(
                await factors.accept_code(session, sealer, self.user_id, code=code, now=self._at)
            )

    async def remove(self) -> bool:
        async with self._database.transaction() as session:
            return await factors.remove_totp(session, self.user_id)

    def next_code(self) -> str:
        self._at += timedelta(seconds=factors.STEP_SECONDS)
        return pyotp.TOTP(self.secret).at(self._at)


@pytest.fixture
def phone(database: Database, project: CreatedProject) -> Phone:
    """Not set up yet, in a store that names its root secret."""
    return Phone(database)


async def rotate(database: Database) -> int:
    async with database.transaction() as session:
        return await rotation.rotate(session, BOTH, await database.now(session))


async def status(database: Database, sealer: Sealer = BOTH) -> SecretStatus:
    async with database.reading() as session:
        return await rotation.secret_status(session, sealer, await database.now(session))


async def held_up(database: Database, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
    """The work, begun while another transaction is open; it waits for that one, on SQLite for its
    turn to write.
    """
    task = asyncio.create_task(work)

    async def waits() -> bool:
        if database.dialect == "sqlite":
            return True
        locked = (
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname ="
            " current_database()"
        )
        async with database.reading() as session:
            return bool(await session.scalar(text(locked)))

    await wait_until_async(waits, what="the work waits for the open transaction")
    assert not task.done()
    return task


async def test_codes_are_accepted_at_every_step_and_after_the_old_secret_is_removed(
    database: Database, phone: Phone
) -> None:
    await phone.begin(OLD)
    codes = await phone.confirm(OLD)
    assert codes is not None

    before = [await phone.is_let_in(sealer) for sealer in (OLD, BOTH, OLD)]
    wrapped = await rotate(database)
    after = [await phone.is_let_in(sealer) for sealer in (BOTH, NEW, BOTH, NEW)]

    assert (before, after) == ([True] * 3, [True] * 4)
    assert wrapped == 2, "the project and the app"
    assert not await phone.is_let_in(OLD)
    assert await phone.is_taken(NEW, codes[0])
    assert (await status(database)).old_factors == 0


async def test_app_begun_under_one_secret_is_confirmed_under_the_other(
    database: Database, phone: Phone
) -> None:
    await phone.begin(BOTH)
    begun = phone.secret
    await rotate(database)
    await phone.begin(NEW)

    assert phone.secret == begun, "the picture that was shown still holds"
    assert await phone.confirm(NEW)
    assert await phone.is_let_in(NEW)


async def test_app_that_is_begun_while_a_rotation_waits_is_wrapped_with_it(
    database: Database, phone: Phone
) -> None:
    async with database.transaction() as session:
        phone.secret = await factors.begin_totp(session, BOTH, ADA, now=NOW)
        rotating = await held_up(database, rotate(database))

    assert await rotating == 2
    assert await phone.confirm(NEW)


async def test_app_that_is_begun_during_a_rotation_is_sealed_with_the_new_secret(
    database: Database, phone: Phone
) -> None:
    async with database.transaction() as session:
        await rotation.rotate(session, BOTH, await database.now(session))
        beginning = await held_up(database, phone.begin(BOTH))
    await beginning

    assert (await status(database)).old_factors == 0
    assert await phone.confirm(NEW)


async def make_key(database: Database, project: CreatedProject) -> Key:
    async with database.transaction() as session:
        scopes = frozenset({Scope.READ})
        key, _ = await keys.create_key(
            session, BOTH, project_id=project.project.id, label="late", scopes=scopes, now=NOW
        )
    return key


async def test_api_key_that_is_made_while_a_rotation_waits_is_seen_to_need_the_old_secret(
    database: Database, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        scopes = frozenset({Scope.READ})
        late, _ = await keys.create_key(
            session, BOTH, project_id=project.project.id, label="late", scopes=scopes, now=NOW
        )
        rotating = await held_up(database, rotate(database))
    await rotating

    assert late.id in {key.id for key in (await status(database)).old_keys}


async def test_api_key_that_is_made_during_a_rotation_needs_the_new_secret_alone(
    database: Database, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        await rotation.rotate(session, BOTH, await database.now(session))
        making = await held_up(database, make_key(database, project))
    late = await making

    assert late.id not in {key.id for key in (await status(database)).old_keys}


async def test_code_that_is_entered_during_a_rotation_is_accepted_once(
    database: Database, phone: Phone
) -> None:
    await phone.begin(OLD)
    await phone.confirm(OLD)
    code = phone.next_code()

    async with database.transaction() as session:
        await rotation.rotate(session, BOTH, await database.now(session))
        given = await held_up(database, phone.is_taken(BOTH, code))

    assert await given
    assert not await phone.is_taken(NEW, code)
    assert await phone.is_let_in(NEW)


async def test_authenticator_app_that_is_removed_during_a_rotation_stays_removed(
    database: Database, phone: Phone
) -> None:
    await phone.begin(OLD)
    await phone.confirm(OLD)

    async with database.transaction() as session:
        await rotation.rotate(session, BOTH, await database.now(session))
        removing = await held_up(database, phone.remove())

    assert await removing
    assert not await phone.is_let_in(NEW)
    async with database.reading() as session:
        assert await session.scalar(text("SELECT count(*) FROM totp_factors")) == 0


async def test_rotation_locks_the_apps_that_it_does_not_wrap_again(
    database: Database, phone: Phone
) -> None:
    # Else one that is taken away and set up again in between would get the data key of the one
    # before, and never open.
    await phone.begin(OLD)
    await phone.confirm(OLD)
    await rotate(database)

    async with database.transaction() as session:
        assert await rotation.rotate(session, BOTH, await database.now(session)) == 0
        removing = await held_up(database, phone.remove())
    assert await removing

    await phone.begin(BOTH)
    assert await phone.confirm(NEW)


async def test_rotation_waits_for_an_app_that_is_being_taken_away(
    database: Database, phone: Phone
) -> None:
    await phone.begin(OLD)
    await phone.confirm(OLD)

    async with database.transaction() as session:
        assert await factors.remove_totp(session, ADA)
        rotating = await held_up(database, rotate(database))

    assert await rotating == 1, "the project alone"
    assert (await status(database)).can_drop_previous is False, "its API key was not used yet"


async def test_status_counts_the_apps_that_need_the_old_secret(
    database: Database, phone: Phone
) -> None:
    await phone.begin(OLD)
    other = Phone(database, EVE)
    await other.begin(OLD)
    await rotate(database)
    async with database.transaction() as session:
        await session.execute(text("DELETE FROM api_keys"))
    assert (await status(database)).can_drop_previous

    # As a process leaves it that was not asked, since it was silent for long.
    late = {"key": OLD.current.new_data_key(EVE)}
    async with database.transaction() as session:
        await session.execute(
            text("UPDATE totp_factors SET data_key = :key WHERE user_id = 'usr_eve'"), late
        )

    found = await status(database)
    assert (found.old_factors, found.unopened_factors, found.can_drop_previous) == (1, (), False)
    assert await rotate(database) == 1
    assert (await status(database)).can_drop_previous


async def test_authenticator_app_that_no_secret_opens_is_reported_with_its_user(
    database: Database, phone: Phone
) -> None:
    async with database.transaction() as session:
        user = await users.create_user(session, email="eve@shop.example", now=NOW)
    other = Phone(database, user.user_id)
    for one in (phone, other):
        await one.begin(OLD)
    codes = await other.confirm(OLD)
    assert codes is not None
    async with database.transaction() as session:
        lost = Sealer("a root secret that nobody knows any more").current
        broken = {"key": lost.new_data_key(user.user_id), "id": user.user_id}
        await session.execute(
            text("UPDATE totp_factors SET data_key = :key WHERE user_id = :id"), broken
        )

    with pytest.raises(SealBroken):
        await rotate(database)

    found = await status(database)
    assert found.unopened_factors == (Unopened(user.user_id, "eve@shop.example"),)
    assert (found.is_rotated, found.old_factors, found.unopened) == (False, 0, ())
    assert not await other.is_let_in(BOTH), "a code is wrong, and no error"
    assert await other.is_taken(BOTH, codes[0])
    await other.remove()
    assert await rotate(database) == 2
    assert await phone.confirm(NEW)


async def test_app_that_was_begun_and_does_not_open_is_begun_anew(
    database: Database, phone: Phone
) -> None:
    await phone.begin(OLD)
    lost = phone.secret
    async with database.transaction() as session:
        await session.execute(
            text("UPDATE totp_factors SET data_key = :key"), {"key": b"\x01 broken"}
        )

    await phone.begin(OLD)

    assert phone.secret not in ("", lost)
    assert await phone.confirm(OLD)


async def test_authenticator_app_that_is_begun_twice_at_once_is_created_once(
    database: Database, phone: Phone
) -> None:
    again = Phone(database)
    async with database.transaction() as session:
        phone.secret = await factors.begin_totp(session, OLD, ADA, now=NOW)
        beginning = await held_up(database, again.begin(OLD))
    await beginning

    assert again.secret == phone.secret
    assert await phone.confirm(OLD)


async def test_first_app_names_the_root_secret_where_there_is_no_project(
    database: Database,
) -> None:
    await Phone(database).begin(OLD)

    with pytest.raises(rotation.SecretUnknown):
        await Phone(database, EVE).begin(Sealer("a root secret that sealed nothing here"))
