"""A namespace has one installation, a store has one namespace; search attributes may be missing."""

import asyncio
import secrets
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from temporalio.api.enums.v1 import IndexedValueType, TaskQueueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, RegisterNamespaceRequest
from temporalio.client import Client

from domain.ids import EventId
from domain.projects import Scope
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.projects import create_project
from store.receipts.outbox import count, enqueue_start_again
from store.status.heartbeats import read_heartbeats, write_fact
from store.status.installation import INSTALLATION_FACT, NAMESPACE_ID, installation_id, read_restart
from tests.support.given import Story
from tests.support.processes import free_ports, python, running
from tests.support.temporal import TEMPORAL
from tests.support.waiting import wait_until_async
from tests.worker.worker_setup import HEALTHY, WorkerSetup, problem_of
from worker.membership import CLAIM_ID
from workflows.messages import TASK_QUEUE, workflow_id

WORKER = python("-m", "cli.main", "worker")
KEYWORD, INT = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD, IndexedValueType.INDEXED_VALUE_TYPE_INT


@pytest.fixture(scope="module")
def temporal_port() -> Iterator[int]:
    """The port of a dev server that several installations use."""
    port = free_ports(1)[0]
    with running(
        str(TEMPORAL), "server", "start-dev", "--headless", "--port", str(port)
    ) as program:
        program.wait_for("Server:", seconds=40)
        yield port


@pytest.fixture
async def installations(
    sqlite_template: Path, tmp_path: Path, temporal_port: int
) -> AsyncIterator[list[WorkerSetup]]:
    """Two stores with the same settings, in a namespace of this test."""
    made, namespace = [], f"of-{secrets.token_hex(6)}"
    for name in ("first", "second"):
        directory = tmp_path / name
        directory.mkdir()
        shutil.copyfile(sqlite_template, directory / "makegood.db")
        url = f"sqlite:///{directory / 'makegood.db'}"
        made.append(WorkerSetup(url, directory, port=temporal_port, TEMPORAL_NAMESPACE=namespace))
    yield made
    for setup in made:
        await setup.database.close()


async def client_of(setup: WorkerSetup) -> Client:
    return await Client.connect(
        f"127.0.0.1:{setup.port}", namespace=setup.environment["TEMPORAL_NAMESPACE"]
    )


async def pollers(client: Client) -> set[str]:
    """The workers that recently polled for tasks of receipts."""
    request = DescribeTaskQueueRequest(
        namespace=client.namespace,
        task_queue=TaskQueue(name=TASK_QUEUE),
        task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_WORKFLOW,
    )
    return {
        poller.identity
        for poller in (await client.workflow_service.describe_task_queue(request)).pollers
    }


async def story_of(database: Database, sealer: Sealer) -> Story:
    async with database.transaction() as session:
        created = await create_project(
            session,
            sealer,
            name="shop",
            livemode=False,
            repair_url="https://shop.example/repair",
            alert_emails=("ops@shop.example",),
            scopes=frozenset(Scope),
            now=(now := await database.now(session)),
        )
    story = Story(database, created.project)
    story.at = now
    return story


async def test_second_installation_in_a_namespace_does_no_work_and_reports_the_fix(
    installations: list[WorkerSetup],
) -> None:
    first, second = installations
    with running(*WORKER, environment=first.environment):
        working = await first.wait_for_report(**HEALTHY)
        with running(*WORKER, environment=second.environment) as other:
            refused = await second.wait_for_problem("namespace_taken")

            assert await pollers(await client_of(first)) == {working.process}
            assert other.process.poll() is None
            problem = problem_of(refused)
            assert "belongs to another installation, ins_" in problem["detail"]
            assert "TEMPORAL_NAMESPACE" in problem["fix"]
            assert f"--workflow-id {CLAIM_ID}" in problem["fix"]


async def test_namespace_of_a_gone_installation_is_released_by_terminating_one_workflow(
    installations: list[WorkerSetup],
) -> None:
    first, second = installations
    with running(*WORKER, environment=first.environment):
        await first.wait_for_report(**HEALTHY)
    with running(*WORKER, environment=second.environment):
        await second.wait_for_problem("namespace_taken")

        await (await client_of(second)).get_workflow_handle(CLAIM_ID).terminate()

        await second.wait_for_report(**HEALTHY)
        with running(*WORKER, environment=first.environment):
            await first.wait_for_problem("namespace_taken")


