"""Connects a worker process to Temporal and runs Temporal's worker, again and again.

The loop does not end while Temporal is unavailable, refuses this worker, or belongs to another
installation. The store services of the process run on meanwhile. Only dead polls end the process,
because a new process has new ones. Callback attempts belong to the process, so a restart of
Temporal's worker does not affect them. Run by `worker.main`.
"""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import Unavailable
from domain.garbage_collection import tune_garbage_collection
from domain.temporal.problems import ProblemKind
from worker.build import WorkerDependencies, build_worker
from worker.health.canary import build_canary_worker, run_canary
from worker.health.heartbeat import WorkerHeartbeat
from worker.health.self_check import SelfCheck
from worker.health.thresholds import PollingDied
from worker.membership import Membership
from worker.store_services import StoreServices
from worker.temporal.connect import prepare_namespace, read_namespace_id
from worker.temporal.problems import FIXES, Problem, TemporalProblem
from worker.temporal.workflow_client import ReceiptWorkflowClient
from workflows.messages import TASK_QUEUE

RECONNECT_SECONDS = 1.0
# The pause after Temporal's worker ended by itself. It doubles each time, so that a worker that
# fails at once costs little.
RESTART_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
STABLE_AFTER_SECONDS = 60.0
CHECK_SECONDS = 5.0
PREPARE_EVERY_CHECKS = 12
# When Temporal gets another database, the workers detect it one after the other. So a conflict must
# be seen several times.
MAX_CONFLICTS = 3
CANARY_WORKER_RETRY_SECONDS = 60.0
END_SECONDS = 10.0  # after a failure; the supervisor kills a process that is stopped
# The limit for Temporal's worker to end in a process that runs on, since its polls may never be
# answered.
SHUTDOWN_SECONDS = 60.0
# The limit after either, while an attempt is in flight or being recorded. Longer than both may
# take.
LAST_ATTEMPTS_SECONDS = 660.0
CHECK_ATTEMPTS_SECONDS = 0.2

log = structlog.get_logger(__name__)


class TemporalConnectionLoop:
    """The connection loop of one process.

    `connect` returns a client or raises `TemporalProblem`.
    """

    def __init__(
        self,
        connect: Callable[[], Awaitable[Client]],
        dependencies: WorkerDependencies,
        store_services: StoreServices,
        heartbeat: WorkerHeartbeat,
    ) -> None:
        self._connect = connect
        self._dependencies = dependencies
        self._store_services = store_services
        self._heartbeat = heartbeat
        self._membership = Membership(dependencies.database, heartbeat)

    async def run(self) -> None:
        """Connect and run Temporal's worker, for ever.

        Raises:
            PollingDied: this process does no work while Temporal answers.
        """
        pause_seconds, loop = RESTART_SECONDS, asyncio.get_running_loop()
        while True:
            client, began_at = await self._connect_and_join(), loop.time()
            try:
                problem = await self._work(client)
            finally:
                self._store_services.workflow_client.attach(None)
                del client
            self._heartbeat.leave(problem)
            pause_seconds = (
                RESTART_SECONDS
                if loop.time() - began_at > STABLE_AFTER_SECONDS
                else pause_seconds * 2
            )
            pause_seconds = min(pause_seconds, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause_seconds)

    async def _connect_and_join(self) -> Client:
        """Retry until connected to a namespace in which this process may work."""
        while True:
            try:
                client = await self._connect()
                await self._join(client)
            except TemporalProblem as error:
                self._heartbeat.leave(error.problem)
            except Unavailable:
                pass  # logged by the loops that do more with the store
            except Exception as error:
                # The edge of this loop: no error of Temporal ends the store services.
                log.exception("temporal_connection_failed")
                self._heartbeat.leave(_unexpected_problem(error))
            else:
                return client
            await asyncio.sleep(RECONNECT_SECONDS)

    async def _join(self, client: Client) -> None:
        prepared = await prepare_namespace(client, is_ours=self._dependencies.owns_namespace)
        unchecked = await self._membership.join(client, prepared.namespace_id)
        # Not earlier: the running reconciler would start workflows in another installation's
        # namespace.
        self._store_services.workflow_client.attach(client, prepared.registered)
        self._heartbeat.report.set_missing("namespace", prepared.missing)
        self._heartbeat.report.set_missing("membership", unchecked)

    async def _work(self, client: Client) -> Problem | None:
        """Run Temporal's worker until a part of it ends. Returns the problem to report.

        Raises:
            PollingDied: this process does no work while Temporal answers.
        """
        built = build_worker(client, self._dependencies, self._store_services)
        self._heartbeat.report.include(self._store_services.slots.counts)
        tune_garbage_collection()
        async with built.running_temporal() as temporal_task:
            tasks = [
                asyncio.create_task(
                    self._heartbeat.self_check.poll_check_loop(built.workflow_client)
                ),
                asyncio.create_task(
                    canary_loop(client, self._heartbeat.self_check, built.workflow_client)
                ),
                asyncio.create_task(self._check_namespace_loop(client)),
            ]
            log.info("worker_ready", namespace=client.namespace, task_queue=TASK_QUEUE)
            try:
                ended, _ = await asyncio.wait(
                    [temporal_task, *tasks], return_when=asyncio.FIRST_COMPLETED
                )
                errors = [task.exception() for task in ended]
                seconds = (
                    END_SECONDS
                    if any(isinstance(error, PollingDied) for error in errors)
                    else SHUTDOWN_SECONDS
                )
                ending = end_soon(1, self._store_services.callback.has_attempts, seconds=seconds)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
        return _problem_from(errors, ending)

    async def _check_namespace_loop(self, client: Client) -> None:
        """Check every 5 s that this process may still work in the namespace.

        Prepare the namespace again once a minute.

        Raises:
            TemporalProblem: it may not.
            RPCError: the namespace is gone.
        """
        conflicts, checks = 0, 0
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            checks += 1
            try:
                if checks % PREPARE_EVERY_CHECKS == 0:
                    await self._join(client)
                else:
                    unchecked = await self._membership.join(client, await read_namespace_id(client))
                    self._heartbeat.report.set_missing("membership", unchecked)
                conflicts = 0
                await self._membership.find_foreign_workers(client)
            except Unavailable:
                pass
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    raise  # the namespace is gone, and is registered at the next connection
            except TemporalProblem as error:
                conflicts += error.problem.kind is ProblemKind.STORE_ELSEWHERE
                if error.problem.kind is ProblemKind.NAMESPACE_TAKEN or conflicts == MAX_CONFLICTS:
                    raise


