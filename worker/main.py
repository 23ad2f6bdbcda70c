"""Composes one worker process from its parts, runs its loops, and ends them in order.

`run_worker` builds the parts from the settings; `build_worker` builds the same worker from given parts, which tests use. Decides
nothing about receipts. Called by `cli`.
"""

import asyncio
import gc
import os
import secrets
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog
from temporalio.client import Client
from temporalio.service import RPCError
from temporalio.worker import Worker

from activities.alerts import AlertActivities
from activities.callback import CallbackActivities
from activities.ledger import LedgerActivities
from activities.mail import MailWriter
from logs import configure_logging
from settings import Settings
from worker.configuration import engine_from, parts_from
from worker.connect import Engine, connect, quiet_runtime
from worker.dispatch import Dispatcher
from worker.gateway import Gateway
from worker.heartbeat import Heartbeat
from worker.listen import keep_listening
from worker.pace import Pace
from worker.parts import WorkerParts
from worker.purge import keep_purging
from worker.reconcile import Reconciler
from workflows.canary import CanaryWorkflow
from workflows.messages import TASK_QUEUE
from workflows.receipt import ReceiptWorkflow

MAX_CACHED_WORKFLOWS = 1_000
ACTIVITIES_AT_ONCE = 100
STICKY_SECONDS = timedelta(seconds=2)
# Within the 10 s in which everything ends; an attempt still in flight then is sent again by the next worker.
GRACE_SECONDS = timedelta(seconds=2)
HEARTBEAT_THROTTLE = timedelta(seconds=2)
CONNECT_AGAIN_SECONDS = 1.0
# Without it a process that used the Temporal client may crash while the interpreter exits (engine.md).
DROP_CLIENT_SECONDS = 0.3

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class BuiltWorker:
    """A worker that is not running yet: Temporal's own, and the loops beside it.

    `listened_url` is the PostgreSQL that says when there is something to dispatch; None on SQLite, which is polled.
    """

    temporal: Worker
    gateway: Gateway
    dispatcher: Dispatcher
    reconciler: Reconciler
    listened_url: str | None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[asyncio.Task[None]]:
        """The worker at work while the block runs, then ended in order; the task ends early when a part of it fails."""
        polling = asyncio.create_task(self.temporal.run())
        loops = [asyncio.create_task(self.dispatcher.run()), asyncio.create_task(self.reconciler.run())]
        if self.listened_url is not None:
            loops.append(asyncio.create_task(keep_listening(self.listened_url, self.dispatcher.wake)))
        whole = asyncio.create_task(_first_failure([polling, *loops]))
        try:
            yield whole
        finally:
            self.dispatcher.stop()
            self.reconciler.stop()
            await asyncio.gather(*loops[:2], return_exceptions=True)
            for listening in loops[2:]:
                listening.cancel()
            await self.temporal.shutdown()
            await asyncio.gather(polling, whole, *loops[2:], return_exceptions=True)


def build_worker(client: Client, parts: WorkerParts) -> BuiltWorker:
    """A worker over the given client and parts."""
    gateway = Gateway(client, public_url=parts.public_url, owns_namespace=parts.owns_namespace)
    ledger = LedgerActivities(parts.database, holds_when_ingest_is_down=parts.holds_when_ingest_is_down)
    writer = MailWriter(mail_from=parts.mail_from, public_url=parts.public_url)
    alerts = AlertActivities(parts.database, writer=writer, mailer=parts.mailer, now=parts.chance.now)
    callback = CallbackActivities(
        parts.database, sealer=parts.sealer, transport=parts.transport, rules=parts.rules, chance=parts.chance
    )
    temporal = Worker(
        client,
        task_queue=TASK_QUEUE,
        workflows=[ReceiptWorkflow, CanaryWorkflow],
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
        max_cached_workflows=MAX_CACHED_WORKFLOWS,
        max_concurrent_activities=ACTIVITIES_AT_ONCE,
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
            alerts,
            every_seconds=parts.reconcile_seconds,
            holds_when_ingest_is_down=parts.holds_when_ingest_is_down,
        ),
        listened_url=listened_url,
    )


def run_worker(settings: Settings) -> int:
    """Run a worker until SIGINT or SIGTERM; its exit code, 1 when it must be started again."""
    configure_logging(settings.log_level, settings.log_format, role="worker")
    try:
        return asyncio.run(_run(settings))
    except KeyboardInterrupt:
        return 0


async def _run(settings: Settings) -> int:
    stopping = _stop_on_signals()
    identity = f"worker-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    engine, parts = engine_from(settings, identity=identity), parts_from(settings)
    heartbeat = Heartbeat(parts.database, identity=identity, started_at=datetime.now(UTC))
    beating = asyncio.create_task(heartbeat.keep_beating())
    try:
        client = await _unless(stopping, _connect(engine, parts))
        if client is None:
            return 0
        return await _work(client, parts, heartbeat, stopping)
    finally:
        beating.cancel()
        await asyncio.gather(beating, return_exceptions=True)
        await parts.database.close()
        client = None
        gc.collect()
        await asyncio.sleep(DROP_CLIENT_SECONDS)
        log.info("worker_stopped")


async def _work(client: Client, parts: WorkerParts, heartbeat: Heartbeat, stopping: asyncio.Event) -> int:
    built = build_worker(client, parts)
    loops: list[Coroutine[object, object, None]] = [
        heartbeat.keep_looking(built.gateway),
        heartbeat.keep_running_canaries(built.gateway),
        keep_purging(parts.database),
    ]
    tune_garbage_collection()
    async with built.running() as whole:
        beside = [asyncio.create_task(loop) for loop in loops]
        log.info("worker_ready", namespace=client.namespace, task_queue=TASK_QUEUE)
        ended, _ = await asyncio.wait([whole, *beside, asyncio.create_task(stopping.wait())], return_when=asyncio.FIRST_COMPLETED)
        code = 0 if stopping.is_set() else 1
        for task in ended:
            if error := task.exception():
                log.error("worker_failed", error=type(error).__name__, exc_info=error)
                code = 1
        for task in beside:
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
    return code


async def _first_failure(tasks: list[asyncio.Task[None]]) -> None:
    """Return when one of them ends, or fail as it did."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    for task in done:
        task.result()


async def _connect(engine: Engine, parts: WorkerParts) -> Client:
    """The client, once the engine answers and its namespace fits."""
    runtime, is_told = quiet_runtime(), False
    while True:
        try:
            client = await connect(engine, runtime)
            gateway = Gateway(client, public_url=parts.public_url, owns_namespace=parts.owns_namespace)
            await gateway.prepare_namespace()
        except (RuntimeError, RPCError) as error:
            if not is_told:
                is_told = True
                log.warning("engine_not_ready", target=engine.target, error=type(error).__name__, reason=str(error)[:300])
            await asyncio.sleep(CONNECT_AGAIN_SECONDS)
        else:
            return client


async def _unless(stopping: asyncio.Event, work: Coroutine[object, object, Client]) -> Client | None:
    """What the work returns; None when told to stop before."""
    task = asyncio.create_task(work)
    stop = asyncio.create_task(stopping.wait())
    await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
    stop.cancel()
    if task.done():
        return task.result()
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return None


def _stop_on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    stop: Callable[[], None] = stopping.set
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return stopping


def tune_garbage_collection() -> None:
    """Full collections stop the process for up to 100 ms: what start-up made is frozen, and the rest is left alone longer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)
