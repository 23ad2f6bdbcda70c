"""For the store's tests: a project's receipts, moved at instants of the test's choice."""

import pytest

from domain.projects import CreatedProject
from store.db.database import Database
from tests.support.given import Story


@pytest.fixture
def story(database: Database, project: CreatedProject) -> Story:
    return Story(database, project.project)
