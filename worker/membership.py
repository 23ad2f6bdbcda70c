"""Decides whether this process may work in its namespace: one installation in a namespace, one namespace for a store.

1. A workflow of one id holds the installation that works in the namespace. Its start is Temporal's own compare-and-set, needs no
   permission beyond those of receipts, and is there for people to see and to end. It runs nothing: no worker serves its queue.
2. A row in the store holds the namespace that works for the store (`store.status.installation`).

A process that may not work says why in its heartbeat, and looks again. A copy of a store has its id, and is known by its workers:
they take tasks and have no heartbeat here. Called by `worker.connection_loop`.
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
from domain.temporal_problems import ProblemKind
from store.db.database import Database
from store.status.heartbeats import NAMESPACE_FACT, read_beats, read_fact
from store.status.installation import LIVE_SECONDS, NAMESPACE, UNSURE_SECONDS, Adopted, Adoption, adopt_namespace, installation_id
from worker.health.heartbeat import Heartbeat
from worker.temporal.problems import REFUSED, RPC_SECONDS, Problem, TemporalProblem, problem_of_call, reason_of
from workflows.messages import TASK_QUEUE

CLAIM_ID = "makegood-installation"
MEMO = "installation"
# Its first task comes after all of us: until then it waits for nobody.
NEVER = timedelta(days=36_500)
CLAIM_TRIES = 3
# Temporal names a poller for minutes after its last poll; a worker at work polls more often than this.
STILL_POLLS = timedelta(seconds=70)

log = structlog.get_logger(__name__)


class Membership:
    """The membership of one worker process; `heartbeat` says to others where it is."""

    def __init__(self, database: Database, heartbeat: Heartbeat) -> None:
        self._database = database
        self._heartbeat = heartbeat
        self._installation: str | None = None
        self._store_answers_since: float | None = None

    async def join(self, client: Client, namespace_id: str) -> tuple[str, ...]:
        """Return when this process may work there; what of that could not be checked.

        Raises:
            TemporalProblem: another installation works in the namespace, or this store's workers work in another one.
            Unavailable: the store cannot say.
        """
        try:
            unchecked = await _claim(client, await self._read_installation())
            adopted = await self._adopt(client, namespace_id)
        except Unavailable:
            self._store_answers_since = None
            raise
        if adopted.adoption is Adoption.ELSEWHERE:
            # One that was in a namespace which has gone is in none now: else two that find that out wait for each other.
            self._heartbeat.leave_namespace()
            raise TemporalProblem(_elsewhere(client, adopted))
        return () if unchecked is None else (f"the check that no other installation is here: {unchecked}",)

    async def _read_installation(self) -> str:
        if self._installation is None:
            async with self._database.transaction() as session:
                self._installation = await installation_id(session)
        return self._installation

    async def _adopt(self, client: Client, namespace_id: str) -> Adopted:
        if self._heartbeat.is_in(namespace_id):
            # Nothing has changed, mostly: then nobody waits for the store's writer.
            async with self._database.reading() as session:
                if await read_fact(session, NAMESPACE_FACT) == namespace_id:
                    return Adopted(Adoption.KNOWN)
        at = time.monotonic()
        self._store_answers_since = self._store_answers_since or at
        # After an outage of the store nobody's heartbeat is young; the first to come back must not take the others for dead.
        is_sure = at - self._store_answers_since > LIVE_SECONDS
        live_seconds = LIVE_SECONDS if is_sure else UNSURE_SECONDS
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            adopted = await adopt_namespace(session, namespace_id, process=client.identity, now=now, live_seconds=live_seconds)
            if adopted.adoption is not Adoption.ELSEWHERE:
                # In the same transaction: others that ask next find this process there.
                self._heartbeat.join(namespace_id, client.namespace)
                await self._heartbeat.write(session)
        return adopted

    async def find_strangers(self, client: Client) -> None:
        """Have the heartbeat name workers that take tasks here and have no heartbeat in this store: those of a copy of it, say.

        Raises:
            RPCError, Unavailable: Temporal, or the store, cannot say.
        """
        polling = await _polling(client)
        async with self._database.reading() as session:
            known = {beat.process for beat in await read_beats(session, await self._database.now(session))}
        self._heartbeat.name_strangers(tuple(sorted(polling - known)))


async def _polling(client: Client) -> set[str]:
    """Who asks for tasks of receipts; by Temporal's clock, compared with the latest of them."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=TASK_QUEUE),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    described = await client.workflow_service.describe_task_queue(request, timeout=RPC_SECONDS)
    seen = {poller.identity: poller.last_access_time.ToDatetime() for poller in described.pollers}
    latest = max(seen.values(), default=None)
    return {identity for identity, at in seen.items() if latest is not None and at > latest - STILL_POLLS}


async def _claim(client: Client, installation: str) -> str | None:
    """Make the namespace ours, unless it is; why that cannot be known, or None.

    Raises:
        TemporalProblem: it is another installation's, or Temporal does not answer.
    """
    try:
        for _ in range(CLAIM_TRIES):
            if (holder := await _read_holder(client)) == installation:
                return None
            if holder is not None:
                raise TemporalProblem(_taken(client, holder, installation))
            if await _started(client, installation):
                log.info("namespace_claimed", namespace=client.namespace, installation=installation)
                return None
    except RPCError as error:
        if error.status not in REFUSED:
            raise TemporalProblem(problem_of_call(error, "the claim of the namespace")) from error
        return reason_of(error)
    return "it was claimed and given up again and again"


async def _read_holder(client: Client) -> str | None:
    """The installation that holds the namespace; None when none does."""
    try:
        described = await client.get_workflow_handle(CLAIM_ID).describe(rpc_timeout=RPC_SECONDS)
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    if described.status is not WorkflowExecutionStatus.RUNNING:
        return None
    return str((await described.memo()).get(MEMO, "unknown"))


async def _started(client: Client, installation: str) -> bool:
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


def _taken(client: Client, holder: str, installation: str) -> Problem:
    return Problem(
        ProblemKind.NAMESPACE_TAKEN,
        f"the namespace {client.namespace} belongs to another installation, {holder}; this one is {installation}",
        "give each installation a namespace of its own (TEMPORAL_NAMESPACE); if the other one is gone for good: "
        f"temporal workflow terminate --namespace {client.namespace} --workflow-id {CLAIM_ID}",
    )


def _elsewhere(client: Client, adopted: Adopted) -> Problem:
    other = adopted.other
    name = "unknown" if other is None else other.process
    there = "another namespace" if other is None else f"the namespace {other.report.get(NAMESPACE)} of another Temporal"
    if other is not None and other.report.get(NAMESPACE) != client.namespace:
        there = f"the namespace {other.report.get(NAMESPACE)}"
    return Problem(
        ProblemKind.STORE_ELSEWHERE,
        f"{name} works for this store in {there}, and this worker was given {client.namespace}",
        "give all workers of one store the same TEMPORAL_ADDRESS and TEMPORAL_NAMESPACE; to move them, stop the others first",
    )
