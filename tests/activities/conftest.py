"""What the activities' tests share: a project's story at the store's own present, on both engines."""

import pytest

from domain.projects import CreatedProject
from store.db.database import Database
from tests.support.given import Story


@pytest.fixture
async def story(database: Database, project: CreatedProject) -> Story:
    """The project's story, told from now on."""
    told = Story(database, project.project)
    async with database.reading() as session:
        told.at = await database.now(session)
    return told
