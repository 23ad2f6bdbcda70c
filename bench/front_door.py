"""The front door's rate and p99 beside a bare FastAPI route that stores nothing, and one that starts a workflow in the request.

    python -m bench.front_door [sqlite] [postgresql] [--seconds 4] [--rounds 5] [--without-temporal | --only-backlog]

One API process as it runs in production: authentication, idempotency, limits and metrics on, every key and body different. The
load is a process of its own; ours and the baselines take turns in each round. Bounds: at 16 and 64 callers no less than 75 %
(PostgreSQL) or 50 % (SQLite, synchronous FULL) of the bare route and 10 times the route that starts a workflow; p99 at 16 callers
within 3 times the bare route's; while 10,000 receipts are being dispatched, within 5 times its own idle p99.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import httpx

from tests.postgres import running_postgres
from tests.processes import ROOT, Program, free_ports, python, running
from tests.waiting import wait_until

CALLERS = (16, 64)
LEAST_SHARE = {"sqlite": 0.50, "postgresql": 0.75}
LEAST_OVER_TEMPORAL = 10.0
MOST_P99 = 3.0
MOST_P99_UNDER_BACKLOG = 5.0
BACKLOG = 10_000
SECRET_KEY = "the root secret of this measurement alone"

Slice = dict[str, float]


@dataclass(frozen=True, slots=True)
class Door:
    """A running API process and a key that it accepts."""

    url: str
    key: str
    environment: dict[str, str]


def environment_of(directory: Path, database_url: str | None) -> dict[str, str]:
    """The settings of one installation of its own; limits are on, and out of the way."""
    settings = {"MAKEGOOD_DATA_DIR": str(directory), "MAKEGOOD_SECRET_KEY": SECRET_KEY, "MAKEGOOD_LOG_LEVEL": "warning"}
    settings |= {"MAKEGOOD_RATE_LIMIT": "1000000", "MAKEGOOD_RATE_BURST": "1000000"}
    return settings | ({"MAKEGOOD_DATABASE_URL": database_url} if database_url else {})


def command(environment: dict[str, str], *arguments: str) -> dict[str, object]:
    """The JSON that a `makegood` command prints."""
    ended = subprocess.run(
        python("-m", "cli.main", *arguments),
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    printed: dict[str, object] = json.loads(ended.stdout) if ended.stdout.strip() else {}
    return printed


@contextmanager
def api(environment: dict[str, str]) -> Iterator[Door]:
    """One API process on a free port, its store migrated, and a project of its own."""
    (port,) = free_ports(1)
    environment = environment | {"MAKEGOOD_PORT": str(port)}
    command(environment, "migrate", "--json")
    made = command(environment, "project", "create", "bench", "--mode", "live", "--scope", "ingest", "--scope", "read", "--json")
    url = f"http://127.0.0.1:{port}"
    with running(*python("-m", "cli.main", "api"), environment=environment) as program:
        answers(f"{url}/livez", program)
        yield Door(f"{url}/api/v1/receipt", str(made["api_key"]), environment)


def answers(url: str, program: Program) -> None:
    def is_up() -> bool:
        assert program.process.poll() is None, program.output
        try:
            return httpx.get(url, timeout=1).status_code < 500
        except httpx.HTTPError:
            return False

    wait_until(is_up, seconds=30, what=url)


def load(url: str, *, key: str, callers: int, seconds: float, limit: int = 1_000_000) -> Slice:
    """One slice of load from a process of its own. Raises: AssertionError when a receipt was refused."""
    arguments = ("--key", key, "--callers", str(callers), "--seconds", str(seconds), "--limit", str(limit))
    ended = subprocess.run(python("-m", "bench.load", url, *arguments), cwd=ROOT, capture_output=True, text=True, check=True)
    measured: Slice = json.loads(ended.stdout)
    assert measured["refused"] == 0, measured
    return measured


def told(name: str, values: list[float], unit: str) -> None:
    print(f"  {name:<44} min {min(values):>8.1f}  median {median(values):>8.1f}  max {max(values):>8.1f} {unit}", flush=True)


def held(name: str, ratio: float, *, least: float | None = None, most: float | None = None) -> bool:
    is_held = (least is None or ratio >= least) and (most is None or ratio <= most)
    bound = f"at least {least:.2f}" if least is not None else f"at most {most:.2f}"
    print(f"  {name:<44} ratio {ratio:.2f}, {bound}: {'holds' if is_held else 'DOES NOT HOLD'}", flush=True)
    return is_held


def compare(door: Door, bare: str, temporal: str | None, *, callers: int, seconds: float, rounds: int, dialect: str) -> bool:
    """Rounds of bare, ours and Temporal in turn; each ratio is the median of the rounds' own."""
    slices: dict[str, list[Slice]] = {"bare": [], "ours": [], "temporal": []}
    for _ in range(rounds):
        slices["bare"].append(load(bare, key="none", callers=callers, seconds=seconds))
        slices["ours"].append(load(door.url, key=door.key, callers=callers, seconds=seconds))
        if temporal is not None:
            slices["temporal"].append(load(temporal, key="none", callers=callers, seconds=seconds))
    print(f"{dialect}, {callers} callers, {rounds} rounds of {seconds:g} s")
    for name, measured in slices.items():
        if measured:
            told(f"{name}: rate", [one["rate"] for one in measured], "/s")
            told(f"{name}: p99", [one["p99_ms"] for one in measured], "ms")
    pairs = list(zip(slices["ours"], slices["bare"], strict=True))
    is_held = held("ours / bare, rate", median(a["rate"] / b["rate"] for a, b in pairs), least=LEAST_SHARE[dialect])
    if callers == 16:
        is_held &= held("ours / bare, p99", median(a["p99_ms"] / b["p99_ms"] for a, b in pairs), most=MOST_P99)
    if slices["temporal"]:
        over = median(a["rate"] / b["rate"] for a, b in zip(slices["ours"], slices["temporal"], strict=True))
        is_held &= held("ours / starting Temporal in the request", over, least=LEAST_OVER_TEMPORAL)
    return is_held


