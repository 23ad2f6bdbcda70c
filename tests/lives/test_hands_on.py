"""What people and races do to a life:

equal receipts at once, many asking for one repair, hands in Temporal itself.
"""

import asyncio
import re
from collections import Counter

import httpx
from temporalio.client import WorkflowExecutionStatus
from temporalio.testing import WorkflowEnvironment

from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.projects import CreatedProject
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import users
from tests.console.conftest import Visitor
from tests.lives.shop import Shop, working
from tests.lives.test_lives import timed_out
from tests.support.temporal import TEMPORAL
from tests.support.waiting import wait_until_async
from tests.workflows.world import World
from workflows.messages import workflow_id

MADE_UP = {"result_id": "res_made_up", "status": "success", "replay_id": None}


async def runs(makegood: World, event_id: str) -> list[str]:
    """The statuses of the receipt's runs that Temporal's visibility shows."""
    listed = makegood.client.list_workflows(f"WorkflowId = '{workflow_id(EventId(event_id))}'")
    return [run.status.name async for run in listed if run.status is not None]


async def signed_in(database: Database, http: httpx.AsyncClient) -> Visitor:
    """An operator in the console."""
    async with database.transaction() as session:
        token = await users.create_login_link(session, now=await database.now(session))
    visitor = Visitor(http)
    assert (await visitor.post("/login/link", page=f"/login/link?token={token}")).status_code == 303
    return visitor


async def test_fifty_equal_receipts_at_once_are_one_workflow_and_one_answer(
    makegood: World, shop: Shop, database: Database
) -> None:
    same_key, other_keys = shop.receipt_body(), shop.receipt_body()

    answers = await asyncio.gather(
        *(shop.post("/api/v1/receipt", same_key, "one key") for _ in range(50)),
        *(shop.post("/api/v1/receipt", other_keys) for _ in range(50)),
    )

    assert {answer.status_code for answer in answers} == {202}
    one, other = ({answer.text for answer in half} for half in (answers[:50], answers[50:]))
    assert (len(one), len(other)) == (1, 1)
    for answer in (answers[0], answers[50]):
        event_id = EventId(answer.json()["event_id"])
        await makegood.started(event_id)
        await wait_until_async(
            lambda event_id=event_id: runs(makegood, event_id),
            what="the run in the visibility store",
        )
        assert await runs(makegood, event_id) == ["RUNNING"]
    assert sum("idempotent-replayed" in answer.headers for answer in answers) == 49


async def test_twenty_people_asking_at_once_get_one_repair_and_one_series(
    makegood: World, shop: Shop, database: Database
) -> None:
    event_id = await timed_out(makegood, shop)
    incident_id = (await shop.event(event_id))["incident"]["id"]
    operator = await signed_in(database, shop.http)
    page = f"/events/{event_id}"
    form = re.search(
        rf'<form[^>]*action="/incidents/{incident_id}/reprocess".*?</form>',
        (await operator.open(page)).text,
        re.DOTALL,
    )
    assert form is not None
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form[0]))

    async def by_rest() -> str:
        answer = await shop.operate(incident_id, "reprocess")
        assert answer.status_code == 202, answer.text
        return str(answer.json()["replay_id"])

    async def by_console() -> None:
        answer = await shop.http.post(f"/incidents/{incident_id}/reprocess", data=fields)
        assert answer.status_code == 303, answer.text

    async def by_signal() -> None:
        await makegood.signal(event_id, "reprocess")

    answers = await asyncio.gather(*(ask() for ask in [by_rest, by_console, by_signal] * 7))

    event = await shop.becomes(event_id, repair="awaiting_result")
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    (repair,) = event["repairs"]
    assert {answer for answer in answers if answer} == {repair["replay_id"]}
    assert [call.body["replay_id"] for call in makegood.receiver.calls] == [repair["replay_id"]]
    kinds = Counter(entry["kind"] for entry in event["timeline"])
    assert (kinds["reprocess_requested"], kinds["attempt"]) == (1, 1)
    assert await shop.result(event_id, "success", replay_id=repair["replay_id"]) == "recovered"
    assert await makegood.ended(event_id) == LifecycleState.RECOVERED
    assert len(makegood.receiver.calls) == 1