@pytest.mark.long
async def test_worker_stops_when_another_installation_takes_its_namespace(
    installations: list[WorkerSetup],
) -> None:
    first, _ = installations
    with running(*WORKER, environment=first.environment):
        await first.wait_for_report(**HEALTHY)
        client = await client_of(first)

        await client.get_workflow_handle(CLAIM_ID).terminate()
        await client.start_workflow(
            CLAIM_ID, id=CLAIM_ID, task_queue=CLAIM_ID, memo={"installation": "ins_other"}
        )

        assert "ins_other" in problem_of(await first.wait_for_problem("namespace_taken"))["detail"]


@pytest.mark.long
async def test_workers_of_a_copy_of_the_store_are_reported(
    installations: list[WorkerSetup],
) -> None:
    first, copy = installations
    async with first.database.transaction() as session:
        known = await installation_id(session)
    async with copy.database.transaction() as session:
        await write_fact(session, INSTALLATION_FACT, known)

    with (
        running(*WORKER, environment=first.environment),
        running(*WORKER, environment=copy.environment),
    ):
        foreign = (await copy.wait_for_report(**HEALTHY)).process

        await first.wait_for_report(**HEALTHY, foreign_workers=[foreign])


@pytest.mark.long
async def test_workers_of_one_store_use_one_namespace_and_move_once(
    installations: list[WorkerSetup], sealer: Sealer
) -> None:
    here, _ = installations
    there = {
        **here.environment,
        "TEMPORAL_NAMESPACE": f"{here.environment['TEMPORAL_NAMESPACE']}-2",
    }
    story = await story_of(here.database, sealer)
    event_id = await story.receipt()
    async with here.database.transaction() as session:
        await enqueue_start_again(session, event_id, story.at)

    with running(*WORKER, environment=here.environment):
        await here.wait_for_report(**HEALTHY)
        client = await client_of(here)
        await wait_until_async(lambda: _runs(client, event_id, 1), what="a run")
        with running(*WORKER, environment=there):
            refused = await here.wait_for_problem("store_elsewhere")
            # Several passes of a reconciler, each of which could start the receipt again.
            await asyncio.sleep(3)
            started_here, is_empty = await _starts(client, event_id), await _is_empty(here.database)
            here.environment["TEMPORAL_NAMESPACE"] = there["TEMPORAL_NAMESPACE"]
    with running(*WORKER, environment=there):
        await here.wait_for_report(**HEALTHY)
        client = await client_of(here)
        await wait_until_async(
            lambda: _runs(client, event_id, 1), seconds=20, what="a run in the other namespace"
        )
        await wait_until_async(lambda: _has_moved(here.database), what="the end of the move")
        await asyncio.sleep(3)
        started_there = await _starts(client, event_id)

    assert (started_here, is_empty, started_there) == (1, True, 1)
    assert "works for this store in the namespace" in problem_of(refused)["detail"]
    assert "TEMPORAL_NAMESPACE" in problem_of(refused)["fix"]


@pytest.mark.long
async def test_two_workers_continue_together_after_temporal_lost_its_database(
    sqlite_url: str, tmp_path: Path, sealer: Sealer
) -> None:
    setup = WorkerSetup(sqlite_url, tmp_path, TEMPORAL_NAMESPACE="default")
    story = await story_of(setup.database, sealer)
    event_id = await story.receipt()
    async with setup.database.transaction() as session:
        await enqueue_start_again(session, event_id, story.at)
    with (
        running(*WORKER, environment=setup.environment),
        running(*WORKER, environment=setup.environment),
    ):
        with running(*setup.temporal_command()):
            before = (await setup.wait_for_report(**HEALTHY)).report[NAMESPACE_ID]
            client = await client_of(setup)
            await wait_until_async(lambda: _runs(client, event_id, 1), what="a run")
        for file in tmp_path.glob("temporal.db*"):
            file.unlink()

        with running(*setup.temporal_command()):
            client = await wait_until_async(
                lambda: _reached(setup), seconds=20, what="Temporal is available"
            )
            await wait_until_async(
                lambda: _have_moved(setup.database, before, 2),
                seconds=40,
                what="both workers are in the new one",
            )
            await wait_until_async(lambda: _runs(client, event_id, 1), what="another run")
            await wait_until_async(
                lambda: _has_moved(setup.database), what="all receipts are started again"
            )
    await setup.database.close()


