"""Builds a worker: services that need only the store, and Temporal's worker with the dispatcher.

The store services run as long as the process, the others while Temporal is available. This module
reads no settings, so a test builds the same worker from its own dependencies. Called by
`worker.main` and `worker.connection_loop`.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

from temporalio.client import Client
from temporalio.worker import Worker

from activities.alerts.channels import Channels
from activities.alerts.send import AlertActivities
from activities.bulk.step import BULK_LIMITS, BulkActivities
from activities.callback.send import CallbackActivities, CallbackRules, RuntimeSources, Transport
from activities.lifecycle import LifecycleActivities
from activities.slots import CallbackLimits, CallbackSlots
from activities.sources.listing import LISTING_LIMITS, SourceActivities
from activities.sources.provider_client import GetPage, ListingPace, ProviderClient
from activities.sources.transport import get_page
from egress.provider_api import ProviderUrls
from store.crypto.encryption import Sealer
from store.db.database import Database
from worker.groups.adoption import GroupAdoption
from worker.groups.alerts import GroupAlerts
from worker.loops.dispatch import Dispatcher
from worker.loops.notify_listener import listen_loop
from worker.loops.overdue import OverdueOpener
from worker.loops.reconcile import Reconciler
from worker.loops.source_schedules import SourceSchedules
from worker.loops.start_rate_limiter import StartRateLimiter
from worker.overview.loops import OverviewLoops
from worker.repairing.bulk_starts import BulkStarts
from worker.repairing.bulk_worker import build_bulk_worker
from worker.repairing.holds import HoldReleases
from worker.repairing.rules import RuleRepairs
from worker.sources.early_results import EarlyResultAlerts
from worker.sources.health import SourceHealth
from worker.sources.listing_worker import build_listing_worker
from worker.store_services import LOOK_SECONDS, StoreServices, first_failure
from worker.temporal.receipt_worker import build_receipt_worker
from worker.temporal.workflow_client import ReceiptWorkflowClient
from worker.triage.quiet_times import QuietTimes


@dataclass(frozen=True, slots=True)
class WorkerDependencies:
    """The dependencies of a worker.

    `outage_seconds` 0: deadlines count also while ingest is down. `direct_database_url`: the server
    behind a pooler, to listen on.
    """

    database: Database
    sealer: Sealer
    channels: Channels
    transport: Transport
    rules: CallbackRules
    chance: RuntimeSources
    public_url: str
    outage_seconds: int
    dispatch_rate: int = 25
    reconcile_seconds: float = 5
    callback_limits: CallbackLimits = field(default_factory=CallbackLimits)
    owns_namespace: bool = False
    direct_database_url: str | None = None
    get_page: GetPage = field(default=partial(get_page, allow=()))
    provider_urls: ProviderUrls = field(default_factory=ProviderUrls)
    listing_pace: ListingPace = field(default_factory=ListingPace)


@dataclass(frozen=True, slots=True)
class BuiltWorker:
    """Temporal's worker and the dispatcher, built over the store services and not yet running.

    `listened_url` is the PostgreSQL that notifies of new outbox rows; None on SQLite, which is
    polled.
    """

    temporal: Worker
    listing: Worker
    bulk: Worker
    schedules: SourceSchedules
    bulk_starts: BulkStarts
    store_services: StoreServices
    dispatcher: Dispatcher
    listened_url: str | None

    @property
    def workflow_client(self) -> ReceiptWorkflowClient:
        """The client for receipt workflows, of the store services."""
        return self.store_services.workflow_client

    @property
    def reconciler(self) -> Reconciler:
        """The reconciler, of the store services."""
        return self.store_services.reconciler

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Run everything during the block, then end it in order.

        The task ends early if a part fails.
        """
        async with self.store_services.running() as stored, self.running_temporal() as polled:
            whole = asyncio.create_task(first_failure([stored, polled]))
            try:
                yield whole
            finally:
                whole.cancel()
                await asyncio.gather(whole, return_exceptions=True)

    @asynccontextmanager
    async def running_temporal(self) -> AsyncIterator[asyncio.Task[None]]:
        """The part that works for Temporal, the same way."""
        polling, dispatching = (
            asyncio.create_task(self.temporal.run()),
            asyncio.create_task(self.dispatcher.run()),
        )
        listing = asyncio.create_task(self.listing.run())
        scheduling = asyncio.create_task(self.schedules.run())
        bulk = asyncio.create_task(self.bulk.run())
        starting = asyncio.create_task(self.bulk_starts.run())
        listening = []
        if self.listened_url is not None:
            listening.append(
                asyncio.create_task(listen_loop(self.listened_url, self.dispatcher.notify))
            )
        parts = [polling, listing, bulk, dispatching, scheduling, starting, *listening]
        whole = asyncio.create_task(first_failure(parts))
        try:
            yield whole
        finally:
            self.dispatcher.stop()
            self.schedules.stop()
            self.bulk_starts.stop()
            for endless in listening:
                endless.cancel()
            await asyncio.gather(dispatching, scheduling, starting, return_exceptions=True)
            workers = (self.temporal, self.listing, self.bulk)
            await asyncio.gather(*(worker.shutdown() for worker in workers))
            await asyncio.gather(*parts, whole, return_exceptions=True)


