"""Fixtures of the activities' tests, on SQLite and PostgreSQL."""

import pytest

from domain.projects import CreatedProject
from store.db.database import Database
from tests.support.given import Story


@pytest.fixture
async def story(database: Database, project: CreatedProject) -> Story:
    """The project's test data, beginning at the store's present."""
    story = Story(database, project.project)
    async with database.reading() as session:
        story.at = await database.now(session)
    return story
