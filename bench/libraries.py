"""Compares own code with the library that could replace it, as a share of ingest's CPU time.

    python -m bench.libraries [--seconds 3] [--rounds 7]

All is measured in one run, alternately, and each ratio is the median of the rounds. CPU time is
compared, because the rate of a busy machine measures its neighbours. A saturated API process
accepts one receipt per its CPU time. Bounds, of the records 0030 to 0032:

1. Counters: the client library of Prometheus, which is used, costs at most 5 % of a receipt.
2. SQLite: aiosqlite for ingest's own connection would cost more than 5 %, and for the worker's
   writing connection more than 5 % of its transaction.
3. HTTP: h11 with its own limit on heads would cost more than 5 %. uvicorn's httptools has no limit;
   its figures show what our subclass costs.
"""

import argparse
import asyncio
import sqlite3
import sys
import tempfile
from bisect import bisect_left
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from time import process_time

import psutil
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncEngine

from api.http.metrics import DURATION_BOUNDS_SECONDS, Counts
from bench.figures import check_bound, print_spread
from bench.ingest import NO_TEMPORAL, load, receipts_of
from bench.processes import Installation, install, wait_for_answer
from bench.protocol_server import PROTOCOLS
from store.db.engines import SQLITE_PRAGMAS, sqlite_engine
from store.db.sqlite import BEGIN_WRITING, connect, connect_in_thread
from tests.support.processes import Program, python, running

SHARE = 0.05
CALLERS = 16
REQUESTS = 50_000
# A receipt of ingest: its key, the receipt, its outbox row (`store.ingest.insert_receipts`).
STATEMENTS_OF_RECEIPT = 3
# About the statements of one transition of the worker.
STATEMENTS_OF_TRANSITION = 12
TRANSACTIONS = 150
TABLE = "CREATE TABLE IF NOT EXISTS written (id INTEGER PRIMARY KEY, told TEXT)"
INSERT = "INSERT INTO written (told) VALUES ('a receipt of about this length, written once')"


def cpu_microseconds(program: Program) -> float:
    """The CPU time that the process has used."""
    used = psutil.Process(program.process.pid).cpu_times()
    return (used.user + used.system) * 1e6


def measure_protocols(top: Path, *, seconds: float, rounds: int) -> dict[str, list[float]]:
    """CPU time per receipt of an API process, by protocol, in microseconds."""
    costs: dict[str, list[float]] = {protocol: [] for protocol in PROTOCOLS}
    rates: dict[str, list[float]] = {protocol: [] for protocol in PROTOCOLS}
    with ExitStack() as stack:
        servers: dict[str, tuple[Installation, Program]] = {}
        for protocol in PROTOCOLS:
            installation = install(top / protocol, temporal=NO_TEMPORAL, mode="live")
            command = python("-m", "bench.protocol_server", protocol)
            server = stack.enter_context(running(*command, environment=installation.environment))
            wait_for_answer(f"{installation.api_url}/livez", server)
            servers[protocol] = installation, server
        for _ in range(rounds):
            for protocol, (installation, server) in servers.items():
                before = cpu_microseconds(server)
                measured = load(
                    receipts_of(installation),
                    key=installation.api_key,
                    callers=CALLERS,
                    seconds=seconds,
                )
                costs[protocol].append((cpu_microseconds(server) - before) / measured["requests"])
                rates[protocol].append(measured["rate"])
    for protocol in PROTOCOLS:
        print_spread(f"{protocol}: CPU time per receipt", costs[protocol], "us")
        print_spread(f"{protocol}: rate at {CALLERS} callers", rates[protocol], "/s")
    return costs


class PlainCounts:
    """What `Counts` was before: one counter and one histogram, without locks."""

    def __init__(self) -> None:
        self.accepted = {"receipt": 0}
        self.buckets = [0] * (len(DURATION_BOUNDS_SECONDS) + 1)
        self.sum_seconds = 0.0

    def count(self, seconds: float) -> None:
        self.accepted["receipt"] += 1
        self.buckets[bisect_left(DURATION_BOUNDS_SECONDS, seconds)] += 1
        self.sum_seconds += seconds


