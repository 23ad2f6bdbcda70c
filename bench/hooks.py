"""Compares deliveries to hooks with receipts, and measures receipts beside a flood of deliveries.

    python -m bench.hooks [sqlite] [postgresql] [--seconds 4] [--rounds 5]

One API process runs as in production. Each delivery is a new event that its source expects, with
3 kB and a signature. The load is a process of its own, with 16 callers. In each round take turns:

1. Receipts alone.
2. Deliveries alone. Bound: at least 30 % of the rate of receipts.
3. Receipts beside as many callers that send receipts too, which is the baseline of 4.
4. Receipts beside as many callers that send deliveries. Bound: p99 within twice that of 3. So a
   delivery costs a receipt's caller no more than two other receipts.
"""

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from statistics import median

from bench.figures import check_bound, print_spread
from bench.processes import Installation, api, installed, run_command, run_measurement

CALLERS = 16
LEAST_SHARE = 0.30
MOST_P99 = 2.0
NO_TEMPORAL = "127.0.0.1:9"  # the API never calls it
SECRET = "whsec_of-this-measurement-alone"

Slice = dict[str, float]


@dataclass(frozen=True, slots=True)
class Loads:
    """The two loads on one API process, each in a process of its own."""

    installation: Installation
    source_id: str
    seconds: float

    def receipts(self) -> Slice:
        return self._run("/api/v1/receipt", "--key", self.installation.api_key)

    def deliveries(self) -> Slice:
        return self._run(f"/hooks/{self.source_id}", "--signing-secret", SECRET)

    def receipts_beside(self, *, deliveries: bool) -> Slice:
        """Receipts while as many callers send deliveries, or receipts too."""
        with ThreadPoolExecutor(1) as beside:
            other = beside.submit(self.deliveries if deliveries else self.receipts)
            measured = self.receipts()
            other.result()
        return measured

    def _run(self, path: str, *arguments: str) -> Slice:
        url = f"{self.installation.api_url}{path}"
        load = ("--callers", str(CALLERS), "--seconds", str(self.seconds))
        measured = run_measurement("bench.load", url, *arguments, *load)
        assert measured["refused"] == 0, measured
        return measured


def compare(loads: Loads, *, rounds: int, dialect: str) -> bool:
    """Run the rounds. Each ratio is the median of the rounds."""
    slices: dict[str, list[Slice]] = {
        name: [] for name in ("receipts", "deliveries", "beside receipts", "beside deliveries")
    }
    for _ in range(rounds):
        slices["receipts"].append(loads.receipts())
        slices["deliveries"].append(loads.deliveries())
        slices["beside receipts"].append(loads.receipts_beside(deliveries=False))
        slices["beside deliveries"].append(loads.receipts_beside(deliveries=True))
    print(f"{dialect}, {CALLERS} callers, {rounds} rounds of {loads.seconds:g} s")
    for name, measured in slices.items():
        print_spread(f"{name}: rate", [one["rate"] for one in measured], "/s")
        print_spread(f"{name}: p99", [one["p99_ms"] for one in measured], "ms")
    share = _ratio(slices["deliveries"], slices["receipts"], "rate")
    slower = _ratio(slices["beside deliveries"], slices["beside receipts"], "p99_ms")
    holds = check_bound("deliveries / receipts, rate", share, least=LEAST_SHARE)
    return holds & check_bound("beside deliveries / receipts, p99", slower, most=MOST_P99)


def _ratio(ours: list[Slice], baseline: list[Slice], figure: str) -> float:
    return median(a[figure] / b[figure] for a, b in zip(ours, baseline, strict=True))


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("stores", nargs="*", metavar="STORE", help="sqlite, postgresql, or both")
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    chosen = parser.parse_args()
    results: list[bool] = []
    for dialect in chosen.stores or ["sqlite", "postgresql"]:
        with installed(dialect, temporal=NO_TEMPORAL, mode="live") as installation:
            loads = Loads(installation, _add_source(installation), chosen.seconds)
            with api(installation):
                results.append(compare(loads, rounds=chosen.rounds, dialect=dialect))
    return 0 if all(results) else 1


def _add_source(installation: Installation) -> str:
    expects = ("--name", "bench", "--expect", "invoice.paid access_unlock")
    added = run_command(
        {**installation.environment, "MAKEGOOD_SOURCE_SECRET": SECRET},
        *("source", "add", installation.project_id, "stripe_webhook", *expects, "--json"),
    )
    return str(added["id"])


if __name__ == "__main__":
    sys.exit(main())
