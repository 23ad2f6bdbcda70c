"""Decides whether this process may work in its namespace.

A namespace has one installation, and a store has one namespace.

1. The memo of a workflow with a fixed id names the installation of the namespace. Its start is an
   atomic compare-and-set and needs no further permission. People can see and terminate it. It runs
   nothing, because no worker serves its task queue.
2. A row in the store names the namespace of the store (`store.status.installation`).

A process that may not work reports why in its heartbeat, and checks again. A copy of a store has
the same installation id. It is detected by its workers, which take tasks here and have no heartbeat
in this store. Called by `worker.connection_loop`.
"""

import time
from datetime import timedelta

import structlog
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from domain.errors import Unavailable
from domain.temporal.problems import ProblemKind
from store.db.database import Database
from store.status.heartbeats import NAMESPACE_FACT, read_beats, read_fact
from store.status.installation import (
    LIVE_SECONDS,
    NAMESPACE,
    UNSURE_SECONDS,
    Adopted,
    Adoption,
    adopt_namespace,
    installation_id,
)
from worker.health.heartbeat import Heartbeat
from worker.temporal.problems import (
    REFUSED,
    RPC_SECONDS,
    Problem,
    TemporalProblem,
    problem_of_call,
    reason_of,
)
from workflows.messages import TASK_QUEUE

CLAIM_ID = "makegood-installation"
MEMO = "installation"
# The delay of its first task, which therefore never runs.
NEVER = timedelta(days=36_500)
CLAIM_ATTEMPTS = 3
# Temporal lists a poller for minutes after its last poll. A running worker polls more often than
# this.
ACTIVE_POLLER = timedelta(seconds=70)

log = structlog.get_logger(__name__)


class Membership:
    """The membership of one worker process.

    Its heartbeat names the namespace to other processes.
    """

    def __init__(self, database: Database, heartbeat: Heartbeat) -> None:
        self._database = database
        self._heartbeat = heartbeat
        self._installation: str | None = None
        self._store_available_since: float | None = None

    async def join(self, client: Client, namespace_id: str) -> tuple[str, ...]:
        """Claim the namespace for this installation and this store.

        Returns the checks that were refused.

        Raises:
            TemporalProblem: another installation works in the namespace, or this store's workers
                work in another one.
            Unavailable: the store cannot be reached.
        """
        try:
            unchecked = await _claim(client, await self._read_installation())
            adopted = await self._adopt(client, namespace_id)
        except Unavailable:
            self._store_available_since = None
            raise
        if adopted.adoption is Adoption.ELSEWHERE:
            # If the joined namespace is gone, this process is in none now. Otherwise two such
            # processes would wait for each other.
            self._heartbeat.report.leave_namespace()
            raise TemporalProblem(_store_elsewhere(client, adopted))
        return (
            ()
            if unchecked is None
            else (f"the check that no other installation is here: {unchecked}",)
        )

    async def _read_installation(self) -> str:
        if self._installation is None:
            async with self._database.transaction() as session:
                self._installation = await installation_id(session)
        return self._installation

    async def _adopt(self, client: Client, namespace_id: str) -> Adopted:
        if self._heartbeat.report.is_in(namespace_id):
            # Usually nothing has changed, and a read suffices, which does not block writers.
            async with self._database.reading() as session:
                if await read_fact(session, NAMESPACE_FACT) == namespace_id:
                    return Adopted(Adoption.KNOWN)
        at = time.monotonic()
        self._store_available_since = self._store_available_since or at
        # After an outage of the store all heartbeats are old. The first process to return must not
        # consider the others dead.
        is_sure = at - self._store_available_since > LIVE_SECONDS
        live_seconds = LIVE_SECONDS if is_sure else UNSURE_SECONDS
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            adopted = await adopt_namespace(
                session, namespace_id, process=client.identity, now=now, live_seconds=live_seconds
            )
            if adopted.adoption is not Adoption.ELSEWHERE:
                # In the same transaction, so that the next process finds this one in the namespace.
                self._heartbeat.report.join(namespace_id, client.namespace)
                await self._heartbeat.write(session)
        return adopted

    async def find_foreign_workers(self, client: Client) -> None:
        """Report workers that take tasks here and have no heartbeat in this store.

        They belong, for example, to a copy of the store.

        Raises:
            RPCError: Temporal does not answer.
            Unavailable: the store cannot be reached.
        """
        pollers = await _active_pollers(client)
        async with self._database.reading() as session:
            known = {
                beat.process
                for beat in await read_beats(session, await self._database.now(session))
            }
        self._heartbeat.report.set_foreign_workers(tuple(sorted(pollers - known)))


