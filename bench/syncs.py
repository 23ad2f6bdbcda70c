"""Counts disk syncs per receipt, and checks that each 202 leaves after its commit is on disk.

    python -m bench.syncs [sqlite] [postgresql] [--seconds 4] [--rounds 3]

1. SQLite: the API process runs under strace, which counts its fsync and fdatasync calls. Then a
   short slice is traced. For each 202 the trace must contain, in this order: the last write to the
   write-ahead log with the event's id, a successful sync of that file, and the response.
2. PostgreSQL: a real server with fsync on. The counter is `fsyncs` of the WAL in `pg_stat_io`, of
   all processes of the server. Its settings show that sessions wait for their commits.

Bound: 0.15 syncs per receipt at 64 callers. The SQLite part needs strace.
"""

import argparse
import asyncio
import json
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg

from bench.figures import check_bound, print_spread
from bench.processes import Installation, api, install
from tests.support.postgres import Postgres, running_postgres
from tests.support.processes import ROOT, python

CALLERS = 64
MOST_SYNCS = 0.15
TRACED_REQUESTS = 640
FLUSH_SECONDS = 2.0  # PostgreSQL's processes report their counters at most once a second
NO_TEMPORAL = "127.0.0.1:9"  # ingest never calls it
ACCEPTED = r"{\"accepted\":true"  # as strace prints it
EVENT = re.compile(r"evt_[0-9a-f]{32}")
WAL_SYNCS = "SELECT sum(fsyncs) FROM pg_stat_io WHERE object = 'wal'"
DURABILITY = """
SELECT 'fsync=' || current_setting('fsync')
    || ' synchronous_commit=' || current_setting('synchronous_commit')"""


