"""Records the history of every scenario of bulk repairs, and the fingerprint of all.

Usage: `python -m tests.histories.bulk.record [NAME]…`, as `tests.histories.record`.
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
from tests.histories.bulk.scenarios import SCENARIOS, Scenario
from tests.histories.fingerprint import FILE, commands_of
from tests.support.temporal import start_temporal
from tests.workflows.bulk import bulk_world_on
from tests.workflows.world import ROOT

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
        path.stem: WorkflowHistory.from_json("recorded", path.read_text())
        for path in HERE.glob("*.json")
        if path.name != FILE
    }
    prints = {name: commands_of(history) for name, history in sorted(recorded.items())}
    (HERE / FILE).write_text(json.dumps(prints, indent=2) + "\n")


async def _record(temporal_server: WorkflowEnvironment, scenario: Scenario) -> None:
    with tempfile.TemporaryDirectory() as directory:
        url, sealer = f"sqlite:///{directory}/makegood.db", Sealer(SECRET_KEY)
        await asyncio.to_thread(migrate, url)
        async with bulk_world_on(temporal_server, url, sealer) as world:
            handle = await scenario(world)
            history = await handle.fetch_history()
    # Remove paths of this machine, which failures contain in their traces.
    text = history.to_json().replace(f"{ROOT}/", "")
    text = re.sub(r'"[^"]*/(lib/python[^"]*)"', r'"\1"', text)
    (HERE / f"{scenario.__name__}.json").write_text(json.dumps(json.loads(text), indent=1) + "\n")
    print(f"{scenario.__name__}: {len(history.events)} events")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1:]))