async def test_temporals_own_command_line_repairs_without_a_payload(
    makegood: World, shop: Shop, temporal: WorkflowEnvironment
) -> None:
    event_id = await timed_out(makegood, shop)
    address = temporal.client.service_client.config.target_host
    command = (
        str(TEMPORAL),
        "workflow",
        "signal",
        "--name",
        "reprocess",
        "--workflow-id",
        workflow_id(event_id),
    )

    program = await asyncio.create_subprocess_exec(
        *command, "--address", address, stdout=asyncio.subprocess.PIPE
    )
    await program.communicate()

    assert program.returncode == 0
    event = await shop.becomes(event_id, incident="repairing", repair="awaiting_result")
    assert makegood.receiver.calls[0].body["replay_id"] == event["repairs"][0]["replay_id"]
    assert event["repairs"][0]["requested_by"] == "temporal"


async def test_terminated_workflow_does_not_lose_its_receipt(makegood: World, shop: Shop) -> None:
    event_id = await shop.accepted(timeout_minutes=0.05)
    await makegood.started(event_id)

    await makegood.handle(event_id).terminate("by hand")

    event = await shop.becomes(event_id, state="incident", incident="open")
    assert event["incident"]["reason"] == "missing_result"
    assert [entry["kind"] for entry in event["timeline"]].count("incident_opened") == 1
    assert len(await makegood.subjects(1)) == 1


async def test_made_up_result_does_not_lose_its_receipt(makegood: World, shop: Shop) -> None:
    event_id = await shop.accepted(timeout_minutes=0.05)
    await makegood.started(event_id)

    await makegood.signal(event_id, "result", MADE_UP)

    assert await makegood.handle(event_id).result() is not None
    event = await shop.becomes(event_id, state="incident", incident="open")
    assert event["incident"]["reason"] == "missing_result"
    assert len(await makegood.subjects(1)) == 1


async def test_terminated_repair_goes_on_where_it_stood(makegood: World, shop: Shop) -> None:
    event_id = await timed_out(makegood, shop)
    await shop.reprocess(event_id)
    await shop.becomes(event_id, repair="awaiting_result")
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)

    await makegood.handle(event_id).terminate("by hand")

    await wait_until_async(lambda: _runs_again(makegood, event_id), what="another run")
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    assert len(makegood.receiver.calls) == 1
    assert await shop.result(event_id, "success") == "recovered"
    assert await makegood.ended(event_id) == LifecycleState.RECOVERED


async def test_receipt_and_success_delivered_together_are_seven_events(
    shop: Shop,
    temporal: WorkflowEnvironment,
    database: Database,
    sealer: Sealer,
    project: CreatedProject,
) -> None:
    event_id = await shop.accepted()
    assert await shop.result(event_id, "success") == "applied"

    async with working(temporal, database, sealer, project) as makegood:
        await makegood.started(event_id)
        assert await makegood.ended(event_id) == LifecycleState.APPLIED

        events = await makegood.event_types(event_id)
    assert len(events) <= 7, events
    assert "TIMER_STARTED" not in events


async def test_receipts_accepted_without_temporal_are_started_afterwards(
    shop: Shop,
    temporal: WorkflowEnvironment,
    database: Database,
    sealer: Sealer,
    project: CreatedProject,
) -> None:
    events = [await shop.accepted(timeout_minutes=0.01) for _ in range(10)]

    async with working(temporal, database, sealer, project) as makegood:
        for event_id in events:
            await shop.becomes(event_id, state="incident", incident="open")
        assert len(await makegood.subjects(10)) == 10


async def _runs_again(makegood: World, event_id: EventId) -> bool:
    return (await makegood.handle(event_id).describe()).status is WorkflowExecutionStatus.RUNNING
