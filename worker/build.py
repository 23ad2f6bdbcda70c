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
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.alerts.channels import Channels
from activities.alerts.email import EmailChannel, Mailer
from activities.alerts.email_message import MailWriter
from activities.alerts.send import AlertActivities
from activities.callback.send import CallbackActivities, CallbackRules, RuntimeSources, Transport
from activities.lifecycle import LifecycleActivities
from activities.slots import CallbackLimits, CallbackSlots
from domain.alerts import AlertChannel
from store.crypto.encryption import Sealer
from store.db.database import Database
from worker.loops.alert_retries import alert_retry_loop
from worker.loops.dispatch import Dispatcher
from worker.loops.notify_listener import listen_loop
from worker.loops.overdue import OverdueOpener
from worker.loops.reconcile import Reconciler
from worker.loops.start_rate_limiter import StartRateLimiter
from worker.temporal.activity_slots import ActivitySlots
from worker.temporal.workflow_client import ReceiptWorkflowClient
from workflows.messages import TASK_QUEUE
from workflows.receipt import ReceiptWorkflow

# About 130 KiB each. A workflow that is not cached replays its short history at its next task.
MAX_CACHED_WORKFLOWS = 500
# More than the slots of all purposes plus the activities that wait for another attempt in flight.
# The rest is for activities that find no slot and are retried.
ACTIVITIES_AT_ONCE = 320
# Each blocks a workflow task, of which a worker has as many.
LOCAL_ACTIVITIES_AT_ONCE = 100
# Temporal gives a task to a waiting poll at once. Without one it writes, reads and deletes the task
# in its database.
TASK_POLLS = 40
NEW_RUN_POLLS = 0.4  # share of polls for new runs; the others are for runs that are cached here
ACTIVITY_POLLS = 20
STICKY_SECONDS = timedelta(seconds=2)
# Part of the 10 s of the whole shutdown. The next worker sends an attempt again that is in flight
# when the process ends.
GRACE_SECONDS = timedelta(seconds=2)
HEARTBEAT_THROTTLE = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class WorkerDependencies:
    """The dependencies of a worker.

    `outage_seconds` 0: deadlines count also while ingest is down. `direct_database_url`: the server
    behind a pooler, to listen on.
    """

    database: Database
    sealer: Sealer
    mailer: Mailer
    transport: Transport
    rules: CallbackRules
    chance: RuntimeSources
    mail_from: str
    public_url: str
    outage_seconds: int
    dispatch_rate: int = 25
    reconcile_seconds: float = 5
    callback_limits: CallbackLimits = field(default_factory=CallbackLimits)
    owns_namespace: bool = False
    direct_database_url: str | None = None


@dataclass(frozen=True, slots=True)
class StoreServices:
    """The services that need only the store: the reconciler, late incidents, alert retries.

    `callback` is one of them because its attempts outlive Temporal's worker. `slots` are those of
    callbacks. `workflow_client` is attached to a connection later. Until then its calls fail as
    they do while Temporal is unavailable.
    """

    workflow_client: ReceiptWorkflowClient
    reconciler: Reconciler
    alerts: AlertActivities
    overdue: OverdueOpener
    callback: CallbackActivities
    slots: CallbackSlots
    every_seconds: float

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Run the services during the block, then end them in order.

        The task ends early if a service fails.
        """
        reconciling = asyncio.create_task(self.reconciler.run())
        alerting = asyncio.create_task(
            alert_retry_loop(self.alerts, every_seconds=self.every_seconds)
        )
        opening = asyncio.create_task(self.overdue.overdue_loop(every_seconds=self.every_seconds))
        whole = asyncio.create_task(_first_failure([reconciling, alerting, opening]))
        try:
            yield whole
        finally:
            self.reconciler.stop()
            alerting.cancel()
            opening.cancel()
            await asyncio.gather(reconciling, alerting, opening, whole, return_exceptions=True)
            await self.callback.end()


@dataclass(frozen=True, slots=True)
class BuiltWorker:
    """Temporal's worker and the dispatcher, built over the store services and not yet running.

    `listened_url` is the PostgreSQL that notifies of new outbox rows; None on SQLite, which is
    polled.
    """

    temporal: Worker
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
            whole = asyncio.create_task(_first_failure([stored, polled]))
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
        listening = []
        if self.listened_url is not None:
            listening.append(
                asyncio.create_task(listen_loop(self.listened_url, self.dispatcher.notify))
            )
        whole = asyncio.create_task(_first_failure([polling, dispatching, *listening]))
        try:
            yield whole
        finally:
            self.dispatcher.stop()
            for endless in listening:
                endless.cancel()
            await asyncio.gather(dispatching, return_exceptions=True)
            await self.temporal.shutdown()
            await asyncio.gather(polling, whole, *listening, return_exceptions=True)


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
        channels=alert_channels(dependencies),
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
        callback,
        slots,
        every_seconds=dependencies.reconcile_seconds,
    )


def alert_channels(dependencies: WorkerDependencies) -> Channels:
    """Every channel that sends alerts, one line for each."""
    writer = MailWriter(mail_from=dependencies.mail_from)
    return {
        AlertChannel.EMAIL: EmailChannel(dependencies.mailer, writer),
    }


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
    temporal = Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[ReceiptWorkflow],
        activities=[
            lifecycle.load_status,
            lifecycle.open_incident,
            lifecycle.sync_state,
            lifecycle.begin_repair,
            lifecycle.fail_overdue_repair,
            lifecycle.note_dropped_request,
            alerts.send_alerts,
            store_services.callback.send_callback,
        ],
        # The sandbox imports the workflow module for each run and is entered for each payload,
        # which takes up to half of the process's CPU time. Tests replay all histories in the
        # sandbox, and ban clocks and random numbers from workflow modules.
        workflow_runner=UnsandboxedWorkflowRunner(),
        interceptors=[ActivitySlots(dependencies.database, time.monotonic)],
        max_cached_workflows=MAX_CACHED_WORKFLOWS,
        max_concurrent_activities=ACTIVITIES_AT_ONCE,
        max_concurrent_local_activities=LOCAL_ACTIVITIES_AT_ONCE,
        max_concurrent_workflow_task_polls=TASK_POLLS,
        nonsticky_to_sticky_poll_ratio=NEW_RUN_POLLS,
        max_concurrent_activity_task_polls=ACTIVITY_POLLS,
        sticky_queue_schedule_to_start_timeout=STICKY_SECONDS,
        graceful_shutdown_timeout=GRACE_SECONDS,
        max_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
        default_heartbeat_throttle_interval=HEARTBEAT_THROTTLE,
    )
    database, listened_url = dependencies.database, None
    if database.dialect == "postgresql":
        listened_url = dependencies.direct_database_url or database.url
    return BuiltWorker(
        temporal=temporal,
        store_services=store_services,
        dispatcher=Dispatcher(
            dependencies.database.for_loops(),
            workflow_client,
            StartRateLimiter(dependencies.dispatch_rate),
            is_notified=listened_url is not None,
        ),
        listened_url=listened_url,
    )


async def _first_failure(tasks: list[asyncio.Task[None]]) -> None:
    """Return when one of the tasks ends, or raise its error."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
