"""Users of one console, each with a browser. Sessions are opened in the database directly."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

import httpx
from fastapi import FastAPI

from api.console.base import Console
from api.console.composition import ConsoleDependencies
from api.console.routes import console_router
from api.console.sign_in.cookies import ConsoleKeys
from domain.ids import ProjectId, UserId
from domain.users import Role
from store.people import members, sessions, users
from tests.conftest import SECRET_KEY

SESSION_COOKIE = "makegood_session"
FORM_COOKIE = "makegood_form"
ANONYMOUS_TOKEN = "the token of anonymous forms"


@dataclass(frozen=True, slots=True)
class Person:
    """A browser and its user. `user_id` is empty if nobody is signed in."""

    client: httpx.AsyncClient
    user_id: UserId
    email: str

    @property
    def token(self) -> str:
        return self.client.cookies.get(SESSION_COOKIE, "")

    @property
    def form_token(self) -> str:
        return ConsoleKeys(SECRET_KEY).form_token(self.token)

    async def get(self, path: str, **headers: str) -> httpx.Response:
        return await self.client.get(path, headers=headers)

    async def post(self, path: str, **fields: str) -> httpx.Response:
        """Submit a form with the token of this session."""
        return await self.client.post(path, data={"form_token": self.form_token, **fields})

    async def post_anonymously(self, path: str, **fields: str) -> httpx.Response:
        """Submit a form that needs no session."""
        return await self.client.post(path, data={"form_token": ANONYMOUS_TOKEN, **fields})


class ConsoleWorld:
    """A console and its users."""

    def __init__(self, parts: ConsoleDependencies, stack: AsyncExitStack) -> None:
        self.parts, self.stack = parts, stack
        self.router = console_router(Console(parts))
        self._app = FastAPI()
        self._app.include_router(self.router)

    async def nobody(self) -> Person:
        """A browser that is not signed in."""
        transport = httpx.ASGITransport(app=self._app)
        client = await self.stack.enter_async_context(
            httpx.AsyncClient(
                transport=transport,
                base_url=self.parts.public_url,
                cookies={FORM_COOKIE: ANONYMOUS_TOKEN},
            )
        )
        return Person(client, UserId(""), "")

    async def administrator(self) -> Person:
        """The user of the very first link."""
        async with self.parts.database.transaction() as session:
            now = await self.parts.database.now(session)
            user = await users.redeem_login_link(
                session, token=await users.create_login_link(session, now=now), now=now
            )
            assert user is not None
        return await self.browser(user.user_id)

    async def member(self, name: str, project_id: ProjectId, role: Role) -> Person:
        """A new user with this role."""
        email = f"{name}@shop.example"
        async with self.parts.database.transaction() as session:
            now = await self.parts.database.now(session)
            user = await users.create_user(session, email=email, now=now)
            await members.grant(
                session, project_id=project_id, user_id=user.user_id, role=role, now=now
            )
        return await self.browser(user.user_id, email=email)

    async def browser(self, user_id: UserId, *, email: str = "") -> Person:
        """Another signed-in browser of a user."""
        person = await self.nobody()
        async with self.parts.database.transaction() as session:
            token = await sessions.open_session(
                session, user_id=user_id, now=await self.parts.database.now(session)
            )
        person.client.cookies.set(
            SESSION_COOKIE, token, domain=person.client.base_url.host, path="/"
        )
        return Person(person.client, user_id, email)


@asynccontextmanager
async def open_console(parts: ConsoleDependencies) -> AsyncIterator[ConsoleWorld]:
    """A console with users. Their browsers are closed at the end."""
    async with AsyncExitStack() as stack:
        yield ConsoleWorld(parts, stack)
