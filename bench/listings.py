"""Measures a listing of 100,000 events: the memory of its process, and receipts beside it.

    python -m bench.listings [sqlite] [postgresql] [--events 100000] [--seconds 10] [--rounds 5]

One API process runs as in production. A process of its own sends 50 receipts a second, from 16
callers. A source lists the tests' provider, also a process, at the worker's pace. The app has sent
the receipts of every second event. In turn:

1. Receipts alone, in rounds.
2. Receipts beside a listing of a tenth of the events, until it ends.
3. Receipts beside a listing of all events, in a new process. Bounds: its memory grows by at most
   16 MB more than that of 2; the p99 of receipts is within twice that of 1 and 4.
4. Receipts alone, again.

Temporal does not run: workflows of the events are not started, so the machine does nothing else.
"""

import argparse
import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from statistics import median

from sqlalchemy import text

from bench.figures import check_bound, print_spread
from bench.processes import (
    SECRET_KEY,
    START_SECONDS,
    Installation,
    api,
    installed,
    run_measurement,
)
from domain.sources.source import SourceKind
from store.crypto.encryption import Sealer
from store.crypto.tokens import new_event_id
from store.db.database import Database
from store.sources.sources import add_source
from tests.support.processes import python, running
from tests.support.provider import STRIPE_KEY
from tests.support.sources import new_source

CALLERS, RATE = 16, 50
MOST_P99 = 2.0
MOST_MORE_MB = 16.0
# Longer ago than the events of the provider, which are older than what a listing reads again.
ADDED = timedelta(hours=3)
LONGEST_LISTING_SECONDS = 3_600
NO_TEMPORAL = "127.0.0.1:9"  # the API never calls it
_RECEIPT = """
INSERT INTO receipts (event_id, project_id, livemode, state, provider, provider_event_id,
  stripe_event_id, event_type, effect_type, internal_reference, occurred_at, accepted_at,
  timeout_at, deadline_at, flags, request_id)
VALUES (:event_id, :project_id, :livemode, 'waiting', 'stripe', :name, :name, 'invoice.paid',
  'access_unlock', :name, :at, :at, :due_at, :due_at, '', 'req_bench')"""

Slice = dict[str, float]


@dataclass(frozen=True, slots=True)
class Listed:
    """What the process of a listing printed, and the receipts beside it."""

    figures: Slice
    beside: list[Slice]


@dataclass(frozen=True, slots=True)
class Measurement:
    """One installation, whose API process runs, and the length of a slice of receipts."""

    installation: Installation
    seconds: float

    def receipts(self) -> Slice:
        """A slice of receipts."""
        measured = run_measurement(
            "bench.load",
            f"{self.installation.api_url}/api/v1/receipt",
            *("--key", self.installation.api_key, "--callers", str(CALLERS)),
            *("--seconds", str(self.seconds), "--rate", str(RATE)),
        )
        assert measured["refused"] == 0, measured
        return measured

    def listing(self, first: int, events: int) -> Listed:
        """List events with the numbers from `first` on, with receipts beside until it ends."""
        source_id = asyncio.run(self._prepare(first, events))
        with _provider(first, events) as url:
            environment = self.installation.environment | {
                "MAKEGOOD_STRIPE_API_URL": url,
                "MAKEGOOD_EGRESS_ALLOW": "127.0.0.0/8",
            }
            beside: list[Slice] = []
            lists = python("-m", "bench.list_source", source_id)
            with running(*lists, environment=environment) as program:
                program.wait_for("listing_begins", seconds=START_SECONDS)
                while not beside or program.process.poll() is None:
                    beside.append(self.receipts())
                assert program.ended(seconds=LONGEST_LISTING_SECONDS) == 0, program.output
        figures: Slice = json.loads(program.output.splitlines()[-1])
        assert figures["new"] == events, program.output
        # The last slice went on after the listing.
        return Listed(figures, beside[:-1] or beside)

    async def _prepare(self, first: int, events: int) -> str:
        """Add a source, and the app's receipts of every second event; returns the source's id."""
        database, now = Database.open(self.installation.database_url), datetime.now(UTC)
        project_id = self.installation.project_id
        at = int(now.timestamp() * 1000)
        of_all = {"project_id": project_id, "livemode": False, "at": at, "due_at": at + 86_400_000}
        names = [f"evt_provider_{number:06}" for number in range(first, first + events, 2)]
        receipts = [{**of_all, "event_id": new_event_id(), "name": name} for name in names]
        try:
            async with database.transaction() as session:
                for begin in range(0, len(receipts), 5_000):
                    await session.execute(text(_RECEIPT), receipts[begin : begin + 5_000])
                source = await add_source(
                    session,
                    Sealer(SECRET_KEY),
                    project_id=project_id,
                    new=new_source(SourceKind.STRIPE_API, secret=STRIPE_KEY),
                    now=now - ADDED,
                )
        finally:
            await database.close()
        return str(source.id)


@contextmanager
def _provider(first: int, events: int) -> Iterator[str]:
    """Run the provider in a process of its own; yields its address."""
    serves = python("-m", "bench.provider_server", str(first), str(events))
    with running(*serves) as program:
        program.wait_for("provider_ready", seconds=START_SECONDS)
        yield program.output.split()[-1]


def compare(measurement: Measurement, *, events: int, rounds: int, dialect: str) -> bool:
    """Run the steps and print their figures. The p99 of each step is the median of its slices."""
    few = max(1, events // 10)
    alone = [measurement.receipts() for _ in range(rounds)]
    of_few = measurement.listing(0, few)
    of_all = measurement.listing(few, events)
    alone += [measurement.receipts() for _ in range(rounds)]
    print(f"{dialect}, {RATE} receipts a second, slices of {measurement.seconds:g} s")
    _print_receipts("alone", alone)
    for count, listed in ((few, of_few), (events, of_all)):
        _print_receipts(f"beside {count:,} events", listed.beside)
        figures = listed.figures
        print(
            f"  listing of {count:,} events: {figures['pages']:.0f} pages in"
            f" {figures['seconds']:.1f} s; memory peak {figures['peak_mb']:.1f} MB,"
            f" grown by {figures['more_mb']:.1f} MB, {figures['left_mb']:.1f} MB left",
            flush=True,
        )
    grown = of_all.figures["more_mb"] - of_few.figures["more_mb"]
    slower = _p99(of_all.beside) / _p99(alone)
    holds = check_bound("memory of all / of a tenth, more", grown, most=MOST_MORE_MB, unit="MB")
    return holds & check_bound("receipts beside the listing / alone, p99", slower, most=MOST_P99)


def _print_receipts(name: str, slices: list[Slice]) -> None:
    print_spread(f"receipts {name}: p50", [one["p50_ms"] for one in slices], "ms")
    print_spread(f"receipts {name}: p99", [one["p99_ms"] for one in slices], "ms")


def _p99(slices: list[Slice]) -> float:
    return median(one["p99_ms"] for one in slices)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="*", metavar="STORE", help="sqlite, postgresql, or both")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    results: list[bool] = []
    for dialect in chosen.stores or ["sqlite", "postgresql"]:
        with installed(dialect, temporal=NO_TEMPORAL) as installation, api(installation):
            measurement = Measurement(installation, chosen.seconds)
            results.append(
                compare(measurement, events=chosen.events, rounds=chosen.rounds, dialect=dialect)
            )
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
