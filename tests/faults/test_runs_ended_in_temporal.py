"""Runs that are ended or deleted in Temporal itself, in every way, while their receipts are open.

The reconciler, at its default interval, finds each and starts another run. That run continues from
the state in the store: no second incident, no second mail, no second series. A run is made to fail
or complete wrongly in three ways: by another workflow started under its id, by a signal that names
a result that nobody reported, and by an invented answer to the call in flight.
"""

import asyncio
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.service import RPCError, RPCStatusCode

from config.settings import Settings
from domain.ids import EventId
from tests.faults.report.observed import copies, count_of_runs, kinds, opening_mails, series, unix
from tests.support.product import Product, product
from tests.support.waiting import wait_until, wait_until_async
from workflows.messages import TASK_QUEUE, workflow_id

WITHIN_SECONDS = 60
# The run ends before this deadline.
DUE_MINUTES = 0.1
DEFAULT_RECONCILE_SECONDS = str(Settings.model_fields["reconcile_seconds"].default)
MADE_UP_RESULT = json.dumps({"result_id": "res_made_up", "status": "success", "replay_id": None})
FAR_AWAY = "2099-01-01T00:00:00+00:00"
MADE_UP_STATUS = {"state": "recovered", "deadline_at": FAR_AWAY}
MADE_UP_ANSWER = json.dumps(
    {"status": MADE_UP_STATUS, "retry_after_ms": None, "should_alert": False}
)
# (state of the receipt, what is done to its run, status of that run afterwards)
DEEDS = (
    *(
        (state, "terminate", "TERMINATED")
        for state in ("waiting", "open", "calling", "awaiting_result")
    ),
    *((state, "cancel", "CANCELED") for state in ("waiting", "open", "awaiting_result")),
    *((state, "delete", "") for state in ("waiting", "open", "calling", "awaiting_result")),
    *(
        (state, "replace by one that fails", "FAILED")
        for state in ("waiting", "open", "awaiting_result")
    ),
    *(
        (state, "replace by one that completes", "COMPLETED")
        for state in ("waiting", "open", "awaiting_result")
    ),
    *(
        (state, "replace by one that times out", "TIMED_OUT")
        for state in ("waiting", "open", "awaiting_result")
    ),
    ("waiting", "terminate, and once more", "TERMINATED"),
    ("awaiting_result", "terminate, and once more", "TERMINATED"),
    ("calling", "fail its call", "FAILED"),
    ("calling", "make up its call's answer", "COMPLETED"),
    ("waiting", "make up a result", "COMPLETED"),
    ("waiting", "make up a result, and forget", ""),
    # There it is noted and ignored: the store is asked, and holds no such result.
    ("open", "make up a result", "RUNNING"),
    ("awaiting_result", "make up a result", "RUNNING"),
    ("due", "terminate", "TERMINATED"),
    ("due", "delete", ""),
    ("due", "make up a result, and forget", ""),
)


@dataclass(slots=True)
class Case:
    """One receipt, and what was done to its run."""

    state: str
    deed: str
    seen_as: str
    event_id: str
    run_id: str = ""
    repaired_seconds: float = 0.0

    @property
    def workflow_id(self) -> str:
        return workflow_id(EventId(self.event_id))

    def __str__(self) -> str:
        return f"{self.state}: {self.deed}"


@pytest.fixture
def shop(tmp_path: Path, store_url: str) -> Iterator[Product]:
    settings = {
        "MAKEGOOD_RECONCILE_SECONDS": DEFAULT_RECONCILE_SECONDS,
        "MAKEGOOD_CALLBACK_SCHEDULE_SECONDS": "0,600",
    }
    with product(tmp_path / "data", store_url, settings=settings) as installation:
        yield installation


@pytest.mark.timeout(300)  # on a machine busy with other things
async def test_run_that_is_ended_or_deleted_in_temporal_is_replaced_within_60_s(
    shop: Product,
) -> None:
    hands = Hands(shop, await Client.connect(shop.temporal_address))
    cases = _brought_about(shop)
    await wait_until_async(hands.all_run, seconds=20, what="a run for each receipt")

    async with asyncio.TaskGroup() as doing:
        deeds = [(case, doing.create_task(hands.befall(case))) for case in cases]
        await asyncio.gather(*(deed for case, deed in deeds if case.state == "calling"))
        # A call that hangs for 30 s is given up.
        shop.receiver.answering.set()

    for case in sorted(cases, key=lambda case: case.repaired_seconds):
        print(f"{case.repaired_seconds:5.1f} s  {case.state}: {case.deed}")
    assert max(case.repaired_seconds for case in cases) < WITHIN_SECONDS
    _everything_goes_on(shop, cases)
    _nothing_was_done_twice(shop, cases)


