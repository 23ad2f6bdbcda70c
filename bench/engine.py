"""How many receipts a second the engine brings from the outbox to a completed workflow, beside a minimal workflow.

    python -m bench.engine [--count 300] [--rounds 3]

In turn, on one Temporal dev server, each with one worker process that nothing else runs beside:
- minimal: workflows of one timer and one signal, driven directly: all started, then all signalled, until all have completed;
- ours, apart: receipts are committed; when the engine has taken them all, their successes are; until all workflows have
  completed and the outbox is empty;
- ours, together: receipts and successes are committed in the same transactions, so that each is told in one call.
Bounds: apart no less than 80 % of minimal, together no less than 130 %. The clock runs from the commit of the receipts on.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from temporalio.client import Client

from bench.figures import ratio_held, told
from bench.filling import fill, new_numbers
from bench.processes import Installation, install, measured, temporal_server, worker
from bench.watch import TIMERS_LEFT_SECONDS, completed, connected, until, until_first_tasks_done
from store.db.database import Database
from store.receipts.outbox import count as count_outbox
from workflows.messages import RECEIPT_WORKFLOW

LEAST_APART = 0.80
LEAST_TOGETHER = 1.30
WARM_UP = 20


class Ours:
    """A running worker's receipts, counted from outside."""

    def __init__(self, installation: Installation, client: Client, database: Database) -> None:
        self._installation = installation
        self._client = client
        self._database = database

    async def apart(self, count: int) -> float:
        """Lives per second, the success of each told after its start."""
        numbers, before = new_numbers(count), await completed(self._client, RECEIPT_WORKFLOW)
        event_ids = await fill(self._installation, "receipt", numbers=numbers)
        started = time.perf_counter()
        await until(self._has_told_everything, what="every receipt told")
        await until_first_tasks_done(self._client, [f"receipt-{event_id}" for event_id in event_ids])
        await fill(self._installation, "result", numbers=numbers)
        await self._until_completed(before + count)
        return count / (time.perf_counter() - started)

    async def together(self, count: int) -> float:
        """Lives per second, start and success told in one call."""
        numbers, before = new_numbers(count), await completed(self._client, RECEIPT_WORKFLOW)
        await fill(self._installation, "receipt", "result", numbers=numbers)
        started = time.perf_counter()
        await self._until_completed(before + count)
        return count / (time.perf_counter() - started)

    async def _until_completed(self, count: int) -> None:
        async def is_done() -> bool:
            return await completed(self._client, RECEIPT_WORKFLOW) >= count and await self._has_told_everything()

        await until(is_done, what="every workflow completed")

    async def _has_told_everything(self) -> bool:
        async with self._database.reading() as session:
            return await count_outbox(session) == 0


async def measure_ours(installation: Installation, temporal: str, count: int) -> tuple[float, float]:
    """Apart and together, with a worker process that was just started."""
    database = Database.open(installation.database_url)
    async with connected(temporal) as client:
        with worker(installation):
            ours = Ours(installation, client, database)
            await ours.apart(WARM_UP)
            await asyncio.sleep(TIMERS_LEFT_SECONDS)
            apart = await ours.apart(count)
            await asyncio.sleep(TIMERS_LEFT_SECONDS)
            together = await ours.together(count)
            await asyncio.sleep(TIMERS_LEFT_SECONDS)
    await database.close()
    return apart, together


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=450, help="lives in each measurement")
    parser.add_argument("--rounds", type=int, default=6)
    chosen = parser.parse_args()
    minimal: list[float] = []
    apart: list[float] = []
    together: list[float] = []
    with tempfile.TemporaryDirectory(prefix="makegood-bench-") as top, temporal_server(Path(top) / "temporal") as temporal:
        installation = install(Path(top) / "ours", temporal=temporal)
        for _ in range(chosen.rounds):
            minimal.append(measured("bench.driven", "signals", "--temporal", temporal, "--count", str(chosen.count))["rate"])
            rates = asyncio.run(measure_ours(installation, temporal, chosen.count))
            apart.append(rates[0])
            together.append(rates[1])
            print(f"  round: minimal {minimal[-1]:.1f}, apart {apart[-1]:.1f}, together {together[-1]:.1f} /s", flush=True)
    told("minimal workflow, one timer and one signal", minimal, "/s")
    told("receipts, success told after the start", apart, "/s")
    told("receipts, start and success told together", together, "/s")
    is_held = ratio_held("apart / minimal", apart, minimal, least=LEAST_APART)
    return 0 if ratio_held("together / minimal", together, minimal, least=LEAST_TOGETHER) and is_held else 1


if __name__ == "__main__":
    sys.exit(main())
