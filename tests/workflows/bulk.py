"""Bulk repairs in a complete system: their workflows run on its worker."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from sqlalchemy import text
from temporalio.api.enums.v1 import EventType
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from activities.messages import BulkOrder
from domain.ids import BulkId, EventId, IncidentId
from domain.repairing.bulk import BulkItem, BulkRepair, BulkState, Plan
from domain.values.timestamps import to_unix_ms
from store.crypto.encryption import Sealer
from store.repairing.bulk_repairs import (
    NewBulkRepair,
    add_bulk_repair,
    list_items,
    read_bulk_repair,
    set_state,
)
from tests.support.given import OPERATOR, Story
from tests.workflows.world import World, world_on
from workflows.bulk_repair import BULK_REPAIR, BULK_TASK_QUEUE, bulk_workflow_id

Members = list[tuple[IncidentId, EventId]]


class BulkWorld:
    """A system with one project. Only `run` starts workflows, unless `starts` is True."""

    def __init__(self, makegood: World) -> None:
        self.makegood = makegood

    async def opened(self, count: int) -> Members:
        """Incidents that open now, each with its workflow."""
        members: Members = []
        story = Story(self.makegood.database, self.makegood.project)
        for _ in range(count):
            event_id = await self.makegood.accept()
            await self.makegood.report(event_id, "failed")
            members.append((await story.incident_id(event_id), event_id))
        return members

    async def store(self, members: Members, plan: Plan | None = None) -> BulkId:
        """A bulk repair of these incidents, stored now."""
        new = NewBulkRepair("outage", OPERATOR, plan or Plan(), False, members)
        database = self.makegood.database
        async with database.transaction() as session:
            now = await database.now(session)
            return await add_bulk_repair(session, self.makegood.project.id, new, now)

    async def run(self, bulk_id: str) -> WorkflowHandle[Any, Any]:
        """Start its workflow."""
        return await self.makegood.client.start_workflow(
            BULK_REPAIR,
            BulkOrder(bulk_id),
            id=bulk_workflow_id(bulk_id),
            task_queue=BULK_TASK_QUEUE,
        )

    async def change(self, bulk_id: BulkId, to: BulkState) -> None:
        database = self.makegood.database
        async with database.transaction() as session:
            now = await database.now(session)
            await set_state(session, self.makegood.project.id, bulk_id, to, now)

    async def unchanged_for(self, bulk_id: BulkId, span: timedelta) -> None:
        """The last change was so long ago."""
        changed = text("UPDATE bulk_repairs SET changed_at = :at WHERE id = :id")
        database = self.makegood.database
        async with database.transaction() as session:
            at = to_unix_ms(await database.now(session) - span)
            await session.execute(changed, {"at": at, "id": bulk_id})

    async def waits(self, handle: WorkflowHandle[Any, Any]) -> None:
        """Return once the workflow has started a timer."""

        async def has_timer() -> bool:
            return any(
                [
                    event.event_type == EventType.EVENT_TYPE_TIMER_STARTED
                    async for event in handle.fetch_history_events()
                ]
            )

        await self.makegood.eventually(has_timer, "the workflow waits")

    async def read(self, bulk_id: BulkId) -> BulkRepair:
        async with self.makegood.database.reading() as session:
            return await read_bulk_repair(session, None, bulk_id)

    async def items(self, bulk_id: BulkId) -> list[BulkItem]:
        async with self.makegood.database.reading() as session:
            return list((await list_items(session, bulk_id, limit=100)).rows)


@asynccontextmanager
async def bulk_world_on(
    temporal: WorkflowEnvironment, database_url: str, sealer: Sealer, *, starts: bool = False
) -> AsyncIterator[BulkWorld]:
    """A system on a migrated store. `starts`: its worker starts the workflows by itself."""
    async with world_on(temporal, database_url, sealer) as makegood:
        if not starts:
            makegood.built.bulk_starts.stop()
        yield BulkWorld(makegood)