class Hands:
    """A person with Temporal's command line."""

    def __init__(self, shop: Product, client: Client) -> None:
        self._shop = shop
        self._client = client
        self._applied = shop.receipt()
        shop.say("result", {"event_id": self._applied, "status": "success"})

    async def all_run(self) -> bool:
        return count_of_runs(self._shop, status="Running") == len(DEEDS)

    async def befall(self, case: Case) -> None:
        """Do the deed, and return once it has been put right; the case then says how long that
        took.
        """
        case.run_id = await self._run_now(case)
        ended = await self._do(case)
        await wait_until_async(
            lambda: self._is_seen(case, ended),
            seconds=100,
            what=f"the run of {case} is {case.seen_as}",
        )
        done_at = time.monotonic()
        await wait_until_async(
            lambda: self._is_right(case, ended), seconds=WITHIN_SECONDS, what=f"put right: {case}"
        )
        case.repaired_seconds = time.monotonic() - done_at
        if case.state == "due":
            event = self._shop.event(case.event_id)
            case.repaired_seconds = unix(event["incident"]["opened_at"]) - unix(
                event["deadline_at"]
            )

    async def _do(self, case: Case) -> str:
        """The run that is ended by it in the end: the impostor's, where there is one."""
        name = ("--workflow-id", case.workflow_id)
        match case.deed:
            case "terminate" | "cancel":
                await self._temporal("workflow", case.deed, *name)
            case "terminate, and once more":
                await self._temporal("workflow", "terminate", *name)
                await wait_until_async(
                    lambda: self._is_right(case, ""), seconds=WITHIN_SECONDS, what="another run"
                )
                again = await self._run_now(case)
                await self._temporal("workflow", "terminate", *name)
                return again
            case "delete":
                await self._temporal("workflow", "delete", "--yes", *name)
            case "replace by one that fails":
                return await self._replace(case, "evt_unknown", resume=True)
            case "replace by one that completes":
                # It waits regardless of the receipt, and accepts a success signal.
                impostor = await self._replace(case, case.event_id, resume=False)
                await self._temporal(
                    "workflow", "signal", *name, "--name", "result", "--input", MADE_UP_RESULT
                )
                return impostor
            case "replace by one that times out":
                return await self._replace(
                    case, case.event_id, "--execution-timeout", "1s", resume=False
                )
            case "fail its call":
                await self._temporal(
                    "activity", "fail", *name, "--activity-id", await self._call_of(case)
                )
            case "make up its call's answer":
                made_up = ("--activity-id", await self._call_of(case), "--result", MADE_UP_ANSWER)
                await self._temporal("activity", "complete", *name, *made_up)
            case "make up a result" | "make up a result, and forget":
                await self._temporal(
                    "workflow", "signal", *name, "--name", "result", "--input", MADE_UP_RESULT
                )
        if case.deed.endswith("and forget"):
            await wait_until_async(
                lambda: self._has_status(case, "COMPLETED"),
                seconds=20,
                what="completed by the made-up result",
            )
            await self._temporal("workflow", "delete", "--yes", *name, "--run-id", case.run_id)
        return case.run_id

    async def _replace(self, case: Case, event_id: str, *more: str, resume: bool) -> str:
        start = {
            "event_id": event_id,
            "project_id": "prj_made_up",
            "deadline_at": FAR_AWAY,
            "resume": resume,
        }
        typed = (
            "--type",
            "receipt",
            "--task-queue",
            TASK_QUEUE,
            "--id-conflict-policy",
            "TerminateExisting",
            "-o",
            "json",
        )
        named = ("--workflow-id", case.workflow_id, "--input", json.dumps(start))
        return str(
            json.loads(await self._temporal("workflow", "start", *named, *typed, *more))["runId"]
        )

    async def _is_seen(self, case: Case, run_id: str) -> bool:
        described = await self._described(case, run_id)
        if described is None or described.status is None:
            return case.seen_as == ""
        return described.status.name == case.seen_as

    async def _has_status(self, case: Case, status: str) -> bool:
        described = await self._described(case, case.run_id)
        return (
            described is not None
            and described.status is not None
            and described.status.name == status
        )

    async def _is_right(self, case: Case, ended: str) -> bool:
        if case.state == "due":
            return bool(self._shop.event(case.event_id)["state"] == "incident")
        if case.seen_as == "RUNNING":
            return kinds(self._shop.event(case.event_id))["noted"] == 1
        described = await self._described(case)
        is_running = described is not None and described.status is WorkflowExecutionStatus.RUNNING
        return is_running and described is not None and described.run_id not in {case.run_id, ended}

    async def _run_now(self, case: Case) -> str:
        described = await self._described(case)
        assert described is not None
        return described.run_id or ""

    async def _call_of(self, case: Case) -> str:
        described = await self._described(case)
        assert described is not None
        (call,) = described.raw_description.pending_activities
        return str(call.activity_id)

    async def _described(
        self, case: Case, run_id: str | None = None
    ) -> WorkflowExecutionDescription | None:
        try:
            return await self._client.get_workflow_handle(
                case.workflow_id, run_id=run_id
            ).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            return None

    async def _temporal(self, *arguments: str) -> str:
        return await asyncio.to_thread(self._shop.temporal, *arguments)


