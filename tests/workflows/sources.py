"""Sources in a complete system: listed by its worker from the provider of the tests."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from ipaddress import ip_network
from typing import Any

from sqlalchemy import select
from temporalio.client import ScheduleDescription, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import WorkflowEnvironment

from activities.messages import ListSource
from activities.sources.provider_client import ListingPace
from activities.sources.transport import get_page
from domain.ids import EventId
from domain.sources.changes import SourceChanges
from domain.sources.source import Source, SourceKind
from egress.provider_api import ProviderUrls
from store.crypto.encryption import Sealer
from store.schema.tables import RECEIPTS
from store.sources.sources import (
    add_source,
    change_source,
    read_source,
    remove_source,
    request_check,
)
from store.status.heartbeats import read_fact
from tests.support.provider import STRIPE_KEY, Provider, providing, stripe_event
from tests.support.sources import new_source
from tests.workflows.world import World, world_on
from worker.loops.source_schedules import SCHEDULES_FACT
from worker.temporal.connect import read_namespace_id
from workflows.source_listing import SOURCE_LISTING, SOURCE_TASK_QUEUE, schedule_id

PACE = ListingPace(request_seconds=0.0, retry_seconds=(0.01,), patience_seconds=0.05)


class SourceWorld:
    """A system with one project, and its provider."""

    def __init__(self, world: World, sealer: Sealer, provider: Provider) -> None:
        self.world = world
        self.provider = provider
        self._sealer = sealer

    async def add(self, *, has_schedule: bool = True, **changes: Any) -> Source:
        """A source of Stripe's events that is added now.

        Without a Schedule, only `start` lists it: the loop that makes Schedules ends.
        """
        if not has_schedule:
            self.world.built.schedules.stop()
        new = new_source(SourceKind.STRIPE_API, **{"secret": STRIPE_KEY} | changes)
        async with self.world.database.transaction() as session:
            now = await self.world.database.now(session)
            source = await add_source(
                session, self._sealer, project_id=self.world.project.id, new=new, now=now
            )
        return source

    async def happen(self, count: int) -> list[str]:
        """Events at Stripe in the minute that passes now; returns their ids, sorted."""
        async with self.world.database.reading() as session:
            at = await self.world.database.now(session) + timedelta(seconds=30)
        events = [stripe_event(number, at) for number in range(count)]
        self.provider.add_events(*events)
        self.world.database.clock.skew += timedelta(minutes=1)
        return [event["id"] for event in events]

    async def change(self, source: Source, **changes: Any) -> None:
        async with self.world.database.transaction() as session:
            await change_source(
                session,
                self._sealer,
                project_id=source.project_id,
                source_id=source.id,
                changes=SourceChanges(**changes),
                now=await self.world.database.now(session),
            )

    async def remove(self, source: Source) -> None:
        async with self.world.database.transaction() as session:
            now = await self.world.database.now(session)
            await remove_source(session, source.project_id, source.id, now)

    async def check(self, source: Source) -> None:
        """Someone requests a listing now."""
        async with self.world.database.transaction() as session:
            now = await self.world.database.now(session)
            await request_check(session, source.project_id, source.id, now)

    async def read(self, source: Source) -> Source:
        async with self.world.database.reading() as session:
            return await read_source(session, source.project_id, source.id)

    async def expected(self) -> list[str]:
        """The events whose receipt is expected, sorted."""
        ids = select(RECEIPTS.c.provider_event_id).where(RECEIPTS.c.state == "expected")
        async with self.world.database.reading() as session:
            return sorted(await session.scalars(ids))

    async def event_ids(self) -> list[EventId]:
        """The ids of all receipts."""
        async with self.world.database.reading() as session:
            ids = await session.scalars(select(RECEIPTS.c.event_id))
            return [EventId(event_id) for event_id in ids]

    async def start(self, source: Source) -> WorkflowHandle[Any, Any]:
        """Start a listing without its Schedule."""
        return await self.world.client.start_workflow(
            SOURCE_LISTING,
            ListSource(source.id),
            id=f"{SOURCE_LISTING}-{source.id}",
            task_queue=SOURCE_TASK_QUEUE,
        )

    async def follows_namespace(self) -> bool:
        """Whether all Schedules of this Temporal database are known."""
        async with self.world.database.reading() as session:
            fact = await read_fact(session, SCHEDULES_FACT)
        return fact == await read_namespace_id(self.world.client)

    async def schedule(self, source: Source) -> ScheduleDescription | None:
        """The source's Schedule; None if there is none."""
        try:
            handle = self.world.client.get_schedule_handle(schedule_id(source.id))
            return await handle.describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise


@asynccontextmanager
async def source_world_on(
    temporal: WorkflowEnvironment, database_url: str, sealer: Sealer, **changes: Any
) -> AsyncIterator[SourceWorld]:
    """A system on a migrated store, and its provider. `changes` replace parts of the worker."""
    get = partial(get_page, allow=(ip_network("127.0.0.0/8"),))
    with providing() as provider:
        parts = {
            "get_page": get,
            "provider_urls": ProviderUrls(provider.url, provider.url),
            "listing_pace": PACE,
        }
        parts |= changes
        async with world_on(temporal, database_url, sealer, **parts) as world:
            made = SourceWorld(world, sealer, provider)
            # Until then, every source is scheduled again.
            await world.eventually(made.follows_namespace, "the namespace is known")
            yield made
