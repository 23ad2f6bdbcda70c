"""Runs that an operator ends or deletes in Temporal, in every way, while their receipts are open.

1. The test makes one receipt for each case of `CASES`, and brings it to the case's state.
2. For each, `TemporalOperator` performs the case's action on its run by Temporal's command line:
   terminate, cancel or delete it, start another workflow under its id, send it a result that nobody
   reported, or answer its activity with an invented result.
3. The reconciler, at its default interval, must start another run within `WITHIN_SECONDS`.
4. The new run continues from the stored state, to the receipt's end: with one incident, one mail of
   each kind and one series of callbacks.
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
# The timeout of the receipts in state "due". Their runs end before this deadline.
DUE_MINUTES = 0.1
DEFAULT_RECONCILE_SECONDS = str(Settings.model_fields["reconcile_seconds"].default)
INVENTED_RESULT = json.dumps({"result_id": "res_invented", "status": "success", "replay_id": None})
FAR_FUTURE = "2099-01-01T00:00:00+00:00"
INVENTED_STATUS = {"state": "recovered", "deadline_at": FAR_FUTURE}
INVENTED_ANSWER = json.dumps(
    {"status": INVENTED_STATUS, "retry_after_ms": None, "should_alert": False}
)
# (state of the receipt or its repair, action on its run, status of that run afterwards: "" means
# that Temporal does not know it)
CASES = (
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
    ("waiting", "terminate twice", "TERMINATED"),
    ("awaiting_result", "terminate twice", "TERMINATED"),
    ("calling", "fail its activity", "FAILED"),
    ("calling", "complete its activity with an invented answer", "COMPLETED"),
    ("waiting", "signal an invented result", "COMPLETED"),
    ("waiting", "signal an invented result, then delete", ""),
    # The run reads the store, finds no such result, and notes the signal on the timeline.
    ("open", "signal an invented result", "RUNNING"),
    ("awaiting_result", "signal an invented result", "RUNNING"),
    ("due", "terminate", "TERMINATED"),
    ("due", "delete", ""),
    ("due", "signal an invented result, then delete", ""),
)


@dataclass(slots=True)
class Case:
    """One receipt, and the action on its run. `run_status` is that run's status afterwards.

    `run_id` is set before the action, `repaired_seconds` after the repair.
    """

    state: str
    action: str
    run_status: str
    event_id: str
    run_id: str = ""
    repaired_seconds: float = 0.0

    @property
    def workflow_id(self) -> str:
        return workflow_id(EventId(self.event_id))

    def __str__(self) -> str:
        return f"{self.state}: {self.action}"


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
    # A run that completes normally, beside those of the cases.
    shop.say("result", {"event_id": shop.receipt(), "status": "success"})
    operator = TemporalOperator(shop, await Client.connect(shop.temporal_address))
    cases = _make_cases(shop)
    await wait_until_async(operator.every_run_exists, seconds=20, what="a run for each receipt")

    async with asyncio.TaskGroup() as group:
        tasks = [
            (case, group.create_task(operator.act_and_wait_for_repair(case))) for case in cases
        ]
        await asyncio.gather(*(task for case, task in tasks if case.state == "calling"))
        # From here on the endpoint answers. A callback without an answer times out after 30 s.
        shop.receiver.answering.set()

    for case in sorted(cases, key=lambda case: case.repaired_seconds):
        print(f"{case.repaired_seconds:5.1f} s  {case}")
    assert max(case.repaired_seconds for case in cases) < WITHIN_SECONDS
    _complete_every_receipt(shop, cases)
    _assert_nothing_was_done_twice(shop, cases)


class TemporalOperator:
    """An operator who uses Temporal's command line."""

    def __init__(self, shop: Product, client: Client) -> None:
        self._shop = shop
        self._client = client

    async def every_run_exists(self) -> bool:
        return count_of_runs(self._shop, status="Running") == len(CASES)

    async def act_and_wait_for_repair(self, case: Case) -> None:
        """Perform the action, wait until the reconciler has repaired it, and measure the time."""
        case.run_id = await self._current_run_id(case)
        ended = await self._act(case)
        await wait_until_async(
            lambda: self._has_expected_status(case, ended),
            seconds=100,
            what=f"the run of {case} is {case.run_status}",
        )
        done_at = time.monotonic()
        await wait_until_async(
            lambda: self._is_repaired(case, ended), seconds=WITHIN_SECONDS, what=f"repair of {case}"
        )
        case.repaired_seconds = time.monotonic() - done_at
        if case.state == "due":
            event = self._shop.event(case.event_id)
            case.repaired_seconds = unix(event["incident"]["opened_at"]) - unix(
                event["deadline_at"]
            )

    async def _act(self, case: Case) -> str:
        """Perform the action of the case; returns the id of the run that it ends last.

        This is another run than `case.run_id` where the action starts one, or ends two.
        """
        name = ("--workflow-id", case.workflow_id)
        match case.action:
            case "terminate" | "cancel":
                await self._temporal("workflow", case.action, *name)
            case "terminate twice":
                await self._temporal("workflow", "terminate", *name)
                await wait_until_async(
                    lambda: self._is_repaired(case, ""), seconds=WITHIN_SECONDS, what="another run"
                )
                again = await self._current_run_id(case)
                await self._temporal("workflow", "terminate", *name)
                return again
            case "delete":
                await self._temporal("workflow", "delete", "--yes", *name)
            case "replace by one that fails":
                return await self._replace(case, "evt_unknown", resume=True)
            case "replace by one that completes":
                # It waits for a result whatever the store says, and the signal completes it.
                replacement = await self._replace(case, case.event_id, resume=False)
                await self._temporal(
                    "workflow", "signal", *name, "--name", "result", "--input", INVENTED_RESULT
                )
                return replacement
            case "replace by one that times out":
                return await self._replace(
                    case, case.event_id, "--execution-timeout", "1s", resume=False
                )
            case "fail its activity":
                await self._temporal(
                    "activity", "fail", *name, "--activity-id", await self._activity_id_of(case)
                )
            case "complete its activity with an invented answer":
                answer = (
                    "--activity-id",
                    await self._activity_id_of(case),
                    "--result",
                    INVENTED_ANSWER,
                )
                await self._temporal("activity", "complete", *name, *answer)
            case "signal an invented result" | "signal an invented result, then delete":
                await self._temporal(
                    "workflow", "signal", *name, "--name", "result", "--input", INVENTED_RESULT
                )
        if case.action.endswith("then delete"):
            await wait_until_async(
                lambda: self._has_status(case, "COMPLETED"),
                seconds=20,
                what="completed by the invented result",
            )
            await self._temporal("workflow", "delete", "--yes", *name, "--run-id", case.run_id)
        return case.run_id

    async def _replace(self, case: Case, event_id: str, *more: str, resume: bool) -> str:
        start = {
            "event_id": event_id,
            "project_id": "prj_invented",
            "deadline_at": FAR_FUTURE,
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

    async def _has_expected_status(self, case: Case, run_id: str) -> bool:
        described = await self._described(case, run_id)
        if described is None or described.status is None:
            return case.run_status == ""
        return described.status.name == case.run_status

    async def _has_status(self, case: Case, status: str) -> bool:
        described = await self._described(case, case.run_id)
        return (
            described is not None
            and described.status is not None
            and described.status.name == status
        )

    async def _is_repaired(self, case: Case, ended: str) -> bool:
        if case.state == "due":
            return bool(self._shop.event(case.event_id)["state"] == "incident")
        if case.run_status == "RUNNING":
            return kinds(self._shop.event(case.event_id))["noted"] == 1
        described = await self._described(case)
        is_running = described is not None and described.status is WorkflowExecutionStatus.RUNNING
        return is_running and described is not None and described.run_id not in {case.run_id, ended}

    async def _current_run_id(self, case: Case) -> str:
        described = await self._described(case)
        assert described is not None
        return described.run_id or ""

    async def _activity_id_of(self, case: Case) -> str:
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


def _make_cases(shop: Product) -> list[Case]:
    """A receipt for each case, in its state.

    From the first receipt in state `calling` on, the repair endpoint answers no callback.
    """
    cases = []
    for state in ("waiting", "open", "awaiting_result", "calling", "due"):
        if state == "calling":
            shop.receiver.answering.clear()
        cases += [
            Case(state, action, run_status, _receipt_in_state(shop, state))
            for case_state, action, run_status in CASES
            if case_state == state
        ]
    return cases


def _receipt_in_state(shop: Product, state: str) -> str:
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


def _complete_every_receipt(shop: Product, cases: list[Case]) -> None:
    """Bring each receipt to its end from its state: expiry, incident, repair, success."""
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
                what=f"the callback of {case} is answered",
            )
            result["replay_id"] = _repair(shop, case)["replay_id"]
        assert shop.say("result", result)["state"] == "recovered"
    wait_until(
        lambda: count_of_runs(shop, status="Running") == 0, seconds=30, what="every run ended"
    )


def _repair(shop: Product, case: Case) -> dict[str, Any]:
    (repair,) = shop.event(case.event_id)["repairs"]
    return dict(repair)


def _assert_nothing_was_done_twice(shop: Product, cases: list[Case]) -> None:
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
            # A callback in flight when its run was lost is sent again, under the same number.
            assert set(called[repair["replay_id"]]) == {1}
            assert len(called[repair["replay_id"]]) == 1 or case.state == "calling"
            assert [attempt["number"] for attempt in repair["attempts"]] == [1]
