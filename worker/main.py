"""Composes one worker process from the settings, runs its loops, and ends them in order.

Loops that need only the store start at once. `worker.connection_loop` runs beside them and works
while Temporal is available. Called by `cli`, which passes the watchdog of the event loop.
"""

import asyncio
import gc
import os
import random
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from functools import partial

import structlog
from temporalio.client import Client
from temporalio.runtime import Runtime
from uvicorn.loops.auto import auto_loop_factory

from activities.alerts.all_channels import build_channels
from activities.alerts.channels import Channels
from activities.callback.send import CallbackRules, RuntimeSources
from activities.callback.transport import exchange
from activities.slots import CallbackLimits
from activities.sources.transport import get_page
from config.logging import configure_logging
from config.secret_files import read_certificate
from config.settings import Settings
from domain.temporal.problems import ProblemKind
from egress.provider_api import ProviderUrls
from egress.transport import bundled_authorities
from store.crypto.encryption import Sealer
from store.crypto.process_secrets import refuse_unknown_secret
from store.crypto.root_secret import SecretUnknown
from store.db.database import Database
from worker.build import WorkerDependencies, build_store_services
from worker.connection_loop import TemporalConnectionLoop, end_soon
from worker.health.heartbeat import WorkerHeartbeat
from worker.health.thresholds import DEFAULT_THRESHOLDS, HealthThresholds
from worker.loops.outage_credit import outage_credit_loop
from worker.loops.retention import erasure_loop, retention_loop
from worker.loops.search_index import search_index_loop
from worker.store_services import StoreServices
from worker.temporal.connect import TemporalEndpoint, connect, quiet_runtime
from worker.temporal.problems import FIXES, Problem, TemporalProblem
from worker.temporal.receipt_worker import GRACE_SECONDS

COLLECT_SECONDS = 10.0
# Without this pause, one in ten processes that used the Temporal client crashes while the
# interpreter exits.
DROP_CLIENT_SECONDS = 0.3
# Fits into the activity's start-to-close timeout.
LONGEST_CALLBACK_SECONDS = 30

WatchedLoop = Callable[[], AbstractContextManager[None]]

log = structlog.get_logger(__name__)


def run_worker(
    settings: Settings,
    *,
    watched_loop: WatchedLoop,
    thresholds: HealthThresholds = DEFAULT_THRESHOLDS,
) -> int:
    """Run a worker until SIGINT or SIGTERM.

    Returns its exit code: 1 means that it must be restarted. `watched_loop` is a context manager
    that is entered on the event loop.
    """
    configure_logging(settings.log_level, settings.log_format, role="worker")
    try:
        with asyncio.Runner(loop_factory=auto_loop_factory()) as runner:
            return runner.run(_run(settings, watched_loop, thresholds))
    except KeyboardInterrupt:
        return 0


def build_dependencies(settings: Settings) -> WorkerDependencies:
    """Build the dependencies of a real worker.

    Raises:
        SettingsError, ValueError: a setting is missing or wrong.
    """
    direct_url = settings.database_direct_url
    timeout_seconds = min(settings.callback_timeout_seconds, LONGEST_CALLBACK_SECONDS)
    authorities = bundled_authorities()
    return WorkerDependencies(
        database=Database.open(settings.database_url_or_default, writes_on_loop=True),
        sealer=Sealer(settings.read_secret_key(), settings.read_previous_secret_key()),
        channels=alert_channels(settings),
        transport=partial(
            exchange,
            allow=settings.egress_allow,
            allow_test=settings.egress_allow_test,
            timeout_seconds=timeout_seconds,
            ssl_context=authorities,
        ),
        get_page=partial(
            get_page,
            allow=settings.egress_allow,
            allow_test=settings.egress_allow_test,
            ssl_context=authorities,
        ),
        provider_urls=ProviderUrls.given(
            stripe=settings.stripe_api_url, shopify=settings.shopify_api_url
        ),
        rules=CallbackRules(
            schedule=settings.callback_schedule_seconds, jitter=settings.callback_jitter
        ),
        chance=RuntimeSources(draw=random.random, nonce=lambda: secrets.token_hex(16)),
        public_url=settings.public_url_or_default,
        outage_seconds=settings.outage_seconds,
        dispatch_rate=settings.dispatch_rate,
        reconcile_seconds=settings.reconcile_seconds,
        callback_limits=CallbackLimits(
            per_project=settings.callbacks_per_project, per_host=settings.callbacks_per_host
        ),
        owns_namespace=settings.temporal_address is None,
        direct_database_url=None if direct_url is None else direct_url.get_secret_value(),
    )


def alert_channels(settings: Settings) -> Channels:
    """Every channel that sends alerts, with what its sender needs.

    Raises:
        SettingsError, ValueError: a setting is wrong.
    """
    return build_channels(
        smtp_url=settings.smtp_url_or_default,
        mail_from=settings.mail_from,
        egress_allow=settings.egress_allow,
        pagerduty_url=settings.pagerduty_url,
    )


