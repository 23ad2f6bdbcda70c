"""Fixtures for the worker's loops: receipts of a project, and a real Temporal server."""

import pytest

from domain.projects import CreatedProject
from store.db.database import Database
from tests.support.given import Story
from tests.workflows.conftest import makegood

__all__ = ["makegood", "story"]


@pytest.fixture
def story(database: Database, project: CreatedProject) -> Story:
    return Story(database, project.project)