def _brought_about(shop: Product) -> list[Case]:
    """A receipt for each deed, where it shall stand; from the first that is being called on, no
    call is answered.
    """
    cases = []
    for state in ("waiting", "open", "awaiting_result", "calling", "due"):
        if state == "calling":
            shop.receiver.answering.clear()
        cases += [
            Case(state, deed, seen_as, _brought_to(shop, state))
            for at, deed, seen_as in DEEDS
            if at == state
        ]
    return cases


def _brought_to(shop: Product, state: str) -> str:
    event_id = shop.receipt(**({"timeout_minutes": DUE_MINUTES} if state == "due" else {}))
    if state in {"open", "calling", "awaiting_result"}:
        shop.say("result", {"event_id": event_id, "status": "failed"})
    if state in {"calling", "awaiting_result"}:
        calls = len(shop.receiver.calls)
        shop.reprocess(event_id)
        wait_until(lambda: len(shop.receiver.calls) > calls, what="the callback")
        wait_until(
            lambda: shop.event(event_id)["repairs"][0]["state"] == state,
            what=f"the repair is {state}",
        )
    return event_id


def _everything_goes_on(shop: Product, cases: list[Case]) -> None:
    """Each receipt is taken to its end, by the way that begins where it stands."""
    for case in cases:
        if case.state == "waiting":
            shop.http.post(
                f"/api/v1/events/{case.event_id}/expire", headers=shop.headers
            ).raise_for_status()
    for case in cases:
        shop.becomes(case.event_id, "incident")
        if case.state == "open":
            shop.reprocess(case.event_id)
    for case in cases:
        result = {"event_id": case.event_id, "status": "success"}
        if case.state in {"open", "calling", "awaiting_result"}:
            wait_until(
                lambda case=case: _repair(shop, case)["state"] == "awaiting_result",
                what=f"the call of {case} is answered",
            )
            result["replay_id"] = _repair(shop, case)["replay_id"]
        assert shop.say("result", result)["state"] == "recovered"
    wait_until(
        lambda: count_of_runs(shop, status="Running") == 0, seconds=30, what="every run ended"
    )


def _repair(shop: Product, case: Case) -> dict[str, Any]:
    (repair,) = shop.event(case.event_id)["repairs"]
    return dict(repair)


def _nothing_was_done_twice(shop: Product, cases: list[Case]) -> None:
    events = {case.event_id: shop.event(case.event_id) for case in cases}
    wait_until(
        lambda: len(shop.post.mails) >= 2 * len(cases),
        seconds=30,
        what="the mails of openings and ends",
    )
    assert opening_mails(shop.post.mails) == {
        event["incident"]["id"]: 1 for event in events.values()
    }
    assert copies(shop.post.mails) == []
    for event in events.values():
        counts = kinds(event)
        assert (
            counts["incident_opened"],
            counts["incident_resolved"],
            counts["repair_failed"],
        ) == (
            1,
            1,
            0,
        )
    called = series(shop.receiver.calls)
    assert set(called) == {
        repair["replay_id"] for event in events.values() for repair in event["repairs"]
    }
    for case in cases:
        for repair in events[case.event_id]["repairs"]:
            # A call that was under way when its run was lost is made again, under the same number.
            assert set(called[repair["replay_id"]]) == {1}
            assert len(called[repair["replay_id"]]) == 1 or case.state == "calling"
            assert [attempt["number"] for attempt in repair["attempts"]] == [1]
