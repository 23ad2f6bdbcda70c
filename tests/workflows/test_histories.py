"""Recorded runs still replay, and every scenario has the commands of the committed fingerprint."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import WorkflowHandle, WorkflowHistory
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.ids import EventId
from domain.results import ResultStatus
from store.crypto.encryption import Sealer
from tests import histories
from tests.histories.changed import WithOneMoreActivity, WithOneMoreTimer, WithOneMoreTimerPatchedIn
from tests.histories.fingerprint import FILE, commands_of
from tests.histories.lesson import assert_replays, assert_same_commands
from tests.histories.scenarios import PACE, SCENARIOS, Scenario
from tests.support.waiting import wait_until_async
from tests.workflows.world import world_on
from worker.temporal.connect import prepare_namespace
from workflows.messages import ReceiptInput, ResultSignal, workflow_id
from workflows.receipt import ReceiptWorkflow

HISTORIES = Path(histories.__file__).parent
RECORDED = sorted(path for path in HISTORIES.glob("*.json") if path.name != FILE)
FINGERPRINT: dict[str, list[str]] = json.loads((HISTORIES / FILE).read_text())
# What the failure message must name: the guard, the recording and the fingerprint.
HOW = r"(?s)workflow\.patched.*git mv tests/histories/.*tests\.histories\.record.*fingerprint\.json"
# In a run whose only timer fired, replay takes an additional first timer for that one. Only the
# fingerprint shows the difference.
REPLAYS_ANYWAY = (WithOneMoreTimer, "timeout")
BREAKING = [
    (by, path)
    for by in (WithOneMoreTimer, WithOneMoreActivity)
    for path in RECORDED
    if (by, path.stem) != REPLAYS_ANYWAY
]


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_recorded_history_replays(path: Path) -> None:
    await assert_replays(
        path.stem, recorded(path), committed=FINGERPRINT[path.stem], by=ReceiptWorkflow
    )


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.__name__)
async def test_scenario_has_the_commands_of_the_fingerprint(
    scenario: Scenario, temporal: WorkflowEnvironment, sqlite_url: str, sealer: Sealer
) -> None:
    async with world_on(temporal, sqlite_url, sealer, **PACE) as world:
        event_id = await scenario(world)
        now = commands_of(await world.handle(event_id).fetch_history())

    assert_same_commands(scenario.__name__, committed=FINGERPRINT[scenario.__name__], now=now)


@pytest.mark.parametrize(
    ("changed", "path"),
    BREAKING,
    ids=lambda value: value.stem if isinstance(value, Path) else value.__name__,
)
async def test_release_without_patched_breaks_recorded_runs_and_the_failure_says_what_to_do(
    changed: type, path: Path
) -> None:
    with pytest.raises(AssertionError, match=HOW) as failed:
        await assert_replays(
            path.stem, recorded(path), committed=FINGERPRINT[path.stem], by=changed
        )

    assert "its replay breaks" in str(failed.value)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_release_with_patched_replays_every_recorded_run(path: Path) -> None:
    await assert_replays(
        path.stem, recorded(path), committed=FINGERPRINT[path.stem], by=WithOneMoreTimerPatchedIn
    )


@pytest.mark.parametrize(
    ("changed", "first"),
    [(WithOneMoreTimer, "timer_started"), (WithOneMoreTimerPatchedIn, "marker_recorded")],
    ids=["forgotten", "patched"],
)
async def test_changed_commands_differ_from_the_fingerprint_and_the_failure_says_what_to_do(
    changed: type, first: str, temporal: WorkflowEnvironment
) -> None:
    now = await commands_of_a_success(temporal, changed)

    assert now[0] == first
    with pytest.raises(AssertionError, match=HOW):
        assert_same_commands("success", committed=FINGERPRINT["success"], now=now)


async def test_unchanged_workflow_has_the_fingerprint_without_the_rest_of_makegood(
    temporal: WorkflowEnvironment,
) -> None:
    now = await commands_of_a_success(temporal, ReceiptWorkflow)

    assert_same_commands("success", committed=FINGERPRINT["success"], now=now)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_history_holds_ids_and_nothing_of_people_or_machines(path: Path) -> None:
    text = path.read_text()

    assert not [
        word
        for word in ("@", "whsec_", "sk_test", "/home/", "/root/", "https://shop", "127.0.0.1")
        if word in text
    ]


def test_every_scenario_is_recorded() -> None:
    assert {scenario.__name__ for scenario in SCENARIOS} <= {path.stem for path in RECORDED}


def test_every_recorded_history_has_its_fingerprint() -> None:
    assert {path.stem: commands_of(recorded(path)) for path in RECORDED} == FINGERPRINT


def recorded(path: Path) -> WorkflowHistory:
    history = WorkflowHistory.from_json("", path.read_text())
    # A run refuses the input of another receipt.
    return replace(
        history,
        workflow_id=history.events[0].workflow_execution_started_event_attributes.workflow_id,
    )


async def commands_of_a_success(
    temporal: WorkflowEnvironment, by: type[ReceiptWorkflow]
) -> list[str]:
    """The commands of the common case, which needs only signals."""
    await prepare_namespace(temporal.client, is_ours=True)
    event_id = EventId(f"evt_{uuid4().hex}")
    start = ReceiptInput(event_id, "prj_1", datetime.now(UTC) + timedelta(minutes=30))
    async with Worker(temporal.client, task_queue=event_id, workflows=[by]):
        handle = await temporal.client.start_workflow(
            "receipt", start, id=workflow_id(event_id), task_queue=event_id
        )
        await wait_until_async(lambda: has_started(handle), what="the first task is completed")
        await handle.signal("result", ResultSignal("res_1", ResultStatus.SUCCESS))
        await handle.result()
        return commands_of(await handle.fetch_history())


async def has_started(handle: WorkflowHandle[Any, Any]) -> bool:
    return "timer_started" in commands_of(await handle.fetch_history())
