"""Compares ingest's rate and p99 with those of another checkout of this project.

    python -m bench.versions CHECKOUT [sqlite] [postgresql] [--seconds 4] [--rounds 7]

CHECKOUT is a directory with another version and its own `.venv`. Both run one API process on a
store of their own, and take turns in each round at 16 callers.

Bound: at least 95 % of the other version's rate, as the median of the rounds.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median

from bench.figures import check_bound, print_spread
from bench.ingest import NO_TEMPORAL, Slice, load
from bench.processes import SECRET_KEY, wait_for_answer
from tests.support.postgres import running_postgres
from tests.support.processes import ROOT, free_ports, running

LEAST_SHARE = 0.95
CALLERS = 16


@contextmanager
def version(checkout: Path, directory: Path, database_url: str | None) -> Iterator[tuple[str, str]]:
    """Run an API of this checkout on an empty store; yields the receipts' URL and an API key."""
    (port,) = free_ports(1)
    makegood = str(checkout / ".venv" / "bin" / "makegood")
    environment = {
        "MAKEGOOD_DATA_DIR": str(directory),
        "MAKEGOOD_DATABASE_URL": database_url or f"sqlite:///{directory / 'makegood.db'}",
        "MAKEGOOD_SECRET_KEY": SECRET_KEY,
        "MAKEGOOD_LOG_LEVEL": "warning",
        "MAKEGOOD_PORT": str(port),
        "MAKEGOOD_RATE_LIMIT": "1000000",
        "MAKEGOOD_RATE_BURST": "1000000",
        "MAKEGOOD_SMTP_URL": "smtp://127.0.0.1:9?starttls=never",
        "TEMPORAL_ADDRESS": NO_TEMPORAL,
    }

    def run(*arguments: str) -> str:
        ended = subprocess.run(
            (makegood, *arguments),
            cwd=checkout,
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    directory.mkdir(parents=True)
    run("migrate")
    made = json.loads(run("project", "create", "bench", "--mode", "test", "--json"))
    with running(makegood, "api", environment=environment) as program:
        wait_for_answer(f"http://127.0.0.1:{port}/livez", program)
        yield f"http://127.0.0.1:{port}/api/v1/receipt", made["api_key"]


def compare(other: Path, dialect: str, *, seconds: float, rounds: int) -> bool:
    """Run the rounds on one database; whether the bound holds."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="makegood-bench-")))
        server = (
            stack.enter_context(running_postgres(durable=True)) if dialect != "sqlite" else None
        )
        running_versions = {
            name: stack.enter_context(
                version(checkout, directory / name, server and server.url(server.create()))
            )
            for name, checkout in (("other", other), ("this", ROOT))
        }
        slices: dict[str, list[Slice]] = {name: [] for name in running_versions}
        for number in range(rounds):
            # Each is first in half of the rounds.
            for name in sorted(running_versions, reverse=number % 2 == 1):
                url, key = running_versions[name]
                slices[name].append(load(url, key=key, callers=CALLERS, seconds=seconds))
    print(f"{dialect}, {CALLERS} callers, {rounds} rounds of {seconds:g} s")
    for name, measured in slices.items():
        print_spread(f"{name}: rate", [one["rate"] for one in measured], "/s")
        print_spread(f"{name}: p99", [one["p99_ms"] for one in measured], "ms")
    pairs = zip(slices["this"], slices["other"], strict=True)
    share = median(this["rate"] / that["rate"] for this, that in pairs)
    return check_bound("this / other, rate", share, least=LEAST_SHARE)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("checkout", type=Path, metavar="CHECKOUT")
    parser.add_argument("stores", nargs="*", metavar="STORE", help="sqlite, postgresql, or both")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=7)
    chosen = parser.parse_args()
    stores = chosen.stores or ["sqlite", "postgresql"]
    held = [
        compare(chosen.checkout, dialect, seconds=chosen.seconds, rounds=chosen.rounds)
        for dialect in stores
    ]
    return 0 if all(held) else 1


if __name__ == "__main__":
    sys.exit(main())
