"""One dev server for all tests of this directory, and a system for each test."""

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest
from temporalio.testing import WorkflowEnvironment

from store.crypto.encryption import Sealer
from tests.workflows.world import World, start_temporal, world_on


@pytest.fixture(scope="session")
def temporal() -> Iterator[WorkflowEnvironment]:
    """The dev server."""
    with asyncio.Runner() as runner:
        environment = runner.run(start_temporal())
        yield environment
        runner.run(environment.shutdown())


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