def build_store_services(dependencies: WorkerDependencies, *, identity: str) -> StoreServices:
    """Build the services that need only the store.

    `identity` is the name of the process in its heartbeat.
    """
    workflow_client = ReceiptWorkflowClient(
        None, public_url=dependencies.public_url, owns_namespace=dependencies.owns_namespace
    )
    alerts = AlertActivities(
        dependencies.database,
        sealer=dependencies.sealer,
        channels=dependencies.channels,
        public_url=dependencies.public_url,
    )
    reconciler = Reconciler(
        dependencies.database.for_loops(),
        workflow_client,
        every_seconds=dependencies.reconcile_seconds,
        outage_seconds=dependencies.outage_seconds,
    )
    overdue = OverdueOpener(
        dependencies.database.for_loops(), outage_seconds=dependencies.outage_seconds
    )
    slots = CallbackSlots(dependencies.callback_limits, time.monotonic)
    callback = CallbackActivities(
        dependencies.database,
        sealer=dependencies.sealer,
        transport=dependencies.transport,
        rules=dependencies.rules,
        sources=dependencies.chance,
        slots=slots,
        holder=identity,
    )
    return StoreServices(
        workflow_client,
        reconciler,
        alerts,
        overdue,
        SourceHealth(dependencies.database.for_loops()),
        EarlyResultAlerts(dependencies.database.for_loops()),
        HoldReleases(dependencies.database.for_loops()),
        RuleRepairs(dependencies.database.for_loops()),
        QuietTimes(dependencies.database.for_loops()),
        GroupAlerts(dependencies.database.for_loops()),
        GroupAdoption(dependencies.database.for_loops()),
        OverviewLoops(dependencies.database.for_loops()),
        callback,
        slots,
        every_seconds=dependencies.reconcile_seconds,
    )


def build_worker(
    client: Client, dependencies: WorkerDependencies, store_services: StoreServices | None = None
) -> BuiltWorker:
    """Build a worker over a client.

    `store_services` run already, attached to that client; None builds new ones.
    """
    if store_services is None:
        store_services = build_store_services(dependencies, identity=client.identity)
        store_services.workflow_client.attach(client)
    workflow_client, alerts = store_services.workflow_client, store_services.alerts
    lifecycle = LifecycleActivities(
        dependencies.database,
        sealer=dependencies.sealer,
        outage_seconds=dependencies.outage_seconds,
    )
    temporal = build_receipt_worker(
        client,
        dependencies.database,
        lifecycle=lifecycle,
        alerts=alerts,
        callback=store_services.callback,
    )
    database, listened_url = dependencies.database, None
    if database.dialect == "postgresql":
        listened_url = dependencies.direct_database_url or database.url
    loops_database = dependencies.database.for_loops()
    return BuiltWorker(
        temporal=temporal,
        listing=build_listing_worker(client, build_source_activities(dependencies)),
        bulk=build_bulk_worker(
            client,
            BulkActivities(loops_database, slots=CallbackSlots(BULK_LIMITS, time.monotonic)),
        ),
        bulk_starts=BulkStarts(
            loops_database, client, every_seconds=min(dependencies.reconcile_seconds, LOOK_SECONDS)
        ),
        schedules=SourceSchedules(
            loops_database, client, every_seconds=dependencies.reconcile_seconds
        ),
        store_services=store_services,
        dispatcher=Dispatcher(
            loops_database,
            workflow_client,
            StartRateLimiter(dependencies.dispatch_rate),
            is_notified=listened_url is not None,
        ),
        listened_url=listened_url,
    )


def build_source_activities(dependencies: WorkerDependencies) -> SourceActivities:
    """Build the activities that list sources, which need only the store."""
    urls, pace = dependencies.provider_urls, dependencies.listing_pace
    return SourceActivities(
        dependencies.database.for_loops(),
        sealer=dependencies.sealer,
        client=ProviderClient(dependencies.get_page, urls=urls, pace=pace),
        urls=urls,
        slots=CallbackSlots(LISTING_LIMITS, time.monotonic),
        pace=pace,
    )
