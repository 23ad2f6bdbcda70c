"""What one process does for Temporal: connects, joins its namespace, works, and begins again when that ends.

It never ends by itself, so that what needs the store alone goes on for as long as Temporal is away, refuses us, or is another
installation's. Only a process whose polls are dead ends: a new process has new ones. Attempts of callbacks belong to the process,
so that work that ends and begins again leaves them alone. Run by `worker.main`.
"""

import asyncio
import gc
import os
import threading
import time
from collections.abc import Awaitable, Callable
from functools import partial

import structlog
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import Unavailable
from domain.temporal_problems import ProblemKind
from worker.build import StorePart, WorkerParts, build_worker
from worker.health.canary import build_canary_worker, run_canary
from worker.health.heartbeat import Heartbeat, PollingDied
from worker.membership import Membership
from worker.temporal.connect import prepare_namespace, read_namespace_id
from worker.temporal.problems import FIXES, Problem, TemporalProblem
from worker.temporal.workflow_client import ReceiptWorkflowClient
from workflows.messages import TASK_QUEUE

CONNECT_AGAIN_SECONDS = 1.0
# After work that ended by itself; longer each time, so that what fails at once costs little.
WORK_AGAIN_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 30.0
WORKED_WELL_SECONDS = 60.0
CHECK_SECONDS = 5.0
PREPARE_EVERY_CHECKS = 12
# Workers whose Temporal got another database find that out one after the other.
DOUBTS = 3
CANARY_AGAIN_SECONDS = 60.0
END_SECONDS = 10.0  # for work that failed; a process that is stopped is killed by its supervisor
# For Temporal's worker to end in a process that goes on: its polls may never be answered.
WIND_DOWN_SECONDS = 60.0
# After either, while an attempt is in flight or being recorded: longer than both may take.
LAST_ATTEMPTS_SECONDS = 660.0
LOOK_AGAIN_SECONDS = 0.2

log = structlog.get_logger(__name__)


class TemporalPart:
    """The part of one process. `connect` makes a client or raises `TemporalProblem`."""

    def __init__(
        self, connect: Callable[[], Awaitable[Client]], parts: WorkerParts, store_part: StorePart, heartbeat: Heartbeat
    ) -> None:
        self._connect = connect
        self._parts = parts
        self._store_part = store_part
        self._heartbeat = heartbeat
        self._membership = Membership(parts.database, heartbeat)

    async def run(self) -> None:
        """Connect and work, for ever.

        Raises:
            PollingDied: this process does no work while Temporal answers.
        """
        pause_seconds, loop = WORK_AGAIN_SECONDS, asyncio.get_running_loop()
        while True:
            client, began_at = await self._joined(), loop.time()
            try:
                problem = await self._work(client)
            finally:
                self._store_part.gateway.attach(None)
                del client
            self._heartbeat.leave(problem)
            pause_seconds = WORK_AGAIN_SECONDS if loop.time() - began_at > WORKED_WELL_SECONDS else pause_seconds * 2
            pause_seconds = min(pause_seconds, LONGEST_PAUSE_SECONDS)
            await asyncio.sleep(pause_seconds)

    async def _joined(self) -> Client:
        """A client whose namespace fits and is ours, however long that takes."""
        while True:
            try:
                client = await self._connect()
                await self._join(client)
            except TemporalProblem as error:
                self._heartbeat.leave(error.problem)
            except Unavailable:
                pass  # said by those who wanted more of the store than this
            except Exception as error:
                # The edge of this loop: whatever is wrong now, what needs the store alone goes on.
                log.exception("temporal_part_failed")
                self._heartbeat.leave(_failed(error))
            else:
                return client
            await asyncio.sleep(CONNECT_AGAIN_SECONDS)

    async def _join(self, client: Client) -> None:
        prepared = await prepare_namespace(client, is_ours=self._parts.owns_namespace)
        unchecked = await self._membership.join(client, prepared.namespace_id)
        # Not before: the reconciler, which runs already, would start runs in another installation's namespace.
        self._store_part.gateway.attach(client, prepared.registered)
        self._heartbeat.work_without("namespace", prepared.missing)
        self._heartbeat.work_without("membership", unchecked)

    async def _work(self, client: Client) -> Problem | None:
        """Work until a part of it ends; what to say of that.

        Raises:
            PollingDied.
        """
        built = build_worker(client, self._parts, self._store_part)
        self._heartbeat.report_also(self._store_part.places.counts)
        tune_garbage_collection()
        async with built.running_temporal() as whole:
            beside = [
                asyncio.create_task(self._heartbeat.self_check_loop(built.gateway)),
                asyncio.create_task(canary_loop(client, self._heartbeat, built.gateway)),
                asyncio.create_task(self._keep_checking(client)),
            ]
            log.info("worker_ready", namespace=client.namespace, task_queue=TASK_QUEUE)
            try:
                ended, _ = await asyncio.wait([whole, *beside], return_when=asyncio.FIRST_COMPLETED)
                errors = [task.exception() for task in ended]
                seconds = END_SECONDS if any(isinstance(error, PollingDied) for error in errors) else WIND_DOWN_SECONDS
                ending = end_soon(1, self._store_part.callback.has_attempts, seconds=seconds)
            finally:
                for task in beside:
                    task.cancel()
                await asyncio.gather(*beside, return_exceptions=True)
        return _judge_end(errors, ending)

    async def _keep_checking(self, client: Client) -> None:
        """See that the namespace is still the one that was joined, and still ours; now and then, what it has.

        Raises:
            TemporalProblem: it is not.
        """
        doubts, checks = 0, 0
        while True:
            await asyncio.sleep(CHECK_SECONDS)
            checks += 1
            try:
                if checks % PREPARE_EVERY_CHECKS == 0:
                    await self._join(client)
                else:
                    unchecked = await self._membership.join(client, await read_namespace_id(client))
                    self._heartbeat.work_without("membership", unchecked)
                doubts = 0
                await self._membership.find_strangers(client)
            except Unavailable:
                pass
            except RPCError as error:
                if error.status is RPCStatusCode.NOT_FOUND:
                    raise  # the namespace is gone: it is registered at the next connection
            except TemporalProblem as error:
                doubts += error.problem.kind is ProblemKind.STORE_ELSEWHERE
                if error.problem.kind is ProblemKind.NAMESPACE_TAKEN or doubts == DOUBTS:
                    raise


