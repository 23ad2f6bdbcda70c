"""A system for each test, on the session's Temporal server."""

from collections.abc import AsyncIterator

import pytest
from temporalio.testing import WorkflowEnvironment

from store.crypto.encryption import Sealer
from tests.workflows.world import World, world_on


@pytest.fixture
async def makegood(
    temporal: WorkflowEnvironment, sqlite_url: str, sealer: Sealer
) -> AsyncIterator[World]:
    """A system on SQLite."""
    async with world_on(temporal, sqlite_url, sealer) as made:
        yield made


@pytest.fixture
async def makegood_on_postgres(
    temporal: WorkflowEnvironment, postgres_url: str, sealer: Sealer
) -> AsyncIterator[World]:
    """A system on PostgreSQL."""
    async with world_on(temporal, postgres_url, sealer) as made:
        yield made
