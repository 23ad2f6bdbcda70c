"""What a worker is built from, and what is built: a part that needs the store alone, and one that works for Temporal.

The first runs as long as the process, the second while there is a Temporal to work for. Reads no settings, so that a test builds
the same worker from its own parts. Called by `worker.main` and `worker.connection_loop`.
"""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.alerts.delivery import Mailer
from activities.alerts.email_message import MailWriter
from activities.alerts.send import AlertActivities
from activities.callback.send import CallbackActivities, CallbackRules, RuntimeSources, Transport
from activities.lifecycle import LifecycleActivities
from activities.slots import CallbackLimits, CallbackSlots
from store.crypto.encryption import Sealer
from store.db.database import Database
from worker.loops.alert_retries import alert_retry_loop
from worker.loops.dispatch import Dispatcher
from worker.loops.notify_listener import listen_loop
from worker.loops.overdue import OverdueOpener
from worker.loops.reconcile import Reconciler
from worker.loops.start_rate_limiter import StartRateLimiter
from worker.temporal.activity_slots import Purposes
from worker.temporal.workflow_client import ReceiptWorkflowClient
from workflows.messages import TASK_QUEUE
from workflows.receipt import ReceiptWorkflow

# Some 130 KiB each; one that is not cached costs a replay of its short history when its time comes.
MAX_CACHED_WORKFLOWS = 500
# More than the places of all purposes together, and than the runs that wait for a callback in flight beside its own: what is left
# is for those that find no place and come back.
ACTIVITIES_AT_ONCE = 320
# Each waits with its workflow's task, of which a worker has as many.
LOCAL_ACTIVITIES_AT_ONCE = 100
# A task that finds a poll waiting is handed over at once; else the server writes it down, reads it again and deletes it.
TASK_POLLS = 40
NEW_RUN_POLLS = 0.4  # of these; the others ask for the tasks of runs that are cached here
ACTIVITY_POLLS = 20
STICKY_SECONDS = timedelta(seconds=2)
# Within the 10 s in which everything ends. An attempt still in flight when the process ends is sent again by the next worker.
GRACE_SECONDS = timedelta(seconds=2)
HEARTBEAT_THROTTLE = timedelta(seconds=2)


@dataclass(frozen=True, slots=True)
class WorkerParts:
    """What a worker is built from. `outage_seconds` 0: no deadline waits while ingest is silent."""

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


@dataclass(frozen=True, slots=True)
class StorePart:
    """What needs the store alone, and works while Temporal is away: late incidents, unsent alerts, what the reconciler finds.

    `callback` is here since its attempts outlive Temporal's worker; they end with this part. `places` are its own.
    `gateway` is attached to a client when there is one; until then its calls fail as they do while Temporal is away.
    """

    gateway: ReceiptWorkflowClient
    reconciler: Reconciler
    alerts: AlertActivities
    overdue: OverdueOpener
    callback: CallbackActivities
    places: CallbackSlots
    every_seconds: float

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """At work while the block runs, then ended in order; the task ends early when a part of it fails."""
        reconciling = asyncio.create_task(self.reconciler.run())
        alerting = asyncio.create_task(alert_retry_loop(self.alerts, every_seconds=self.every_seconds))
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
    """What works for Temporal and is not running yet: Temporal's own worker and the dispatcher, over the part of the store.

    `listened_url` is the PostgreSQL that says when there is something to dispatch; None on SQLite, which is polled.
    """

    temporal: Worker
    store_part: StorePart
    dispatcher: Dispatcher
    listened_url: str | None

    @property
    def gateway(self) -> ReceiptWorkflowClient:
        """What both parts say to Temporal."""
        return self.store_part.gateway

    @property
    def reconciler(self) -> Reconciler:
        """The reconciler, which belongs to the part of the store."""
        return self.store_part.reconciler

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """Both parts at work while the block runs, then ended in order; the task ends early when a part of them fails."""
        async with self.store_part.running() as stored, self.running_temporal() as polled:
            whole = asyncio.create_task(_first_failure([stored, polled]))
            try:
                yield whole
            finally:
                whole.cancel()
                await asyncio.gather(whole, return_exceptions=True)

    @asynccontextmanager
    async def running_temporal(self) -> AsyncIterator[asyncio.Task[None]]:
        """The part that works for Temporal, the same way."""
        polling, dispatching = asyncio.create_task(self.temporal.run()), asyncio.create_task(self.dispatcher.run())
        listening = []
        if self.listened_url is not None:
            listening.append(asyncio.create_task(listen_loop(self.listened_url, self.dispatcher.wake)))
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


def build_store_part(parts: WorkerParts, *, identity: str) -> StorePart:
    """What needs the store alone, with a gateway that has no client yet. `identity`: the process, as its heartbeat names it."""
    gateway = ReceiptWorkflowClient(None, public_url=parts.public_url, owns_namespace=parts.owns_namespace)
    writer = MailWriter(mail_from=parts.mail_from, public_url=parts.public_url)
    alerts = AlertActivities(parts.database, writer=writer, mailer=parts.mailer)
    reconciler = Reconciler(
        parts.database.for_loops(),
        gateway,
        every_seconds=parts.reconcile_seconds,
        outage_seconds=parts.outage_seconds,
    )
    overdue = OverdueOpener(parts.database.for_loops(), outage_seconds=parts.outage_seconds)
    places = CallbackSlots(parts.callback_limits, time.monotonic)
    callback = CallbackActivities(
        parts.database,
        sealer=parts.sealer,
        transport=parts.transport,
        rules=parts.rules,
        sources=parts.chance,
        slots=places,
        holder=identity,
    )
    return StorePart(gateway, reconciler, alerts, overdue, callback, places, every_seconds=parts.reconcile_seconds)


def build_worker(client: Client, parts: WorkerParts, store_part: StorePart | None = None) -> BuiltWorker:
    """A worker over the given client and parts; `store_part` is the one that runs already, attached to that client."""
    if store_part is None:
        store_part = build_store_part(parts, identity=client.identity)
        store_part.gateway.attach(client)
    gateway, alerts = store_part.gateway, store_part.alerts
    ledger = LifecycleActivities(parts.database, sealer=parts.sealer, outage_seconds=parts.outage_seconds)
    temporal = Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[ReceiptWorkflow],
        activities=[
            ledger.load_status,
            ledger.open_incident,
            ledger.sync_state,
            ledger.begin_repair,
            ledger.fail_overdue_repair,
            ledger.note_dropped_request,
            alerts.send_alerts,
            store_part.callback.send_callback,
        ],
        # The sandbox imports the workflow's file anew for each run and is entered for each payload: a third to a half of this
        # process's work. The tests replay every life inside it, and ban clocks and chance from the files.
        workflow_runner=UnsandboxedWorkflowRunner(),
        interceptors=[Purposes(parts.database, time.monotonic)],
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
    listened_url = parts.database.url if parts.database.dialect == "postgresql" else None
    return BuiltWorker(
        temporal=temporal,
        store_part=store_part,
        dispatcher=Dispatcher(
            parts.database.for_loops(), gateway, StartRateLimiter(parts.dispatch_rate), is_notified=listened_url is not None
        ),
        listened_url=listened_url,
    )


async def _first_failure(tasks: list[asyncio.Task[None]]) -> None:
    """Return when one of them ends, or fail as it did."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
