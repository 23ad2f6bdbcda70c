"""Rotation of the root secret under load on two API processes: no call fails, and sealed values can
be opened.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import pytest
from sqlalchemy import text

from api.app import create_app
from api.auth.api_keys import TRUST_SECONDS
from domain.audit import Actor
from domain.projects import CreatedProject, ProjectChanges
from operations.composition import Operations
from store.audit.verify import verify_audit
from store.crypto import process_secrets
from store.crypto import root_secret as rotation
from store.crypto.encryption import SealBroken, Sealer
from store.crypto.root_secret import NotEverywhere, SecretStatus
from store.db.database import Database
from store.projects import data_keys, projects, signing_secrets
from tests.api.serving import Caller, judge_shape, parts_on, receipt, serving
from tests.conftest import SECRET_KEY
from tests.support.waiting import wait_until_async

OPERATOR = Actor("usr_operator")
NEW = "the root secret that comes after it, as long"
OLD_ALONE, BOTH, NEW_ALONE = (SECRET_KEY, None), (NEW, SECRET_KEY), (NEW, None)


class Fleet:
    """API processes on one store, each with its own secrets, and their clients, who notice no
    change.
    """

    def __init__(self, database: Database, api_key: str) -> None:
        self._database = database
        self.api_keys = [api_key]
        self.statuses: list[int] = []
        self.seconds = 0.0
        self._callers: dict[str, Caller] = {}
        self._stacks: dict[str, AsyncExitStack] = {}

    async def start(self, name: str, secrets: tuple[str, str | None]) -> None:
        """Start or restart a process. It gets calls again when it is ready, as behind a load
        balancer.
        """
        await self.stop(name)
        stack = self._stacks[name] = AsyncExitStack()
        # four heartbeats a second
        parts = parts_on(self._database, Sealer(*secrets), outage_seconds=1)
        app = create_app(parts, clock=lambda: self.seconds)
        client = await stack.enter_async_context(serving(app))
        self._callers[name] = Caller(client, self.api_keys[0])
        await self.call()

    async def stop(self, name: str) -> None:
        self._callers.pop(name, None)
        if (stack := self._stacks.pop(name, None)) is not None:
            await stack.aclose()

    async def call(self) -> None:
        """Call every process once with every key."""
        sent = [
            caller.with_key(api_key).send("receipt", receipt(payload={"card": "sealed"}))
            for caller in list(self._callers.values())
            for api_key in self.api_keys
        ]
        self.statuses += [answer.status_code for answer in await asyncio.gather(*sent)]

    async def close(self) -> None:
        for name in list(self._stacks):
            await self.stop(name)


@asynccontextmanager
async def fleet_on(database: Database, project: CreatedProject) -> AsyncIterator[Fleet]:
    fleet = Fleet(database, project.api_key)
    try:
        yield fleet
    finally:
        await fleet.close()


def operations(database: Database, secrets: tuple[str, str | None]) -> Operations:
    return Operations.build(
        database=database, sealer=Sealer(*secrets), judge_repair_url=judge_shape
    )


async def rotate(database: Database) -> int:
    async with database.transaction() as session:
        return await rotation.rotate(session, Sealer(*BOTH), await database.now(session))


async def status(database: Database, secrets: tuple[str, str | None] = BOTH) -> SecretStatus:
    async with database.reading() as session:
        return await rotation.secret_status(session, Sealer(*secrets), await database.now(session))


async def test_no_call_fails_while_the_root_secret_is_replaced(
    database: Database, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        await projects.change_project(
            session, project.project.id, changes=ProjectChanges(snapshots=True)
        )
    async with fleet_on(database, project) as fleet:
        await fleet.start("one", OLD_ALONE)
        await fleet.start("two", OLD_ALONE)

        # The first process has the new secret. The other one, which does not, must read its values.
        await fleet.start("one", BOTH)
        made = await operations(database, BOTH).projects.create_project(
            name="made meanwhile", mode="test", actor=OPERATOR
        )
        fleet.api_keys.append(made.api_key)
        await fleet.call()
        with pytest.raises(
            NotEverywhere, match="1 running processes do not know the new secret key"
        ):
            await rotate(database)
        await fleet.start("two", BOTH)

        assert await rotate(database) == 2
        made = await operations(database, BOTH).api_keys.create_key(
            project.project.id, label="after", actor=OPERATOR
        )
        fleet.api_keys.append(made.api_key)
        unused = await operations(database, BOTH).api_keys.create_key(
            project.project.id, label="of the new secret, never used", actor=OPERATOR
        )
        await fleet.call()

        async def nothing_needs_the_old_one() -> bool:
            return (await status(database)).can_drop_previous

        fleet.seconds += TRUST_SECONDS
        await fleet.call()
        await wait_until_async(nothing_needs_the_old_one, what="the keys in use are digested again")
        assert await rotate(database) == 0
        await fleet.start("one", NEW_ALONE)
        await fleet.start("two", NEW_ALONE)
        fleet.api_keys.append(unused.api_key)
        await fleet.call()

        assert set(fleet.statuses) == {202}
    assert not (await status(database, NEW_ALONE)).old_keys
    async with database.reading() as session:
        secrets = await signing_secrets.signing_secrets(
            session, Sealer(*NEW_ALONE), project.project.id, await database.now(session)
        )
    assert secrets.current == project.signing_secret


async def test_key_that_was_not_used_keeps_the_old_secret_needed(
    database: Database, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        await process_secrets.redigest_keys(
            session, Sealer(*BOTH), {project.key.id: "while the old one is in force"}
        )
    await rotate(database)

    found = await status(database)

    assert (found.is_rotated, found.can_drop_previous, found.old_projects) == (True, False, ())
    assert [key.id for key in found.old_keys] == [project.key.id]
    await operations(database, BOTH).api_keys.revoke_key(
        project.project.id, project.key.id, actor=OPERATOR
    )
    assert (await status(database)).can_drop_previous


async def test_store_of_an_unknown_secret_is_not_written_with_another(
    database: Database, project: CreatedProject
) -> None:
    unknown_secret = ("a root secret that nobody has ever used here", None)

    with pytest.raises(rotation.SecretUnknown, match="MAKEGOOD_SECRET_KEY_PREVIOUS"):
        await operations(database, unknown_secret).api_keys.create_key(
            project.project.id, label="x", actor=OPERATOR
        )
    with pytest.raises(rotation.SecretUnknown):
        await operations(database, unknown_secret).projects.create_project(
            name="another", mode="test", actor=OPERATOR
        )
    with pytest.raises(rotation.SecretUnknown):
        await status(database, unknown_secret)


async def test_end_of_the_audit_log_is_sealed_with_the_secret_in_force(
    database: Database, project: CreatedProject
) -> None:
    async def acted(secrets: tuple[str, str | None]) -> dict[str, bool]:
        """Whether each process verifies the audit log after an action at one of them."""
        await operations(database, secrets).projects.set_suspended(
            project.project.id, suspended=False, actor=OPERATOR
        )
        known = {"old alone": OLD_ALONE, "both": BOTH, "new alone": NEW_ALONE}
        return {
            name: (await verify_audit(database, Sealer(*one))).problem is None
            for name, one in known.items()
        }

    before = await acted(BOTH)
    await rotate(database)
    after, dropped = await acted(BOTH), await acted(NEW_ALONE)

    assert before == {"old alone": True, "both": True, "new alone": False}
    assert after == dropped == {"old alone": False, "both": True, "new alone": True}
    assert (await verify_audit(database, Sealer(*NEW_ALONE))).entries == 3, (
        "no damage was found at any step"
    )


async def test_data_key_that_neither_opens_stops_the_rotation(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    other = await operations(database, OLD_ALONE).projects.create_project(
        name="other", mode="test", actor=OPERATOR
    )
    async with database.transaction() as session:
        await session.execute(
            text("UPDATE projects SET data_key = :key WHERE name = 'other'"),
            {"key": b"\x01 broken"},
        )

    with pytest.raises(SealBroken):
        await rotate(database)

    found = await status(database)
    assert (found.is_rotated, found.unopened) == (False, (other.project.id,))
    async with database.reading() as session:
        data_key = await data_keys.read_data_key(session, project.project.id)
    assert sealer.unwrapped(data_key, project.project.id), "what it had wrapped again is undone"


async def test_store_from_before_secrets_had_names_is_rotated_too(
    database: Database, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        await session.execute(text("DELETE FROM facts"))
        await session.execute(text("UPDATE api_keys SET digested_with = NULL"))

    before = await status(database)
    wrapped = await rotate(database)
    after = await status(database)

    assert (before.is_rotated, before.old_keys, wrapped) == (False, (), 1)
    assert [key.id for key in after.old_keys] == [project.key.id]
    assert (after.is_rotated, after.old_projects) == (True, ())