def load(installation: Installation, *, seconds: float, limit: int = 1_000_000) -> dict[str, float]:
    """Run one slice of receipts. None of them may be refused."""
    arguments = (
        "--key",
        installation.api_key,
        "--callers",
        str(CALLERS),
        "--seconds",
        str(seconds),
        "--limit",
        str(limit),
    )
    url = f"{installation.api_url}/api/v1/receipt"
    ended = subprocess.run(
        python("-m", "bench.load", url, *arguments),
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    measured: dict[str, float] = json.loads(ended.stdout)
    assert measured["refused"] == 0, measured
    return measured


@contextmanager
def traced(pid: int, output: Path, *options: str) -> Iterator[None]:
    """Trace a process and its threads during the block."""
    strace = subprocess.Popen(
        ("strace", "-f", "-p", str(pid), "-o", str(output), *options),
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert strace.stderr is not None
        assert "attached" in strace.stderr.readline(), "strace could not attach"
        yield
    finally:
        strace.send_signal(signal.SIGINT)
        strace.wait(timeout=30)


def sqlite(directory: Path, *, seconds: float, rounds: int) -> bool:
    """Count the syncs, then check the order."""
    installation = install(directory, temporal=NO_TEMPORAL)
    per_receipt: list[float] = []
    with api(installation) as program:
        for number in range(rounds):
            output = directory / f"counted-{number}"
            with traced(program.process.pid, output, "-e", "trace=fsync,fdatasync"):
                accepted = load(installation, seconds=seconds)["requests"]
            syncs = len(re.findall(r"f(?:data)?sync\(", output.read_text(errors="replace")))
            per_receipt.append(syncs / accepted)
        output = directory / "ordered"
        calls = "trace=fdatasync,fsync,write,writev,sendto,sendmsg,pwrite64"
        with traced(
            program.process.pid, output, "-y", "-s", "5000", "-e", calls, "-e", "signal=none"
        ):
            accepted = load(installation, seconds=60, limit=TRACED_REQUESTS)["requests"]
    print_spread("sqlite: syncs per receipt, x 1000", [1000 * one for one in per_receipt], "")
    holds = check_bound(
        "sqlite: syncs per receipt at 64 callers, at worst", max(per_receipt), most=MOST_SYNCS
    )
    order = read_order(output)
    responses = f"{len(order.answered)} responses traced, {len(order.early)} left before their sync"
    print(f"  sqlite: {accepted:.0f} receipts sent, {responses}", flush=True)
    return holds and len(order.answered) == accepted and not order.early


@dataclass(slots=True)
class Order:
    """The events that were answered with 202, and those whose response left too early."""

    answered: set[str] = field(default_factory=set)
    early: set[str] = field(default_factory=set)


def read_order(trace: Path) -> Order:
    """Read the calls of a trace in order.

    A call that strace prints in two parts counts at its end.
    """
    order, number = Order(), 0
    written_at: dict[str, int] = {}
    synced_from = 0  # every write to the log before this one is on disk
    begun: dict[str, tuple[int, str]] = {}
    # by connection; the head of a response leaves before its body
    on_disk_at_head: dict[str, int] = {}
    with trace.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            number += 1
            thread, _, call = line.partition(" ")
            if call.rstrip().endswith("<unfinished ...>"):
                begun[thread] = (number, call)
                continue
            from_number = number
            if "resumed>" in call:
                from_number, first = begun.pop(thread, (number, ""))
                call = first + call
            name = call.lstrip().partition("(")[0]
            if name == "pwrite64" and "-wal>" in call[:200]:
                written_at.update(dict.fromkeys(EVENT.findall(call), number))
            elif (
                name in ("fdatasync", "fsync") and "-wal>" in call and call.rstrip().endswith("= 0")
            ):
                synced_from = from_number
            elif name in ("write", "writev", "sendto", "sendmsg"):
                connection = call.partition("(")[2].partition(",")[0]
                if "HTTP/1.1 202" in call:
                    on_disk_at_head[connection] = synced_from
                if ACCEPTED in call:
                    event_id = EVENT.findall(call)[-1]
                    order.answered.add(event_id)
                    if not written_at.get(event_id, number) < on_disk_at_head[connection]:
                        order.early.add(event_id)
    return order


def postgresql(directory: Path, *, seconds: float, rounds: int) -> bool:
    """Read the server's counters before and after each slice."""
    with running_postgres(durable=True) as postgres:
        installation = install(
            directory, temporal=NO_TEMPORAL, database_url=postgres.url(postgres.create("bench"))
        )
        per_receipt: list[float] = []
        with api(installation):
            for _ in range(rounds):
                before = int(query_value(postgres, WAL_SYNCS))
                accepted = load(installation, seconds=seconds)["requests"]
                time.sleep(FLUSH_SECONDS)
                per_receipt.append((int(query_value(postgres, WAL_SYNCS)) - before) / accepted)
            durability = query_value(postgres, DURABILITY)
    print_spread(
        "postgresql: WAL syncs per receipt, x 1000", [1000 * one for one in per_receipt], ""
    )
    print(f"  postgresql: {durability}", flush=True)
    is_durable = durability == "fsync=on synchronous_commit=on"
    return (
        check_bound(
            "postgresql: syncs per receipt at 64 callers, at worst",
            max(per_receipt),
            most=MOST_SYNCS,
        )
        and is_durable
    )


def query_value(postgres: Postgres, sql: str) -> str:
    """Query one value of the server."""

    async def fetch() -> str:
        connection = await asyncpg.connect(postgres.url("bench"))
        value = await connection.fetchval(sql)
        await connection.close()
        return str(value)

    return asyncio.run(fetch())


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    # A string, not a list: argparse checks the default of `*` against the choices too.
    parser.add_argument(
        "stores", nargs="*", default="both", choices=["sqlite", "postgresql", "both"]
    )
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=3)
    chosen = parser.parse_args()
    results = []
    with tempfile.TemporaryDirectory(prefix="makegood-bench-") as top:
        if "sqlite" in chosen.stores or "both" in chosen.stores:
            assert shutil.which("strace"), "strace is not installed"
            results.append(
                sqlite(Path(top) / "sqlite", seconds=chosen.seconds, rounds=chosen.rounds)
            )
        if "postgresql" in chosen.stores or "both" in chosen.stores:
            results.append(
                postgresql(Path(top) / "postgresql", seconds=chosen.seconds, rounds=chosen.rounds)
            )
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