def temporal_endpoint(settings: Settings, *, identity: str) -> TemporalEndpoint:
    """The address of Temporal and how to connect to it.

    Raises:
        OSError: a certificate cannot be read.
    """
    certificates = (
        settings.temporal_tls_ca_cert,
        settings.temporal_tls_client_cert,
        settings.temporal_tls_client_key,
    )
    ca, certificate, key = (
        None if path is None else read_certificate(path) for path in certificates
    )
    return TemporalEndpoint(
        target=settings.temporal_target,
        namespace=settings.temporal_namespace,
        identity=identity,
        tls=settings.uses_temporal_tls,
        server_name=settings.temporal_tls_server_name,
        api_key=settings.temporal_api_key.get_secret_value() if settings.temporal_api_key else None,
        ca_certificate=ca,
        client_certificate=certificate,
        client_key=key,
    )


async def _run(settings: Settings, watched_loop: WatchedLoop, thresholds: HealthThresholds) -> int:
    stopping = _stop_on_signals()
    identity = f"worker-{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"
    dependencies = build_dependencies(settings)
    secrets_known = tuple(root.fingerprint for root in dependencies.sealer.roots)
    heartbeat = WorkerHeartbeat(
        dependencies.database,
        identity=identity,
        started_at=datetime.now(UTC),
        thresholds=thresholds,
        secrets_known=secrets_known,
    )
    heartbeat_task = asyncio.create_task(heartbeat.heartbeat_loop())
    # needs no Temporal
    credit_task = asyncio.create_task(outage_credit_loop(dependencies.database.for_loops()))
    try:
        with watched_loop():
            await refuse_unknown_secret(dependencies.database, dependencies.sealer)
            store_services = build_store_services(dependencies, identity=identity)
            connect_now = partial(_connect, settings, identity, quiet_runtime())
            return await _work(
                connect_now, dependencies, store_services, heartbeat, heartbeat_task, stopping
            )
    except SecretUnknown as error:
        log.error("secret_key_unknown", reason=str(error))
        return 1
    finally:
        heartbeat_task.cancel()
        credit_task.cancel()
        await asyncio.gather(heartbeat_task, credit_task, return_exceptions=True)
        await heartbeat.end()
        await dependencies.database.close()
        gc.collect()
        await asyncio.sleep(DROP_CLIENT_SECONDS)
        log.info("worker_stopped")


async def _work(
    connect_now: Callable[[], Awaitable[Client]],
    dependencies: WorkerDependencies,
    store_services: StoreServices,
    heartbeat: WorkerHeartbeat,
    heartbeat_task: asyncio.Task[None],
    stopping: asyncio.Event,
) -> int:
    """Run all loops until one of them ends or a signal arrives. Returns the exit code."""
    loops: list[Coroutine[object, object, None]] = [
        TemporalConnectionLoop(connect_now, dependencies, store_services, heartbeat).run(),
        retention_loop(dependencies.database.for_loops()),
        erasure_loop(dependencies.database.for_loops()),
        search_index_loop(dependencies.database.for_loops()),
        garbage_collection_loop(),
    ]
    async with store_services.running() as store_task:
        tasks = [asyncio.create_task(loop) for loop in loops]
        stop = asyncio.create_task(stopping.wait())
        ended, _ = await asyncio.wait(
            [store_task, heartbeat_task, stop, *tasks], return_when=asyncio.FIRST_COMPLETED
        )
        code = 0 if stopping.is_set() else 1
        for task in ended:
            if error := task.exception():
                log.error("worker_failed", error=type(error).__name__, exc_info=error)
                code = 1
        if code:
            end_soon(code, store_services.callback.has_attempts)
        stop.cancel()
        # In parallel to the end of Temporal's worker, which may wait for them.
        attempts = asyncio.create_task(
            store_services.callback.end(grace_seconds=GRACE_SECONDS.total_seconds())
        )
        for task in tasks:
            task.cancel()
        await asyncio.gather(attempts, *tasks, return_exceptions=True)
    return code


async def _connect(settings: Settings, identity: str, runtime: Runtime) -> Client:
    """Connect with certificates that are read each time, so that renewed ones are used.

    Raises:
        TemporalProblem.
    """
    try:
        return await connect(temporal_endpoint(settings, identity=identity), runtime)
    except OSError as error:
        detail = f"a file of TEMPORAL_TLS_* cannot be read ({type(error).__name__})"
        raise TemporalProblem(Problem(ProblemKind.TLS, detail, FIXES[ProblemKind.TLS])) from error


def _stop_on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    stop: Callable[[], None] = stopping.set
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop)
    return stopping


async def garbage_collection_loop() -> None:
    """Run a full garbage collection every 10 s, for ever.

    Evicted workflows are reference cycles. By the thresholds alone they would accumulate for hours.
    """
    while True:
        await asyncio.sleep(COLLECT_SECONDS)
        gc.collect()