async def _active_pollers(client: Client) -> set[str]:
    """The identities that poll for tasks of receipts.

    Their ages are relative to the latest poll, by Temporal's clock.
    """
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=TASK_QUEUE),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    described = await client.workflow_service.describe_task_queue(request, timeout=RPC_SECONDS)
    seen = {poller.identity: poller.last_access_time.ToDatetime() for poller in described.pollers}
    latest = max(seen.values(), default=None)
    return {
        identity
        for identity, at in seen.items()
        if latest is not None and at > latest - ACTIVE_POLLER
    }


async def _claim(client: Client, installation: str) -> str | None:
    """Claim the namespace, unless this installation has it.

    Returns why that cannot be checked, or None.

    Raises:
        TemporalProblem: another installation has it, or Temporal does not answer.
    """
    try:
        for _ in range(CLAIM_ATTEMPTS):
            if (holder := await _read_holder(client)) == installation:
                return None
            if holder is not None:
                raise TemporalProblem(_namespace_taken(client, holder, installation))
            if await _start_claim(client, installation):
                log.info("namespace_claimed", namespace=client.namespace, installation=installation)
                return None
    except RPCError as error:
        if error.status not in REFUSED:
            raise TemporalProblem(problem_of_call(error, "the claim of the namespace")) from error
        return reason_of(error)
    return "it was claimed and released several times"


async def _read_holder(client: Client) -> str | None:
    """The installation that has claimed the namespace; None when none has."""
    try:
        described = await client.get_workflow_handle(CLAIM_ID).describe(rpc_timeout=RPC_SECONDS)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    if described.status is not WorkflowExecutionStatus.RUNNING:
        return None
    return str((await described.memo()).get(MEMO, "unknown"))


async def _start_claim(client: Client, installation: str) -> bool:
    try:
        await client.start_workflow(
            CLAIM_ID,
            id=CLAIM_ID,
            task_queue=CLAIM_ID,
            memo={MEMO: installation},
            start_delay=NEVER,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            static_summary=f"Installation {installation} works in this namespace",
            rpc_timeout=RPC_SECONDS,
        )
    except WorkflowAlreadyStartedError:
        return False
    return True


def _namespace_taken(client: Client, holder: str, installation: str) -> Problem:
    owner = f"belongs to another installation, {holder}; this one is {installation}"
    return Problem(
        ProblemKind.NAMESPACE_TAKEN,
        f"the namespace {client.namespace} {owner}",
        "give each installation a namespace of its own (TEMPORAL_NAMESPACE); "
        "if the other one is gone for good: "
        f"temporal workflow terminate --namespace {client.namespace} --workflow-id {CLAIM_ID}",
    )


def _store_elsewhere(client: Client, adopted: Adopted) -> Problem:
    other = adopted.other
    name = "unknown" if other is None else other.process
    there = (
        "another namespace"
        if other is None
        else f"the namespace {other.report.get(NAMESPACE)} of another Temporal"
    )
    if other is not None and other.report.get(NAMESPACE) != client.namespace:
        there = f"the namespace {other.report.get(NAMESPACE)}"
    settings = "TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE"
    return Problem(
        ProblemKind.STORE_ELSEWHERE,
        f"{name} works for this store in {there}, and this worker was given {client.namespace}",
        f"give all workers of one store the same {settings}; to move them, stop the others first",
    )
