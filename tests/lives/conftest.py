"""For each test a store, the API, the worker, a mail server and a repair endpoint."""

from collections.abc import AsyncIterator

import pytest
from temporalio.testing import WorkflowEnvironment

from domain.projects import CreatedProject
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.lives.shop import Shop, serving, working
from tests.workflows.world import World


@pytest.fixture
async def shop(database: Database, sealer: Sealer, project: CreatedProject) -> AsyncIterator[Shop]:
    """The merchant's app and its operator, with the API at work."""
    async with serving(database, sealer) as http:
        yield Shop(http, project)


@pytest.fixture
async def makegood(
    temporal: WorkflowEnvironment,
    database: Database,
    sealer: Sealer,
    project: CreatedProject,
    shop: Shop,
) -> AsyncIterator[World]:
    """Everything behind the API, at work."""
    async with working(temporal, database, sealer, project) as made:
        yield made