def under_backlog(environment: dict[str, str], temporal_port: int, *, seconds: float, rounds: int) -> bool:
    """p99 at 16 callers idle, then while a worker dispatches a backlog of 10,000."""
    with api(environment | {"TEMPORAL_ADDRESS": f"127.0.0.1:{temporal_port}"}) as door:
        idle = [load(door.url, key=door.key, callers=16, seconds=seconds)["p99_ms"] for _ in range(rounds)]
        load(door.url, key=door.key, callers=16, seconds=60, limit=BACKLOG)
        told_ready = door.environment | {"MAKEGOOD_LOG_LEVEL": "info"}
        with running(*python("-m", "cli.main", "worker"), environment=told_ready) as worker:
            worker.wait_for("worker_ready", seconds=60)
            busy = [load(door.url, key=door.key, callers=16, seconds=seconds)["p99_ms"] for _ in range(rounds)]
    told("idle: p99", idle, "ms")
    told("dispatching a backlog of 10,000: p99", busy, "ms")
    return held("backlog / idle, p99", median(busy) / median(idle), most=MOST_P99_UNDER_BACKLOG)


def temporal_server(directory: Path, port: int) -> tuple[str, ...]:
    found = Path(sys.executable).parent / "temporal"
    pragmas = ("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=1")
    database = ("--db-filename", str(directory / "temporal.db"), "--headless", "--log-level", "error")
    return (str(found), "server", "start-dev", "--ip", "127.0.0.1", "--port", str(port), *database, *pragmas)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("stores", nargs="*", metavar="STORE", help="sqlite, postgresql, or both")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without-temporal", action="store_true")
    parser.add_argument("--only-backlog", action="store_true")
    chosen = parser.parse_args()
    are_held: list[bool] = []
    with ExitStack() as stack:
        top = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="makegood-bench-")))
        bare_port, temporal_port = free_ports(2)
        baseline = ["-m", "bench.baselines", "--port", str(bare_port)]
        if not chosen.without_temporal:
            server = stack.enter_context(running(*temporal_server(top, temporal_port)))
            wait_until(lambda: _accepts(temporal_port), seconds=30, what=f"Temporal: {server.output}")
            baseline += ["--temporal", f"127.0.0.1:{temporal_port}"]
        base = f"http://127.0.0.1:{bare_port}"
        answers(f"{base}/openapi.json", stack.enter_context(running(*python(*baseline))))
        started = None if chosen.without_temporal else f"{base}/temporal"
        for dialect in chosen.stores or ["sqlite", "postgresql"]:
            with ExitStack() as store:
                url = None
                if dialect == "postgresql":
                    postgres = store.enter_context(running_postgres(durable=True))
                    url = postgres.url(postgres.create("bench"))
                environment = environment_of(top / dialect, url)
                with api(environment) as door:
                    for callers in () if chosen.only_backlog else CALLERS:
                        are_held.append(
                            compare(
                                door,
                                f"{base}/bare",
                                started,
                                callers=callers,
                                seconds=chosen.seconds,
                                rounds=chosen.rounds,
                                dialect=dialect,
                            )
                        )
                if not chosen.without_temporal:
                    second = environment_of(top / f"{dialect}-backlog", url and postgres.url(postgres.create("backlog")))
                    are_held.append(under_backlog(second, temporal_port, seconds=chosen.seconds, rounds=chosen.rounds))
    return 0 if all(are_held) else 1


def _accepts(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex(("127.0.0.1", port)) == 0


if __name__ == "__main__":
    sys.exit(main())
