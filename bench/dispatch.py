"""Measures how many receipts a second go from the outbox to a completed workflow.

    python -m bench.dispatch [--count 300] [--rounds 3]

Three measurements in turn on one Temporal dev server, each with one worker process and no other:

1. Minimal: workflows of one timer and one signal. All are started, then all are signalled.
2. Ours, apart: receipts are committed. When all are started, their successes are committed.
3. Ours, together: receipts and successes are committed in the same transactions, so that each
   receipt is sent in one call.

Each ends when all workflows have completed, and ours when the outbox is empty too. The clock starts
at the commit of the receipts. Bounds: apart at least 80 % of minimal, together at least 130 %.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

from temporalio.client import Client

from bench.figures import check_ratio, print_spread
from bench.fill_store import fill, new_numbers
from bench.processes import Installation, install, run_measurement, temporal_server, worker
from bench.watch import (
    TIMERS_LEFT_SECONDS,
    connected,
    count_completed,
    wait_for_first_tasks,
    wait_until,
)
from store.db.database import Database
from store.receipts.outbox import count as count_outbox
from workflows.messages import RECEIPT_WORKFLOW

LEAST_APART = 0.80
LEAST_TOGETHER = 1.30
WARM_UP = 20


class Ours:
    """Measures the receipts of a running worker from outside."""

    def __init__(self, installation: Installation, client: Client, database: Database) -> None:
        self._installation = installation
        self._client = client
        self._database = database

    async def apart(self, count: int) -> float:
        """Receipts per second, with each success sent after the start."""
        numbers, before = new_numbers(count), await count_completed(self._client, RECEIPT_WORKFLOW)
        event_ids = await fill(self._installation, "receipt", numbers=numbers)
        started = time.perf_counter()
        await wait_until(self._is_outbox_empty, what="every receipt started")
        await wait_for_first_tasks(self._client, [f"receipt-{event_id}" for event_id in event_ids])
        await fill(self._installation, "result", numbers=numbers)
        await self._until_completed(before + count)
        return count / (time.perf_counter() - started)

    async def together(self, count: int) -> float:
        """Receipts per second, with start and success sent in one call."""
        numbers, before = new_numbers(count), await count_completed(self._client, RECEIPT_WORKFLOW)
        await fill(self._installation, "receipt", "result", numbers=numbers)
        started = time.perf_counter()
        await self._until_completed(before + count)
        return count / (time.perf_counter() - started)

    async def _until_completed(self, count: int) -> None:
        async def is_done() -> bool:
            return (
                await count_completed(self._client, RECEIPT_WORKFLOW) >= count
                and await self._is_outbox_empty()
            )

        await wait_until(is_done, what="every workflow completed")

    async def _is_outbox_empty(self) -> bool:
        async with self._database.reading() as session:
            return await count_outbox(session) == 0


async def measure_ours(
    installation: Installation, temporal: str, count: int
) -> tuple[float, float]:
    """The rates apart and together, with a new worker process."""
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
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--count", type=int, default=450, help="receipts in each measurement")
    parser.add_argument("--rounds", type=int, default=6)
    chosen = parser.parse_args()
    minimal: list[float] = []
    apart: list[float] = []
    together: list[float] = []
    with (
        tempfile.TemporaryDirectory(prefix="makegood-bench-") as top,
        temporal_server(Path(top) / "temporal") as temporal,
    ):
        installation = install(Path(top) / "ours", temporal=temporal)
        for _ in range(chosen.rounds):
            minimal.append(
                run_measurement(
                    "bench.minimal_driver",
                    "signals",
                    "--temporal",
                    temporal,
                    "--count",
                    str(chosen.count),
                )["rate"]
            )
            rates = asyncio.run(measure_ours(installation, temporal, chosen.count))
            apart.append(rates[0])
            together.append(rates[1])
            ours = f"apart {apart[-1]:.1f}, together {together[-1]:.1f}"
            print(f"  round: minimal {minimal[-1]:.1f}, {ours} /s", flush=True)
    print_spread("minimal workflow, one timer and one signal", minimal, "/s")
    print_spread("receipts, success sent after the start", apart, "/s")
    print_spread("receipts, start and success sent together", together, "/s")
    holds = check_ratio("apart / minimal", apart, minimal, least=LEAST_APART)
    return (
        0
        if check_ratio("together / minimal", together, minimal, least=LEAST_TOGETHER) and holds
        else 1
    )


if __name__ == "__main__":
    sys.exit(main())
