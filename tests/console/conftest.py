"""Fixtures: the console in one process on a real database, and signed-in clients."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI
from jinja2 import Environment
from jinja2.bccache import Bucket, BytecodeCache
from sqlalchemy import text

from api.console.base import Console
from api.console.composition import ConsoleDependencies
from api.console.routes import console_router
from api.console.ui import rendering
from domain.projects import CreatedProject
from operations.composition import Operations
from operations.readiness import CheckStatus
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import sessions, users
from store.projects.projects import create_project
from tests.conftest import SECRET_KEY
from tests.console.people import FORM_COOKIE, SESSION_COOKIE, ConsoleWorld, open_console
from tests.support.given import START, Story


class CompiledTemplates(BytecodeCache):
    """Compiles each template once a session, not once for each console."""

    def __init__(self) -> None:
        self._compiled: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if bucket.key in self._compiled:
            bucket.bytecode_from_string(self._compiled[bucket.key])

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._compiled[bucket.key] = bucket.bytecode_to_string()


rendering.Environment = partial(Environment, bytecode_cache=CompiledTemplates())  # type: ignore[misc, assignment]
PASSWORD = "a sentence is easier to keep"
EMAIL = "nadia@shop.example"


class Visitor:
    """A client that keeps cookies and sends the hidden fields of forms, as a browser does."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client = client

    async def open(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=headers)

    async def post(self, path: str, *, page: str, **fields: str) -> httpx.Response:
        """Submit the form of `page` whose action is `path`, with these fields."""
        html = (await self.open(page)).text
        form = re.search(rf'<form[^>]*action="{re.escape(path)}".*?</form>', html, re.DOTALL)
        assert form is not None, f"{page} has no form for {path}"
        hidden = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form[0]))
        return await self.client.post(path, data={**hidden, **fields})

    async def redeem(self, token: str) -> httpx.Response:
        """Press the button of a sign-in link, also where its page has none any more."""
        await self.client.get("/login/link", params={"token": token})
        fields = {"form_token": self.client.cookies[FORM_COOKIE], "token": token}
        return await self.client.post("/login/link", data=fields)


class ConsoleStubs:
    """Readiness checks and clock of the console, set by tests."""

    def __init__(self) -> None:
        self.checks = dict.fromkeys(("store", "engine", "worker"), CheckStatus.OK)
        self.at = START + timedelta(hours=2)

    async def readiness(self) -> dict[str, CheckStatus]:
        return self.checks

    def now(self) -> datetime:
        return self.at


async def accept_any_url(url: str, *, livemode: bool) -> str:
    """Accept every repair URL: the URL check has its own tests."""
    return url


@pytest.fixture
def stubs() -> ConsoleStubs:
    return ConsoleStubs()


@pytest.fixture
def parts(
    database: Database, sealer: Sealer, stubs: ConsoleStubs, tmp_path: Path
) -> ConsoleDependencies:
    return ConsoleDependencies(
        operations=Operations.build(
            database=database, sealer=sealer, judge_repair_url=accept_any_url
        ),
        database=database,
        sealer=sealer,
        secret_key=SECRET_KEY,
        public_url="http://makegood.example",
        temporal_ui_url="http://temporal.example",
        temporal_namespace="default",
        mailbox_path=tmp_path / "mailbox",
        readiness=stubs.readiness,
        now=stubs.now,
    )


@asynccontextmanager
async def visiting(parts: ConsoleDependencies) -> AsyncIterator[Visitor]:
    """A visitor of a console with these dependencies."""
    app = FastAPI()
    app.include_router(console_router(Console(parts)))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app=app), base_url=parts.public_url
    ) as client:
        yield Visitor(client)


@pytest.fixture
async def visitor(parts: ConsoleDependencies) -> AsyncIterator[Visitor]:
    """A visitor who is not signed in."""
    async with visiting(parts) as visitor:
        yield visitor


@pytest.fixture
async def login_token(database: Database) -> str:
    async with database.transaction() as session:
        return await users.create_login_link(session, now=await database.now(session))


@pytest.fixture
async def operator(visitor: Visitor, database: Database, login_token: str) -> Visitor:
    """A visitor with the session of a one-time link; `test_sign_in.py` has the form itself."""
    async with database.transaction() as session:
        now = await database.now(session)
        user = await users.redeem_login_link(session, token=login_token, now=now)
        assert user is not None
        token = await sessions.open_session(session, user_id=user.user_id, now=now)
    host = visitor.client.base_url.host
    visitor.client.cookies.set(SESSION_COOKIE, token, domain=host, path="/")
    return visitor


@pytest.fixture
async def signed_in_by_form(visitor: Visitor, login_token: str) -> Visitor:
    """A visitor who signed in with a one-time link, as the audit log says."""
    answer = await visitor.post("/login/link", page=f"/login/link?token={login_token}")
    assert answer.status_code == 303
    return visitor


@pytest.fixture
async def member(operator: Visitor, database: Database) -> Visitor:
    """A signed-in visitor with an email address and a password."""
    async with database.transaction() as session:
        values = {"email": EMAIL, "password_hash": users.PasswordHasher().hash(PASSWORD)}
        await session.execute(
            text("UPDATE users SET email = :email, password_hash = :password_hash"), values
        )
    return operator


@pytest.fixture
def story(database: Database, project: CreatedProject) -> Story:
    return Story(database, project.project)


@pytest.fixture
async def world(parts: ConsoleDependencies) -> AsyncIterator[ConsoleWorld]:
    """The same console, with users of different roles."""
    async with open_console(parts) as world:
        yield world


@pytest.fixture
async def other_project(database: Database, sealer: Sealer) -> CreatedProject:
    """A second project with other members."""
    async with database.transaction() as session:
        return await create_project(
            session, sealer, name="Elsewhere", livemode=False, now=await database.now(session)
        )