def measure_counters(rounds: int) -> tuple[list[float], list[float]]:
    """CPU time of counting one receipt, in microseconds: with plain counters, with the library."""
    plain, counts = PlainCounts(), Counts()
    accepted = counts.accepted.labels("receipt")
    durations = counts.durations.labels("receipt")

    def with_library() -> None:
        accepted.inc()
        durations.observe(0.02)

    own: list[float] = []
    library: list[float] = []
    for _ in range(rounds):
        own.append(_cpu_of(lambda: plain.count(0.02)))
        library.append(_cpu_of(with_library))
    print_spread("counting a receipt, plain counters", own, "us")
    print_spread("counting a receipt, prometheus_client", library, "us")
    return own, library


def _cpu_of(action: Callable[[], None]) -> float:
    began = process_time()
    for _ in range(REQUESTS):
        action()
    return (process_time() - began) * 1e6 / REQUESTS


async def measure_ingest_sqlite(path: Path, rounds: int) -> tuple[list[float], list[float]]:
    """CPU time of a receipt in a batch, in microseconds: on the event loop, and by aiosqlite."""
    inline = connect(path, SQLITE_PRAGMAS, creates=True)
    inline.execute(TABLE)
    threaded = await connect_in_thread(path, SQLITE_PRAGMAS)

    async def on_loop() -> None:
        inline.execute(BEGIN_WRITING)
        for _ in range(CALLERS * STATEMENTS_OF_RECEIPT):
            inline.execute(INSERT).fetchall()
        inline.execute("COMMIT")

    async def by_aiosqlite() -> None:
        await threaded.execute(BEGIN_WRITING)
        for _ in range(CALLERS * STATEMENTS_OF_RECEIPT):
            await threaded.execute_fetchall(INSERT)
        await threaded.execute("COMMIT")

    try:
        batches = await _alternately(on_loop, by_aiosqlite, rounds)
    finally:
        await threaded.close()
        inline.close()
    own, library = ([batch / CALLERS for batch in spent] for spent in batches)
    print_spread("storing a receipt of ingest, on the event loop", own, "us")
    print_spread("storing a receipt of ingest, aiosqlite", library, "us")
    return own, library


async def measure_worker_sqlite(path: Path, rounds: int) -> tuple[list[float], list[float]]:
    """CPU time of one transaction of the worker, in microseconds: inline, and by aiosqlite."""
    with sqlite3.connect(path) as made:
        made.execute(TABLE)
    made.close()
    engines = sqlite_engine(path, on_loop=True), sqlite_engine(path)

    async def transact(engine: AsyncEngine) -> None:
        async with engine.begin() as connection:
            for _ in range(STATEMENTS_OF_TRANSITION):
                await connection.execute(text(INSERT))

    try:
        own, library = await _alternately(
            partial(transact, engines[0]), partial(transact, engines[1]), rounds
        )
    finally:
        for engine in engines:
            await engine.dispose()
    print_spread("a transaction of the worker, inline", own, "us")
    print_spread("a transaction of the worker, aiosqlite", library, "us")
    return own, library


async def _alternately(
    first: Callable[[], Awaitable[None]], second: Callable[[], Awaitable[None]], rounds: int
) -> tuple[list[float], list[float]]:
    spent: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for action, into in zip((first, second), spent, strict=True):
            began = process_time()
            for _ in range(TRANSACTIONS):
                await action()
            into.append((process_time() - began) * 1e6 / TRANSACTIONS)
    return spent


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="makegood-bench-") as directory:
        top = Path(directory)
        costs = measure_protocols(top, seconds=chosen.seconds, rounds=chosen.rounds)
        receipt = median(costs["httptools"])
        counters = measure_counters(chosen.rounds)
        ingest = asyncio.run(measure_ingest_sqlite(top / "ingest.db", chosen.rounds))
        worker = asyncio.run(measure_worker_sqlite(top / "worker.db", chosen.rounds))
    holds = (
        check_bound(
            "prometheus_client, more of a receipt",
            _more(*counters) / receipt,
            most=SHARE,
        ),
        check_bound(
            "aiosqlite for ingest, more of a receipt",
            _more(*ingest) / receipt,
            least=SHARE,
        ),
        check_bound(
            "aiosqlite for the worker, more of a transaction",
            _more(*worker) / median(worker[0]),
            least=SHARE,
        ),
        check_bound(
            "h11, more of a receipt",
            _more(costs["bounded"], costs["h11"]) / receipt,
            least=SHARE,
        ),
    )
    return 0 if all(holds) else 1


def _more(own: list[float], library: list[float]) -> float:
    """How much more the second costs: the median of the differences of each round."""
    return median(b - a for a, b in zip(own, library, strict=True))


if __name__ == "__main__":
    sys.exit(main())
