"""What a worker is built from, and the worker that is built: Temporal's own, dispatcher and reconciler, run and ended together.

Reads no settings, so that a test builds the same worker from its own parts. Called by `worker.main`.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial

from temporalio.client import Client
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

from activities.alerts import AlertActivities, Mailer
from activities.callback import CallbackActivities, CallbackRules, Chance, Transport
from activities.ledger import LedgerActivities
from activities.mail import MailWriter
from activities.places import CallbackLimits, Places
from store.database import Database
from store.sealing import Sealer
from worker.alerting import keep_alerting
from worker.dispatch import Dispatcher
from worker.gateway import Gateway
from worker.listen import keep_listening
from worker.pace import Pace
from worker.purposes import Purposes
from worker.reconcile import Reconciler
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
# Within the 10 s in which everything ends; an attempt still in flight then is sent again by the next worker.
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
    chance: Chance
    mail_from: str
    public_url: str
    outage_seconds: int
    dispatch_rate: int = 25
    reconcile_seconds: float = 5
    callback_limits: CallbackLimits = field(default_factory=CallbackLimits)
    owns_namespace: bool = False


@dataclass(frozen=True, slots=True)
class BuiltWorker:
    """A worker that is not running yet: Temporal's own, and the loops beside it.

    `listened_url` is the PostgreSQL that says when there is something to dispatch; None on SQLite, which is polled.
    """

    temporal: Worker
    gateway: Gateway
    dispatcher: Dispatcher
    reconciler: Reconciler
    alerting: Callable[[], Coroutine[object, object, None]]
    places: Places
    listened_url: str | None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """The worker at work while the block runs, then ended in order; the task ends early when a part of it fails."""
        polling = asyncio.create_task(self.temporal.run())
        loops = [asyncio.create_task(self.dispatcher.run()), asyncio.create_task(self.reconciler.run())]
        loops.append(asyncio.create_task(self.alerting()))
        if self.listened_url is not None:
            loops.append(asyncio.create_task(keep_listening(self.listened_url, self.dispatcher.wake)))
        whole = asyncio.create_task(_first_failure([polling, *loops]))
        try:
            yield whole
        finally:
            self.dispatcher.stop()
            self.reconciler.stop()
            for endless in loops[2:]:
                endless.cancel()
            await asyncio.gather(*loops[:2], return_exceptions=True)
            await self.temporal.shutdown()
            await asyncio.gather(polling, whole, *loops[2:], return_exceptions=True)


def build_worker(client: Client, parts: WorkerParts) -> BuiltWorker:
    """A worker over the given client and parts."""
    gateway = Gateway(client, public_url=parts.public_url, owns_namespace=parts.owns_namespace)
    ledger = LedgerActivities(parts.database, sealer=parts.sealer, outage_seconds=parts.outage_seconds)
    writer = MailWriter(mail_from=parts.mail_from, public_url=parts.public_url)
    alerts = AlertActivities(parts.database, writer=writer, mailer=parts.mailer)
    places = Places(parts.callback_limits, time.monotonic)
    callback = CallbackActivities(
        parts.database,
        sealer=parts.sealer,
        transport=parts.transport,
        rules=parts.rules,
        chance=parts.chance,
        places=places,
        # The same name as in its heartbeats.
        holder=client.identity,
    )
    temporal = Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[ReceiptWorkflow],
        activities=[
            ledger.load_standing,
            ledger.open_incident,
            ledger.heed,
            ledger.begin_repair,
            ledger.fail_overdue_repair,
            ledger.note_dropped_request,
            alerts.send_alerts,
            callback.send_callback,
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
        gateway=gateway,
        dispatcher=Dispatcher(parts.database, gateway, Pace(parts.dispatch_rate), is_notified=listened_url is not None),
        reconciler=Reconciler(
            parts.database,
            gateway,
            every_seconds=parts.reconcile_seconds,
            outage_seconds=parts.outage_seconds,
        ),
        alerting=partial(keep_alerting, alerts, every_seconds=parts.reconcile_seconds),
        places=places,
        listened_url=listened_url,
    )


async def _first_failure(tasks: list[asyncio.Task[None]]) -> None:
    """Return when one of them ends, or fail as it did."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()
