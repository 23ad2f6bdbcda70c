"""An API on each store, and two projects that call it."""

from collections.abc import AsyncIterator

import pytest

from api.app import create_app
from domain.projects import CreatedProject, Scope
from store.database import Database
from store.projects import create_project
from store.sealing import Sealer
from tests.api.serving import Caller, parts_on, serving


@pytest.fixture
async def caller(database: Database, sealer: Sealer, project: CreatedProject) -> AsyncIterator[Caller]:
    """The test project's app, with a key of every scope, and the API served to it."""
    async with serving(create_app(parts_on(database, sealer))) as client:
        yield Caller(client, project.api_key)


@pytest.fixture
async def live_project(database: Database, sealer: Sealer) -> CreatedProject:
    """Another project, in earnest."""
    async with database.transaction() as session:
        now = await database.now(session)
        return await create_project(session, sealer, name="other", livemode=True, scopes=frozenset(Scope), now=now)
