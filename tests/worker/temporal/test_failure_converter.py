"""Failures of activities fit into Temporal's limit, and show the error and its place."""

from datetime import timedelta

import pytest
from temporalio import activity, workflow
from temporalio.api.failure.v1 import Failure
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.runtime import Runtime
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from tests.support.waiting import wait_until_async
from worker.temporal.connect import TemporalEndpoint, connect
from worker.temporal.failure_converter import SHORT_FAILURES

# The size of the last failure that Temporal keeps of a retried activity.
KEPT_BYTES = 4 * 1024


def failure_of(error: BaseException) -> Failure:
    failure = Failure()
    SHORT_FAILURES.failure_converter.to_failure(error, SHORT_FAILURES.payload_converter, failure)
    return failure


def break_deep(depth: int) -> None:
    if depth:
        break_deep(depth - 1)
    raise LookupError("ü" * 10_000)


def broken(causes: int) -> BaseException:
    """Build an error with so many causes, each with a long message and a long stack trace."""
    try:
        try:
            if causes:
                raise broken(causes - 1)
            break_deep(200)
        except Exception as cause:
            raise RuntimeError(f"step {causes} broke: " + "x" * 10_000) from cause
    except RuntimeError as error:
        return error


@pytest.mark.parametrize("causes", [0, 1, 30])
def test_long_failure_is_cut_and_keeps_the_error_and_its_place(causes: int) -> None:
    failure = failure_of(broken(causes))

    assert failure.ByteSize() < KEPT_BYTES
    assert failure.message.startswith(f"step {causes} broke: ")
    assert failure.application_failure_info.type == "RuntimeError"
    assert "in broken" in failure.stack_trace
    assert failure.cause.message
    assert not failure.cause.stack_trace


def test_short_failure_is_kept_whole() -> None:
    try:
        raise ApplicationError(
            "the mail server refused", type="MailRefused", non_retryable=True
        ) from OSError("no route")
    except ApplicationError as error:
        failure = failure_of(error)

    assert (failure.message, failure.cause.message) == ("the mail server refused", "no route")
    assert failure.application_failure_info.type == "MailRefused"
    assert failure.application_failure_info.non_retryable
    assert failure.stack_trace.lstrip().startswith("File")


@activity.defn(name="break")
async def break_for_good() -> None:
    raise broken(30)


@workflow.defn(name="broken", sandboxed=False)
class BrokenWorkflow:
    """Runs an activity that always fails."""

    @workflow.run
    async def run(self) -> None:
        retries = RetryPolicy(initial_interval=timedelta(minutes=5))
        await workflow.execute_activity(
            break_for_good, start_to_close_timeout=timedelta(seconds=30), retry_policy=retries
        )


async def test_temporal_keeps_the_failure_of_a_retried_activity(
    temporal: WorkflowEnvironment,
) -> None:
    address = temporal.client.service_client.config.target_host
    client = await connect(
        TemporalEndpoint(target=address, namespace=temporal.client.namespace, identity="tests"),
        Runtime.default(),
    )
    async with Worker(
        client, task_queue="broken", workflows=[BrokenWorkflow], activities=[break_for_good]
    ):
        handle = await client.start_workflow(BrokenWorkflow.run, id="broken", task_queue="broken")

        async def last_failure() -> str:
            pending = (await handle.describe()).raw_description.pending_activities
            return pending[0].last_failure.message if pending else ""

        message = await wait_until_async(last_failure, what="the activity has failed once")
        await handle.terminate()

    assert message.startswith("step 30 broke: ")