async def canary_loop(client: Client, heartbeat: Heartbeat, gateway: ReceiptWorkflowClient) -> None:
    """Run canaries, and the worker that runs them, for ever; where Temporal does not serve that worker, there are none.

    Raises:
        PollingDied: see `Heartbeat.canary_loop`.
    """
    while True:
        serving = asyncio.create_task(build_canary_worker(client).run())
        running = asyncio.create_task(heartbeat.canary_loop(partial(run_canary, client), gateway))
        try:
            await asyncio.wait([serving, running], return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
            # It ends only when Temporal does not let it ask for its tasks.
            heartbeat.miss_canary(f"its worker ended: {str(serving.exception())[:200]}")
        finally:
            serving.cancel()
            running.cancel()
            await asyncio.gather(serving, running, return_exceptions=True)
        await asyncio.sleep(CANARY_AGAIN_SECONDS)


def end_soon(code: int, has_attempts: Callable[[], bool], *, seconds: float = END_SECONDS) -> threading.Event:
    """End the process unless the event is set within `seconds`: polls that Temporal never answers would be waited for.

    While it has attempts of callbacks, it ends later, after `LAST_ATTEMPTS_SECONDS` more at most: this process alone knows their
    outcomes. A thread does it, so that an event loop that hangs does not stop it.
    """
    is_cancelled = threading.Event()
    threading.Thread(target=_end_unless, args=(is_cancelled, code, has_attempts, seconds), daemon=True).start()
    return is_cancelled


def _end_unless(is_cancelled: threading.Event, code: int, has_attempts: Callable[[], bool], seconds: float) -> None:
    if is_cancelled.wait(seconds):
        return
    last = time.monotonic() + LAST_ATTEMPTS_SECONDS
    while has_attempts() and time.monotonic() < last:
        if is_cancelled.wait(LOOK_AGAIN_SECONDS):
            return
    os._exit(code)


def tune_garbage_collection() -> None:
    """Full collections stop the process for up to 100 ms: what start-up made is frozen, and the rest is left alone longer."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _judge_end(errors: list[BaseException | None], ending: threading.Event) -> Problem | None:
    """What ended the work; the process goes on, unless it is the process itself that does not work.

    Raises:
        PollingDied.
    """
    for error in errors:
        if isinstance(error, PollingDied):
            raise error
    ending.set()
    error = next((error for error in errors if error is not None), None)
    if isinstance(error, TemporalProblem):
        return error.problem
    log.error("temporal_work_ended", error=type(error).__name__, exc_info=error)
    return _failed(error)


def _failed(error: BaseException | None) -> Problem:
    said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    return Problem(ProblemKind.FAILED, f"the work for Temporal ended ({said})", FIXES[ProblemKind.FAILED])
