"""What this process counts, for Prometheus: plain numbers while requests are served, families when somebody asks.

One `Counts` per application, filled by `api.ingest` and `api.edge`. What the store knows (open incidents, outbox) is
read by `api.health` at the moment of the scrape and handed in as a `StoreGauges`.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

DURATION_BOUNDS_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Durations:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BOUNDS_SECONDS) + 1)
        self.sum_seconds = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(DURATION_BOUNDS_SECONDS, seconds)] += 1
        self.sum_seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, as Prometheus wants them."""
        total, buckets = 0, []
        for bound, count in zip((*map(str, DURATION_BOUNDS_SECONDS), "+Inf"), self.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets


class Counts:
    """Counters since this process began."""

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter()  # by endpoint
        self.replayed: Counter[str] = Counter()  # by endpoint
        self.refused: Counter[tuple[str, str]] = Counter()  # by endpoint and code
        self.durations: dict[str, Durations] = {"receipt": Durations(), "result": Durations(), "other": Durations()}

    @property
    def accepted_total(self) -> int:
        """Receipts and results answered with 202."""
        return sum(self.accepted.values())


@dataclass(frozen=True, slots=True)
class StoreGauges:
    """What the store knows at the moment of a scrape; None where it could not be asked."""

    waiting: int
    open_incidents: int
    repairing_incidents: int
    outbox_rows: int
    outbox_age_seconds: float
    deadline_lag_seconds: float
    attempts: int
    alerts_unsent: int
    stuck_runs: int
    callbacks_running: int
    callbacks_waiting: int


def render(counts: Counts, gauges: StoreGauges | None) -> bytes:
    """The page for Prometheus, in its text format."""
    registry = CollectorRegistry()
    registry.register(_Families(counts, gauges))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, counts: Counts, gauges: StoreGauges | None) -> None:
        self._counts, self._gauges = counts, gauges

    def collect(self) -> Iterator[Metric]:
        yield _by_endpoint("makegood_accepted", "Receipts and results answered with 202.", self._counts.accepted)
        yield _by_endpoint("makegood_replayed", "Answers that were given again from the store.", self._counts.replayed)
        refused = CounterMetricFamily("makegood_refused", "Requests refused, by code.", labels=("endpoint", "code"))
        for labels, count in self._counts.refused.items():
            refused.add_metric(labels, count)
        yield refused
        durations = HistogramMetricFamily(
            "makegood_request_duration_seconds", "From the first byte to the answer.", labels=("endpoint",)
        )
        for endpoint, observed in self._counts.durations.items():
            durations.add_metric((endpoint,), observed.buckets(), observed.sum_seconds)
        yield durations
        yield GaugeMetricFamily("makegood_store_up", "Whether the store answered this scrape.", float(self._gauges is not None))
        if self._gauges is not None:
            yield from _store_families(self._gauges)


def _by_endpoint(name: str, told: str, counts: Counter[str]) -> Metric:
    family = CounterMetricFamily(name, told, labels=("endpoint",))
    for endpoint in ("receipt", "result"):
        family.add_metric((endpoint,), counts[endpoint])
    return family


def _store_families(gauges: StoreGauges) -> Iterator[Metric]:
    yield GaugeMetricFamily("makegood_receipts_waiting", "Receipts that wait for their result.", gauges.waiting)
    incidents = GaugeMetricFamily("makegood_incidents", "Unresolved incidents, by state.", labels=("state",))
    incidents.add_metric(("open",), gauges.open_incidents)
    incidents.add_metric(("repairing",), gauges.repairing_incidents)
    yield incidents
    yield GaugeMetricFamily("makegood_outbox_rows", "What the engine must still be told.", gauges.outbox_rows)
    yield GaugeMetricFamily("makegood_outbox_age_seconds", "Age of the oldest of it.", gauges.outbox_age_seconds)
    lag = "How long the longest overdue receipt has waited past its deadline for its incident."
    yield GaugeMetricFamily("makegood_deadline_lag_seconds", lag, gauges.deadline_lag_seconds)
    yield GaugeMetricFamily("makegood_attempts", "Repair attempts recorded.", gauges.attempts)
    yield GaugeMetricFamily("makegood_alerts_unsent", "Alerts that no mail server has taken yet.", gauges.alerts_unsent)
    yield GaugeMetricFamily("makegood_stuck_runs", "Receipts whose workflow cannot go on.", gauges.stuck_runs)
    yield GaugeMetricFamily("makegood_callbacks_running", "Repair callbacks under way.", gauges.callbacks_running)
    waiting = "Repair callbacks that found no place, and were told to come back."
    yield GaugeMetricFamily("makegood_callbacks_waiting", waiting, gauges.callbacks_waiting)
