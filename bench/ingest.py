"""Compares ingest's rate and p99 with a bare FastAPI route and with one that starts a workflow.

python -m bench.ingest [sqlite] [postgresql] [--seconds 4] [--rounds 5] [--without-temporal |
--only-backlog]

One API process runs as in production: authentication, idempotency, limits and metrics are on, and
every key and body is different. The load is a process of its own. Ours and the baselines take turns
in each round. Bounds:

1. At 16 and 64 callers at least 75 % (PostgreSQL) or 50 % (SQLite, synchronous FULL) of the bare
   route, and 10 times the route that starts a workflow in the request.
2. p99 at 16 callers within 3 times that of the bare route.
3. p99 while 10,000 receipts are dispatched within 5 times the idle p99.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from statistics import median

from bench.figures import check_bound, print_spread
from bench.processes import Installation, api, install, temporal_server, wait_for_answer, worker
from tests.support.postgres import running_postgres
from tests.support.processes import ROOT, free_ports, python, running

CALLERS = (16, 64)
LEAST_SHARE = {"sqlite": 0.50, "postgresql": 0.75}
LEAST_OVER_TEMPORAL = 10.0
MOST_P99 = 3.0
MOST_P99_UNDER_BACKLOG = 5.0
BACKLOG = 10_000
NO_TEMPORAL = "127.0.0.1:9"  # the API never calls it

Slice = dict[str, float]


def receipts_of(installation: Installation) -> str:
    return f"{installation.api_url}/api/v1/receipt"


def load(url: str, *, key: str, callers: int, seconds: float, limit: int = 1_000_000) -> Slice:
    """Run one slice of load in a process of its own.

    Raises:
        AssertionError: a receipt was refused.
    """
    arguments = (
        "--key",
        key,
        "--callers",
        str(callers),
        "--seconds",
        str(seconds),
        "--limit",
        str(limit),
    )
    ended = subprocess.run(
        python("-m", "bench.load", url, *arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    measured: Slice = json.loads(ended.stdout)
    assert measured["refused"] == 0, measured
    return measured


def compare(
    installation: Installation,
    bare: str,
    temporal: str | None,
    *,
    callers: int,
    seconds: float,
    rounds: int,
    dialect: str,
) -> bool:
    """Run rounds of bare, ours and Temporal in turn. Each ratio is the median of the rounds."""
    slices: dict[str, list[Slice]] = {"bare": [], "ours": [], "temporal": []}
    for _ in range(rounds):
        slices["bare"].append(load(bare, key="none", callers=callers, seconds=seconds))
        slices["ours"].append(
            load(
                receipts_of(installation),
                key=installation.api_key,
                callers=callers,
                seconds=seconds,
            )
        )
        if temporal is not None:
            slices["temporal"].append(load(temporal, key="none", callers=callers, seconds=seconds))
    print(f"{dialect}, {callers} callers, {rounds} rounds of {seconds:g} s")
    for name, measured in slices.items():
        if measured:
            print_spread(f"{name}: rate", [one["rate"] for one in measured], "/s")
            print_spread(f"{name}: p99", [one["p99_ms"] for one in measured], "ms")
    pairs = list(zip(slices["ours"], slices["bare"], strict=True))
    holds = check_bound(
        "ours / bare, rate",
        median(a["rate"] / b["rate"] for a, b in pairs),
        least=LEAST_SHARE[dialect],
    )
    if callers == 16:
        holds &= check_bound(
            "ours / bare, p99", median(a["p99_ms"] / b["p99_ms"] for a, b in pairs), most=MOST_P99
        )
    if slices["temporal"]:
        over = median(
            a["rate"] / b["rate"] for a, b in zip(slices["ours"], slices["temporal"], strict=True)
        )
        holds &= check_bound(
            "ours / starting Temporal in the request", over, least=LEAST_OVER_TEMPORAL
        )
    return holds


def under_backlog(installation: Installation, *, seconds: float, rounds: int) -> bool:
    """Check p99 at 16 callers while a worker dispatches a backlog, against the idle p99."""
    url, key = receipts_of(installation), installation.api_key
    with api(installation):
        idle = [load(url, key=key, callers=16, seconds=seconds)["p99_ms"] for _ in range(rounds)]
        load(url, key=key, callers=16, seconds=60, limit=BACKLOG)
        with worker(installation):
            busy = [
                load(url, key=key, callers=16, seconds=seconds)["p99_ms"] for _ in range(rounds)
            ]
    print_spread("idle: p99", idle, "ms")
    print_spread("dispatching a backlog of 10,000: p99", busy, "ms")
    return check_bound(
        "backlog / idle, p99", median(busy) / median(idle), most=MOST_P99_UNDER_BACKLOG
    )


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="*", metavar="STORE", help="sqlite, postgresql, or both")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-temporal", action="store_true")
    parser.add_argument("--only-backlog", action="store_true")
    chosen = parser.parse_args()
    results: list[bool] = []
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="makegood-bench-")))
        (bare_port,) = free_ports(1)
        baseline = ["-m", "bench.baselines", "--port", str(bare_port)]
        temporal = NO_TEMPORAL
        if not chosen.without_temporal:
            temporal = stack.enter_context(temporal_server(top / "temporal"))
            baseline += ["--temporal", temporal]
        base = f"http://127.0.0.1:{bare_port}"
        wait_for_answer(f"{base}/openapi.json", stack.enter_context(running(*python(*baseline))))
        started = None if chosen.without_temporal else f"{base}/temporal"
        for dialect in chosen.stores or ["sqlite", "postgresql"]:
            with ExitStack() as store:
                url = None
                if dialect == "postgresql":
                    postgres = store.enter_context(running_postgres(durable=True))
                    url = postgres.url(postgres.create("bench"))
                installation = install(
                    top / dialect, temporal=temporal, database_url=url, mode="live"
                )
                with api(installation):
                    for callers in () if chosen.only_backlog else CALLERS:
                        results.append(
                            compare(
                                installation,
                                f"{base}/bare",
                                started,
                                callers=callers,
                                seconds=chosen.seconds,
                                rounds=chosen.rounds,
                                dialect=dialect,
                            )
                        )
                if not chosen.without_temporal:
                    url = url and postgres.url(postgres.create("backlog"))
                    second = install(
                        top / f"{dialect}-backlog", temporal=temporal, database_url=url, mode="live"
                    )
                    results.append(
                        under_backlog(second, seconds=chosen.seconds, rounds=chosen.rounds)
                    )
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
