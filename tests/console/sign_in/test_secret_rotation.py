"""Sign-in with a code works across processes while the root secret is rotated."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from datetime import timedelta

import httpx
import pyotp
import pytest
from fastapi import FastAPI
from starlette.types import ASGIApp, Receive, Scope, Send

from api.console.base import Console
from api.console.composition import ConsoleDependencies
from api.console.routes import console_router
from domain.projects import CreatedProject
from store.crypto import root_secret as rotation
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import second_factor as factors
from store.people import users
from tests.conftest import SECRET_KEY
from tests.console.conftest import EMAIL, PASSWORD, Visitor

NEW = "the root secret that comes after it, as long"
Known = tuple[str, str | None]
OLD_ALONE, BOTH, NEW_ALONE = (SECRET_KEY, None), (NEW, SECRET_KEY), (NEW, None)

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@dataclass(slots=True)
class Balancer:
    """Console processes with different root secrets on one database. `at` is the next one."""

    parts: ConsoleDependencies
    at: Known = OLD_ALONE
    apps: dict[Known, ASGIApp] = field(default_factory=dict)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app()(scope, receive, send)

    def _app(self) -> ASGIApp:
        if self.at not in self.apps:
            secret_key, previous = self.at
            parts = replace(
                self.parts,
                sealer=Sealer(*self.at),
                secret_key=secret_key,
                previous_secret_key=previous,
            )
            app = FastAPI()
            app.include_router(console_router(Console(parts)))
            self.apps[self.at] = app
        return self.apps[self.at]


@dataclass(frozen=True, slots=True)
class Person:
    """A user with a browser and an authenticator app."""

    balancer: Balancer
    visitor: Visitor
    secret: str

    async def signs_in(self, first: Known, then: Known) -> bool:
        """Give the password to one process and the code to another.

        Whether both accept the session.
        """
        database = self.balancer.parts.database
        database.clock.skew += timedelta(seconds=60)
        self.visitor.client.cookies.clear()
        self.balancer.at = first
        pending = await self.visitor.post("/login", page="/login", email=EMAIL, password=PASSWORD)
        assert pending.headers["location"] == "/login/code", pending.text
        self.balancer.at = then
        async with database.reading() as session:
            code = pyotp.TOTP(self.secret).at(await database.now(session))
        answer = await self.visitor.post("/login/code", page="/login/code", code=code)
        pages = [answer.status_code]
        for self.balancer.at in (first, then):
            pages.append((await self.visitor.open("/incidents")).status_code)
        return pages == [303, 200, 200]


@pytest.fixture
async def person(
    parts: ConsoleDependencies, database: Database, project: CreatedProject
) -> AsyncIterator[Person]:
    balancer = Balancer(parts)
    secret = await set_up(database)
    transport = httpx.ASGITransport(app=balancer)
    async with httpx.AsyncClient(transport=transport, base_url=parts.public_url) as client:
        yield Person(balancer, Visitor(client), secret)


async def set_up(database: Database) -> str:
    """Create a user with a password and an app. Returns the secret of the app."""
    sealer = Sealer(*OLD_ALONE)
    async with database.transaction() as session:
        now = await database.now(session)
        token = await users.create_login_link(session, now=now)
        user = await users.redeem_login_link(session, token=token, now=now)
        assert user is not None
        await users.set_password(
            session, user_id=user.user_id, email=EMAIL, password=PASSWORD, now=now
        )
        secret = await factors.begin_totp(session, sealer, user.user_id, now=now)
        code = pyotp.TOTP(secret).at(now)
        assert await factors.confirm_totp(session, sealer, user.user_id, code=code, now=now)
    return secret


async def test_a_code_signs_in_at_every_step_of_a_rotation_at_any_process(
    person: Person, database: Database
) -> None:
    before = [(OLD_ALONE, BOTH), (BOTH, OLD_ALONE), (BOTH, BOTH)]
    after = [(BOTH, NEW_ALONE), (NEW_ALONE, BOTH), (NEW_ALONE, NEW_ALONE)]

    signed_in = [await person.signs_in(*step) for step in before]
    async with database.transaction() as session:
        await rotation.rotate(session, Sealer(*BOTH), await database.now(session))
    signed_in += [await person.signs_in(*step) for step in after]

    assert signed_in == [True] * 6
