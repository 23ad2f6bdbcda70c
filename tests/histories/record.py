"""Records the history of every scenario, and the fingerprint of all.

Usage: `python -m tests.histories.record [NAME]…`. Run it when the commands of the workflow changed
on purpose, together with `workflow.patched` in the workflow. Rename and keep old histories that
runs in production may still have; the tests continue to replay them.
"""

import asyncio
import json
import re
import sys
import tempfile
from pathlib import Path

from temporalio.client import WorkflowHistory
from temporalio.testing import WorkflowEnvironment

from store.crypto.encryption import Sealer
from store.migrate import migrate
from tests.conftest import SECRET_KEY
from tests.histories.fingerprint import FILE, commands_of
from tests.histories.scenarios import PACE, SCENARIOS, Scenario
from tests.support.temporal import start_temporal
from tests.workflows.world import ROOT, world_on

HERE = Path(__file__).parent


async def record(names: list[str]) -> None:
    """Run each scenario, and write its history."""
    temporal_server = await start_temporal()
    try:
        for scenario in SCENARIOS:
            if not names or scenario.__name__ in names:
                await _record(temporal_server, scenario)
    finally:
        await temporal_server.shutdown()
    recorded = {
        path.stem: WorkflowHistory.from_json("recorded", path.read_text()) for path in _histories()
    }
    prints = {name: commands_of(history) for name, history in sorted(recorded.items())}
    (HERE / FILE).write_text(json.dumps(prints, indent=2) + "\n")


def _histories() -> list[Path]:
    return [path for path in HERE.glob("*.json") if path.name != FILE]


async def _record(temporal_server: WorkflowEnvironment, scenario: Scenario) -> None:
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/makegood.db"
        await asyncio.to_thread(migrate, url)
        async with world_on(temporal_server, url, Sealer(SECRET_KEY), **PACE) as world:
            event_id = await scenario(world)
            history = await world.handle(event_id).fetch_history()
    # Remove paths of this machine, which failures contain in their traces.
    text = history.to_json().replace(f"{ROOT}/", "")
    text = re.sub(r'"[^"]*/(lib/python[^"]*)"', r'"\1"', text)
    (HERE / f"{scenario.__name__}.json").write_text(json.dumps(json.loads(text), indent=1) + "\n")
    print(f"{scenario.__name__}: {len(history.events)} events")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1:]))
