"""Runs that were recorded still replay, and every path still gives the engine the commands of the committed fingerprint."""

import json
from pathlib import Path

import pytest
from temporalio.client import WorkflowHistory
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Replayer

from store.sealing import Sealer
from tests import histories
from tests.histories.fingerprint import FILE, commands_of
from tests.histories.lives import LIVES, PACE, Life
from tests.workflows.world import world_on
from workflows.receipt import ReceiptWorkflow

HISTORIES = Path(histories.__file__).parent
RECORDED = sorted(path for path in HISTORIES.glob("*.json") if path.name != FILE)
FINGERPRINT: dict[str, list[str]] = json.loads((HISTORIES / FILE).read_text())
LESSON = """
The commands of the workflow changed in the life {name!r}. Workflows that are running now would break on it. If that is meant:
  1. put the change behind `if workflow.patched("a-name-for-it"):` in workflows/receipt.py, the old commands in its else;
  2. keep the old recording: git mv tests/histories/{name}.json tests/histories/{name}_before_a_name_for_it.json;
  3. record anew: .venv/bin/python -m tests.histories.record {name}
  4. run this test again, and commit the workflow, both histories and fingerprint.json together.
If it is not meant, the workflow's order of timers, activities and upserts must go back to what it was:
  committed: {committed}
  now:       {now}
"""


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
async def test_recorded_history_replays(path: Path) -> None:
    history = WorkflowHistory.from_json("receipt-recorded", path.read_text())

    await Replayer(workflows=[ReceiptWorkflow]).replay_workflow(history)


@pytest.mark.parametrize("life", LIVES, ids=lambda life: life.__name__)
async def test_life_gives_the_commands_of_the_fingerprint(
    life: Life, engine: WorkflowEnvironment, sqlite_url: str, sealer: Sealer
) -> None:
    async with world_on(engine, sqlite_url, sealer, **PACE) as world:
        event_id = await life(world)
        now = commands_of(await world.handle(event_id).fetch_history())

    name = life.__name__
    assert now == FINGERPRINT[name], LESSON.format(name=name, committed=FINGERPRINT[name], now=now)


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_history_holds_ids_and_nothing_of_people_or_machines(path: Path) -> None:
    text = path.read_text()

    assert not [word for word in ("@", "whsec_", "sk_test", "/home/", "/root/", "https://shop", "127.0.0.1") if word in text]


def test_every_life_is_recorded() -> None:
    assert {life.__name__ for life in LIVES} <= {path.stem for path in RECORDED}
