"""Compares the dispatch of one project's backlog with that of another checkout of this project.

    python -m bench.turns CHECKOUT [sqlite] [postgresql] [--waiting 50000] [--rounds 5]

CHECKOUT is a directory with another version and its own `.venv`. Both take turns in each round, on
empty stores of their own. Ratios are the medians of the rounds' ratios.

1. Claims: so many receipts of one project wait to be started. For some seconds, 16 are claimed and
   marked as delivered in one transaction, as the dispatcher does. Temporal does not run. Bound: at
   least 40 % of the other version's rate, and four times what Temporal takes.
2. Dispatch: one round of `bench.dispatch`, so with Temporal and a worker. Bound: at least 90 % of
   the other version's rate, apart as together.
"""

import argparse
import asyncio
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median

LEAST_CLAIMS, LEAST_DISPATCH, TIMES_TEMPORAL = 0.40, 0.90, 4
AT_ONCE = 16
FAR = 10**13  # a deadline in milliseconds
_RECEIPTS = """
INSERT INTO receipts (event_id, project_id, livemode, state, provider, provider_event_id,
  event_type, effect_type, internal_reference, occurred_at, accepted_at, timeout_at, deadline_at,
  flags, request_id)
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)
SELECT 'evt_' || i, 'prj_greedy', false, 'waiting', 'stripe', 'e' || i, 'invoice.paid',
  'access_unlock', 'order', 0, 0, CAST(:far AS BIGINT) + i, CAST(:far AS BIGINT) + i, '', 'req'
FROM n"""
_STARTS = """
INSERT INTO outbox (event_id, kind, fields, created_at)
SELECT event_id, 'start', '{}', 0 FROM receipts ORDER BY deadline_at"""


async def claim_for(url: str, *, waiting: int, seconds: float) -> float:
    """Receipts per second that this version claims and marks; the store is migrated and empty."""
    from sqlalchemy import text

    from store.db.database import Database
    from store.receipts import outbox

    database = Database.open(url)
    async with database.transaction() as session:
        await session.execute(text(_RECEIPTS), {"count": waiting, "far": FAR})
        await session.execute(text(_STARTS))
    walk = _new_walk()
    claimed, began_at = 0, time.perf_counter()
    while (spent := time.perf_counter() - began_at) < seconds:
        async with database.transaction() as session:
            now = await database.now(session)
            batches = await outbox.claim(
                session, now, limit=AT_ONCE, due_limit=AT_ONCE, urgent_limit=8, walk=walk
            )
            await outbox.mark_delivered(session, [row.id for one in batches for row in one.rows])
        assert len(batches) == AT_ONCE, "the backlog is too small for this time"
        claimed += len(batches)
    await database.close()
    return claimed / spent


# Any: the type has another name in each version.
def _new_walk() -> object:
    """What the dispatcher of this version keeps between its claims."""
    import worker.loops.dispatch as dispatch

    return (getattr(dispatch, "ClaimWalk", None) or dispatch.DueWalk)()  # type: ignore[attr-defined]


def measured_in(checkout: Path, url: str, *, waiting: int, seconds: float) -> float:
    """The rate of claims of a checkout, in a process of its own."""
    code = f"import runpy; runpy.run_path({__file__!r})['measure_here']()"
    values = json.dumps({"url": url, "waiting": waiting, "seconds": seconds})
    ended = subprocess.run(
        (_python_of(checkout), "-c", code, values), cwd=checkout, capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    return float(ended.stdout.splitlines()[-1])


def measure_here() -> None:
    """Print the rate of claims of the version in this directory."""
    from store.migrate import migrate

    given = json.loads(sys.argv[-1])
    migrate(given["url"])
    print(asyncio.run(claim_for(**given)))


def dispatched_in(checkout: Path, count: int) -> tuple[float, float]:
    """The rates apart and together of one round of `bench.dispatch` of a checkout."""
    ended = subprocess.run(
        (_python_of(checkout), "-m", "bench.dispatch", "--count", str(count), "--rounds", "1"),
        cwd=checkout,
        capture_output=True,
        text=True,
    )
    found = re.search(r"apart ([\d.]+), together ([\d.]+)", ended.stdout)
    assert found is not None, ended.stderr
    return float(found[1]), float(found[2])


def _python_of(checkout: Path) -> str:
    return str(checkout.resolve() / ".venv" / "bin" / "python")


@contextmanager
def stores_of(dialect: str) -> Iterator[Iterator[str]]:
    """Addresses of empty stores."""
    from tests.support.postgres import running_postgres

    def files(directory: str) -> Iterator[str]:
        number = 0
        while True:
            number += 1
            yield f"sqlite:///{directory}/{number}.db"

    if dialect == "sqlite":
        with tempfile.TemporaryDirectory(prefix="makegood-bench-") as directory:
            yield files(directory)
        return
    with running_postgres(durable=True) as server:
        yield (server.url(server.create()) for _ in iter(int, 1))


def compare(
    checkouts: dict[str, Path], dialect: str, *, waiting: int, seconds: float, rounds: int
) -> tuple[list[float], bool]:
    """The rates of claims of this version on one database, and whether the bound holds."""
    from bench.figures import check_ratio, print_spread

    rates: dict[str, list[float]] = {name: [] for name in checkouts}
    with stores_of(dialect) as urls:
        for number in range(rounds):
            for name in sorted(checkouts, reverse=number % 2 == 1):
                rates[name].append(
                    measured_in(checkouts[name], next(urls), waiting=waiting, seconds=seconds)
                )
    for name, found in rates.items():
        print_spread(f"{dialect}, {name}: claimed of {waiting:,}", found, "/s")
    holds = check_ratio("this / other, claims", rates["this"], rates["other"], least=LEAST_CLAIMS)
    return rates["this"], holds


def compare_dispatch(
    checkouts: dict[str, Path], claims: list[float], *, count: int, rounds: int
) -> bool:
    """Whether the bounds of dispatch hold; `claims` are the rates of this version."""
    from bench.figures import check_bound, check_ratio, print_spread

    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in checkouts}
    for number in range(rounds):
        for name in sorted(checkouts, reverse=number % 2 == 1):
            rates[name].append(dispatched_in(checkouts[name], count))
    held = []
    for index, what in enumerate(("apart", "together")):
        found = {name: [one[index] for one in of] for name, of in rates.items()}
        for name, values in found.items():
            print_spread(f"{name}: dispatched, {what}", values, "/s")
        held.append(
            check_ratio(
                f"this / other, {what}", found["this"], found["other"], least=LEAST_DISPATCH
            )
        )
    together = median(one[1] for one in rates["this"])
    times = median(claims) / together
    return check_bound("claims / dispatched together", times, least=TIMES_TEMPORAL) and all(held)


def main() -> int:
    from tests.support.processes import ROOT

    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT")
    parser.add_argument("stores", nargs="*", metavar="STORE", help="sqlite, postgresql, or both")
    parser.add_argument("--waiting", type=int, default=50_000)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--count", type=int, default=300, help="receipts of each dispatch")
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    checkouts = {"this": ROOT, "other": chosen.checkout}
    found = [
        compare(
            checkouts,
            dialect,
            waiting=chosen.waiting,
            seconds=chosen.seconds,
            rounds=chosen.rounds,
        )
        for dialect in chosen.stores or ["sqlite", "postgresql"]
    ]
    holds = compare_dispatch(checkouts, found[0][0], count=chosen.count, rounds=chosen.rounds)
    return 0 if holds and all(held for _, held in found) else 1


if __name__ == "__main__":
    sys.exit(main())