async def _reached(setup: WorkerSetup) -> Client | None:
    try:
        return await client_of(setup)
    except RuntimeError:
        return None


async def _have_moved(database: Database, before: object, wanted: int) -> bool:
    async with database.reading() as session:
        heartbeats = await read_heartbeats(session, await database.now(session))
    well = [
        heartbeat.report.get(NAMESPACE_ID)
        for heartbeat in heartbeats
        if HEALTHY.items() <= heartbeat.report.items()
    ]
    return len([found for found in well if found not in (None, before)]) == wanted


async def _starts(client: Client, event_id: EventId) -> int:
    """How often the receipt's run was started or signalled."""
    history = [
        event
        async for event in client.get_workflow_handle(workflow_id(event_id)).fetch_history_events()
    ]
    return sum(
        event.event_id == 1 or event.HasField("workflow_execution_signaled_event_attributes")
        for event in history
    )


async def _runs(client: Client, event_id: EventId, wanted: int) -> bool:
    return (await client.count_workflows(f"WorkflowId = '{workflow_id(event_id)}'")).count == wanted


async def _is_empty(database: Database) -> bool:
    async with database.reading() as session:
        return await count(session) == 0


async def _has_moved(database: Database) -> bool:
    async with database.reading() as session:
        return await read_restart(session) is None


async def namespace_with(
    setup: WorkerSetup, attributes: dict[str, "IndexedValueType.ValueType"]
) -> Client:
    """Register the namespace with these search attributes, as another user of it."""
    client = await client_of(setup)
    register = RegisterNamespaceRequest(namespace=client.namespace)
    register.workflow_execution_retention_period.FromSeconds(86_400)
    await client.workflow_service.register_namespace(register)

    async def are_added() -> bool:
        try:
            added = AddSearchAttributesRequest(
                namespace=client.namespace, search_attributes=attributes
            )
            await client.operator_service.add_search_attributes(added)
        except Exception:  # a new namespace is not known everywhere at once
            return False
        return True

    await wait_until_async(are_added, what="the other attributes")
    return client


@pytest.mark.parametrize(
    ("others", "missing"),
    [
        ({"MgState": INT}, {"MgState"}),
        pytest.param({"MgIncidentId": INT}, {"MgIncidentId"}, marks=pytest.mark.long),
        ({f"Other{number}": KEYWORD for number in range(10)}, None),
        (
            {f"Other{number}": KEYWORD for number in range(8)},
            {"MgEffect", "MgEventType", "MgMode", "MgProject", "MgProvider"},
        ),
    ],
    ids=[
        "state_of_another_type",
        "incident_of_another_type",
        "no_keyword_left",
        "two_keywords_left",
    ],
)
async def test_search_attributes_that_cannot_be_registered_are_reported_and_stop_nothing(
    others: dict[str, "IndexedValueType.ValueType"],
    missing: set[str] | None,
    installations: list[WorkerSetup],
    sealer: Sealer,
) -> None:
    setup, _ = installations
    client = await namespace_with(setup, others)
    story = await story_of(setup.database, sealer)
    event_id = await story.receipt(timeout_minutes=0.05)
    async with setup.database.transaction() as session:
        await enqueue_start_again(session, event_id, story.at)

    with running(*WORKER, environment=setup.environment):
        missing_lines = (await setup.wait_for_report(**HEALTHY)).report["missing"]
        await wait_until_async(
            lambda: _has_incident(story, event_id), seconds=20, what="an incident"
        )

    assert isinstance(missing_lines, list)
    named = {line.partition(":")[0].removeprefix("search attribute ") for line in missing_lines}
    assert named >= (missing or {"MgState", "MgProject"})
    assert "MgDeadline" not in named
    history = [
        event
        async for event in client.get_workflow_handle(workflow_id(event_id)).fetch_history_events()
    ]
    assert not [
        event for event in history if event.HasField("workflow_task_failed_event_attributes")
    ]


async def _has_incident(story: Story, event_id: EventId) -> bool:
    return [row["state"] for row in await story.rows("receipts", event_id)] == ["incident"]
