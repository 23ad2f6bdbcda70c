"""The loop that makes Schedules, where Temporal is not needed."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest
from temporalio.client import Client

from store.db.database import Database
from worker.loops.source_schedules import SourceSchedules


class BrokenService:
    """A connection to Temporal that fails in a way that nobody expects."""

    def __init__(self) -> None:
        self.calls = 0
        self.again = asyncio.Event()

    async def describe_namespace(self, *_: Any, **__: Any) -> None:
        self.calls += 1
        if self.calls > 1:
            self.again.set()
        raise RuntimeError("unexpected")


async def test_unexpected_error_backs_off_and_still_stops_at_once(database: Database) -> None:
    service = BrokenService()
    client = cast(Client, SimpleNamespace(workflow_service=service, namespace="default"))
    schedules = SourceSchedules(database, client, every_seconds=0.001)
    loop = asyncio.create_task(schedules.run())

    with pytest.raises(TimeoutError):  # the first backoff is of 5 seconds
        await asyncio.wait_for(service.again.wait(), 0.5)

    assert service.calls == 1
    schedules.stop()
    await asyncio.wait_for(loop, 2)