async def canary_loop(
    client: Client, self_check: SelfCheck, workflow_client: ReceiptWorkflowClient
) -> None:
    """Run canaries and the Temporal worker that executes them, for ever.

    Retry where Temporal refuses that worker.

    Raises:
        PollingDied: see `SelfCheck.canary_loop`.
    """
    while True:
        worker_task = asyncio.create_task(build_canary_worker(client).run())
        canary_task = asyncio.create_task(
            self_check.canary_loop(partial(run_canary, client), workflow_client)
        )
        try:
            await asyncio.wait([worker_task, canary_task], return_when=asyncio.FIRST_COMPLETED)
            if canary_task.done():
                canary_task.result()
            # It ends only when Temporal refuses its polls.
            self_check.report_canary_unavailable(
                f"its worker ended: {str(worker_task.exception())[:200]}"
            )
        finally:
            worker_task.cancel()
            canary_task.cancel()
            await asyncio.gather(worker_task, canary_task, return_exceptions=True)
        await asyncio.sleep(CANARY_WORKER_RETRY_SECONDS)


def end_soon(
    code: int, has_attempts: Callable[[], bool], *, seconds: float = END_SECONDS
) -> threading.Event:
    """End the process after `seconds` unless the returned event is set.

    Otherwise unanswered polls would block the shutdown.

    While callback attempts run, the process ends up to `LAST_ATTEMPTS_SECONDS` later, because it
    alone knows their outcomes. A thread ends it, so that a blocked event loop cannot prevent it.
    """
    is_cancelled = threading.Event()
    threading.Thread(
        target=_end_unless, args=(is_cancelled, code, has_attempts, seconds), daemon=True
    ).start()
    return is_cancelled


def _end_unless(
    is_cancelled: threading.Event, code: int, has_attempts: Callable[[], bool], seconds: float
) -> None:
    if is_cancelled.wait(seconds):
        return
    last = time.monotonic() + LAST_ATTEMPTS_SECONDS
    while has_attempts() and time.monotonic() < last:
        if is_cancelled.wait(CHECK_ATTEMPTS_SECONDS):
            return
    os._exit(code)


def _problem_from(errors: list[BaseException | None], ending: threading.Event) -> Problem | None:
    """The problem that ended Temporal's worker. The process runs on unless its own polls died.

    Raises:
        PollingDied: this process does no work while Temporal answers.
    """
    for error in errors:
        if isinstance(error, PollingDied):
            raise error
    ending.set()
    error = next((error for error in errors if error is not None), None)
    if isinstance(error, TemporalProblem):
        return error.problem
    log.error("temporal_worker_ended", error=type(error).__name__, exc_info=error)
    return _unexpected_problem(error)


def _unexpected_problem(error: BaseException | None) -> Problem:
    text = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return Problem(
        ProblemKind.FAILED, f"the work for Temporal ended ({text})", FIXES[ProblemKind.FAILED]
    )
