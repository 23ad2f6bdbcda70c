"""An API on each store, with two projects as its clients."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import pytest
from sqlalchemy import text

from api.app import create_app
from domain.projects import CreatedProject, Scope
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.migrate import migrate
from store.projects.projects import create_project
from tests.api.apart import Served, ServedApart
from tests.api.serving import Caller, parts_on, serving
from tests.support.postgres import TEMPLATE

Unwritable = Callable[[], AbstractAsyncContextManager[None]]


@pytest.fixture
async def caller(
    database: Database, sealer: Sealer, project: CreatedProject
) -> AsyncIterator[Caller]:
    """The test project's app, with a key of every scope, and a served API."""
    async with serving(create_app(parts_on(database, sealer))) as client:
        yield Caller(client, project.api_key)


@pytest.fixture
async def live_project(database: Database, sealer: Sealer) -> CreatedProject:
    """Another project, in live mode."""
    async with database.transaction() as session:
        now = await database.now(session)
        return await create_project(
            session, sealer, name="other", livemode=True, scopes=frozenset(Scope), now=now
        )


@pytest.fixture
def unwritable_log(database: Database) -> Unwritable:
    """Makes the audit log unwritable during the block, by renaming its table."""

    @asynccontextmanager
    async def lost() -> AsyncIterator[None]:
        async with database.transaction() as session:
            await session.execute(text("ALTER TABLE audit_head RENAME TO elsewhere"))
        try:
            yield
        finally:
            async with database.transaction() as session:
                await session.execute(text("ALTER TABLE elsewhere RENAME TO audit_head"))

    return lost


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def served(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """The API, once on each store."""
    if request.param == "sqlite":
        path: Path = tmp_path_factory.mktemp("served") / "makegood.db"
        url = f"sqlite:///{path}"
        migrate(url)
    else:
        postgres = request.getfixturevalue("postgres")
        url = postgres.url(postgres.create(template=TEMPLATE))
    with ServedApart(url) as served:
        yield served
