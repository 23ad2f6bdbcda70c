"""For the tests of ingest: a running committer on each database."""

from collections.abc import AsyncIterator

import pytest

from domain.projects import CreatedProject
from store.db.database import Database
from tests.store.ingest.desk import Desk, committing


@pytest.fixture
async def desk(database: Database, project: CreatedProject) -> AsyncIterator[Desk]:
    async with committing(database, project) as desk:
        yield desk
