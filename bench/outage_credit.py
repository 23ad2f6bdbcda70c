"""Measures the credit of an outage with a million open deadlines, and its effect on ingest.

    python -m bench.outage_credit [sqlite] [postgresql] [--receipts 1000000]

The ingest of a store with so many waiting receipts was down for five minutes.

1. An API process starts and records the outage with its first heartbeat. Bound: at most 1 s later
   than with an empty store.
2. Another process credits as the worker does, while 8 callers send receipts and results of waiting
   receipts in turn, with pauses of 50 ms. Bounds: every deadline is credited once, no request is
   refused, and the p99 of results is within 5 times that of the same load after the credit.
"""

import argparse
import asyncio
import json
import secrets
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
from sqlalchemy import text

from bench.figures import check_bound, p99, print_spread
from bench.load import receipt_body
from bench.processes import Installation, api, install, run_measurement
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.pending_credit import pending_outages
from tests.support.postgres import running_postgres
from worker.loops.outage_credit import credit_all

NO_TEMPORAL = "127.0.0.1:9"  # never called
CALLERS = 8
CALL_EVERY_SECONDS = 0.05
AFTER_SECONDS = 15.0
DOWN_SECONDS = 300
MOST_MORE_TO_START_SECONDS = 1.0
MOST_P99 = 5.0
ROWS_AT_ONCE = 50_000
NUMBERS = {
    "sqlite": """
WITH RECURSIVE n(i) AS (SELECT :first UNION ALL SELECT i + 1 FROM n WHERE i + 1 < :last)
SELECT i FROM n""",
    "postgresql": """
SELECT i FROM generate_series(CAST(:first AS bigint), CAST(:last AS bigint) - 1) AS n(i)""",
}
NAME = {"sqlite": "printf('%032x', i)", "postgresql": "lpad(to_hex(i), 32, '0')"}
FILL = """
INSERT INTO receipts (event_id, project_id, livemode, state, provider, provider_event_id,
  stripe_event_id, event_type, effect_type, internal_reference, occurred_at, accepted_at,
  timeout_at, deadline_at, flags, request_id)
SELECT 'evt_' || {name}, :project_id, {yes}, 'waiting', 'stripe', 'evt_' || {name},
  'evt_' || {name}, 'invoice.paid', 'access_unlock',
  'order', at, at, at + 1800000 + i, at + 1800000 + i, '', 'req'
FROM (SELECT i, CAST(:accepted_at AS bigint) AS at FROM ({numbers}) AS numbered) AS given"""


async def fill(installation: Installation, receipts: int) -> None:
    """Insert receipts that have waited for ten minutes, and an ingest heartbeat of five minutes
    ago.
    """
    database = Database.open(installation.database_url, statement_seconds=600)
    numbers, name = NUMBERS[database.dialect], NAME[database.dialect]
    yes = "true" if database.dialect == "postgresql" else "1"
    statement = text(FILL.format(name=name, numbers=numbers, yes=yes))
    async with database.reading() as session:
        now_ms = int((await database.now(session)).timestamp() * 1000)
    for first in range(0, receipts, ROWS_AT_ONCE):
        values = {"project_id": installation.project_id, "accepted_at": now_ms - 600_000}
        async with database.transaction() as session:
            await session.execute(
                statement, {**values, "first": first, "last": min(first + ROWS_AT_ONCE, receipts)}
            )
    columns = "process, role, started_at, at, report"
    values = "('ingest_0', 'ingest', :at, :at, '{}')"
    heartbeat = f"INSERT INTO heartbeats ({columns}) VALUES {values}"
    async with database.transaction() as session:
        await session.execute(text(heartbeat), {"at": now_ms - DOWN_SECONDS * 1000})
    if database.dialect == "postgresql":
        async with database.transaction() as session:
            await session.execute(text("ANALYZE receipts"))
    await database.close()


async def credit(url: str) -> dict[str, float]:
    """Credit as a worker does, in a process of its own."""
    database = Database.open(url, writes_on_loop=True)
    took: list[float] = []
    began = at = time.perf_counter()

    async def pause(seconds: float) -> None:
        nonlocal at
        took.append(time.perf_counter() - at)
        await asyncio.sleep(seconds)
        at = time.perf_counter()

    credited = await credit_all(database, pause=pause)
    seconds = time.perf_counter() - began
    async with database.reading() as session:
        left = len(await pending_outages(SessionStatements(session)))
    await database.close()
    batches = {
        "batches": len(took),
        "batch_p99_ms": p99(took) * 1000,
        "batch_longest_ms": max(took) * 1000,
    }
    return {"seconds": seconds, "credited": credited, "left": left, **batches}


