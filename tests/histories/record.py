"""Records every life anew: `python -m tests.histories.record [NAME]…`, with the fingerprint of all.

To be run when the commands of the workflow changed on purpose, together with `workflow.patched` in the workflow. Keep the old
histories that runs in production may still have: rename them, and they go on being replayed.
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
from tests.histories.lives import LIVES, PACE, Life
from tests.workflows.world import ROOT, start_engine, world_on

HERE = Path(__file__).parent


async def record(names: list[str]) -> None:
    """Live each life, and write down its history."""
    engine = await start_engine()
    try:
        for life in LIVES:
            if not names or life.__name__ in names:
                await _record(engine, life)
    finally:
        await engine.shutdown()
    recorded = {path.stem: WorkflowHistory.from_json("recorded", path.read_text()) for path in _histories()}
    prints = {name: commands_of(history) for name, history in sorted(recorded.items())}
    (HERE / FILE).write_text(json.dumps(prints, indent=2) + "\n")


def _histories() -> list[Path]:
    return [path for path in HERE.glob("*.json") if path.name != FILE]


async def _record(engine: WorkflowEnvironment, life: Life) -> None:
    with tempfile.TemporaryDirectory() as directory:
        url = f"sqlite:///{directory}/makegood.db"
        await asyncio.to_thread(migrate, url)
        async with world_on(engine, url, Sealer(SECRET_KEY), **PACE) as world:
            event_id = await life(world)
            history = await world.handle(event_id).fetch_history()
    # Nothing of the machine that it was recorded on: failures hold traces with paths.
    text = history.to_json().replace(f"{ROOT}/", "")
    text = re.sub(r'"[^"]*/(lib/python[^"]*)"', r'"\1"', text)
    (HERE / f"{life.__name__}.json").write_text(json.dumps(json.loads(text), indent=1) + "\n")
    print(f"{life.__name__}: {len(history.events)} events")


if __name__ == "__main__":
    asyncio.run(record(sys.argv[1:]))