async def load(
    installation: Installation, until: asyncio.Event, receipts: int
) -> tuple[list[float], int]:
    """Run the load. Returns the milliseconds of each result, and how many requests were refused."""
    took_ms: list[float] = []
    refused = 0
    key = {
        "Authorization": f"Bearer {installation.api_key}",
        "Accept": "application/json",
        "Content-Type": "application/json",
    }

    async def post(client: httpx.AsyncClient, path: str, body: bytes) -> float:
        nonlocal refused
        began = time.perf_counter()
        response = await client.post(
            path, content=body, headers={**key, "Idempotency-Key": secrets.token_hex(12)}
        )
        refused += response.status_code != 202
        return (time.perf_counter() - began) * 1000

    async def call() -> None:
        async with httpx.AsyncClient(base_url=installation.api_url, timeout=60) as client:
            while not until.is_set():
                await post(client, "/api/v1/receipt", receipt_body(secrets.token_hex(12)))
                of = f"evt_{secrets.randbelow(receipts):032x}"
                result = json.dumps({"event_id": of, "status": "success"}).encode()
                took_ms.append(await post(client, "/api/v1/result", result))
                await asyncio.sleep(CALL_EVERY_SECONDS)

    await asyncio.gather(*(call() for _ in range(CALLERS)))
    return took_ms, refused


async def during(
    installation: Installation, receipts: int
) -> tuple[list[float], int, dict[str, float]]:
    """Run the load while another process credits."""
    over = asyncio.Event()

    async def crediting() -> dict[str, float]:
        try:
            return await asyncio.to_thread(
                run_measurement, "bench.outage_credit", "--credit", installation.database_url
            )
        finally:
            over.set()

    figures, (took_ms, refused) = await asyncio.gather(
        crediting(), load(installation, over, receipts)
    )
    return took_ms, refused, figures


async def after(installation: Installation, receipts: int) -> list[float]:
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(AFTER_SECONDS, over.set)
    return (await load(installation, over, receipts))[0]


async def count_credits(installation: Installation) -> tuple[int, int]:
    """How many timeline entries record a credit, and of how many receipts."""
    database = Database.open(installation.database_url, statement_seconds=600)
    query = (
        "SELECT count(*), count(DISTINCT event_id) FROM timeline WHERE kind = 'deadline_credited'"
    )
    async with database.reading() as session:
        row = (await session.execute(text(query))).one()
    await database.close()
    return row[0], row[1]


def start_seconds(installation: Installation) -> float:
    """Start an API process and return the seconds until it answers."""
    began = time.perf_counter()
    with api(installation):
        return time.perf_counter() - began


def measure(top: Path, dialect: str, url: str | None, empty_url: str | None, receipts: int) -> bool:
    empty_seconds = start_seconds(
        install(top / f"{dialect}-empty", temporal=NO_TEMPORAL, database_url=empty_url, mode="live")
    )
    full = install(top / dialect, temporal=NO_TEMPORAL, database_url=url, mode="live")
    asyncio.run(fill(full, receipts))
    print(f"{dialect}, {receipts} waiting receipts", flush=True)
    began = time.perf_counter()
    with api(full):
        more_seconds = time.perf_counter() - began - empty_seconds
        took_ms, refused, figures = asyncio.run(during(full, receipts))
        after_ms = asyncio.run(after(full, receipts))
    entries, of_receipts = asyncio.run(count_credits(full))
    for name, value in figures.items():
        print(f"  {name:<48} {value:.1f}", flush=True)
    print_spread("results during the credit", took_ms, "ms")
    print_spread("results after the credit", after_ms, "ms")
    for name, lags in (("during", took_ms), ("after", after_ms)):
        print(f"  p99 {name} the credit {p99(lags):.1f} ms of {len(lags)} results", flush=True)
    return all(
        (
            check_bound(
                "until the outage is recorded, over an empty store",
                more_seconds,
                most=MOST_MORE_TO_START_SECONDS,
                unit="s",
            ),
            check_bound("outages left", figures["left"], most=0, unit="number"),
            check_bound("receipts credited", of_receipts, least=receipts, unit="number"),
            check_bound("credits in total", entries, most=receipts, unit="number"),
            check_bound("requests refused", refused, most=0, unit="number"),
            check_bound(
                "p99 of results, while / after", p99(took_ms) / p99(after_ms), most=MOST_P99
            ),
        )
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="*", metavar="STORE", help="sqlite, postgresql, or both")
    parser.add_argument("--receipts", type=int, default=1_000_000)
    parser.add_argument("--credit", metavar="URL", help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.credit is not None:
        print(json.dumps(asyncio.run(credit(chosen.credit))))
        return 0
    results: list[bool] = []
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="makegood-bench-")))
        for dialect in chosen.stores or ["sqlite", "postgresql"]:
            with ExitStack() as store:
                url = empty_url = None
                if dialect == "postgresql":
                    postgres = store.enter_context(running_postgres(durable=True))
                    url, empty_url = (
                        postgres.url(postgres.create("bench")),
                        postgres.url(postgres.create("empty")),
                    )
                results.append(measure(top, dialect, url, empty_url, chosen.receipts))
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
