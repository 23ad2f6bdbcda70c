"""What this process counts, for Prometheus: plain numbers while requests are served, families when somebody asks.

One `Counts` per application, filled by `api.ingest.endpoint` and `api.middleware`. What the store knows (open incidents, outbox)
is read by `api.health.routes` at the moment of the scrape and handed in as a `StoreGauges`.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
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
    """What the store knows at the moment of a scrape, by the names of `store.maintenance.metrics`; `left_out` took too long."""

    figures: Mapping[str, float]
    left_out: int


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


_GAUGES = {
    "waiting": ("makegood_receipts_waiting", "Receipts that wait for their result, at most 1,000,000."),
    "outbox_rows": ("makegood_outbox_rows", "What Temporal has not been sent yet, at most 1,000,000."),
    "outbox_age_seconds": ("makegood_outbox_age_seconds", "Age of the oldest of it."),
    "deadline_lag_seconds": (
        "makegood_deadline_lag_seconds",
        "How long the longest overdue receipt has waited past its deadline for its incident.",
    ),
    "attempts": ("makegood_attempts", "Repair attempts recorded, at most 1,000,000."),
    "alerts_unsent": (
        "makegood_alerts_unsent",
        "Alerts that no mail server has taken yet, at most 1,000,000 new ones and as many that failed.",
    ),
    "alerts_failing": ("makegood_alerts_failing", "Of these, those that failed, at most 1,000."),
    "alerts_failing_seconds": ("makegood_alerts_failing_seconds", "How long the longest of them has failed."),
    "alerts_ended": (
        "makegood_alerts_ended",
        "Alerts of the last 15 minutes that ended unsent although somebody was to be notified.",
    ),
    "stuck_runs": ("makegood_stuck_runs", "Receipts whose workflow cannot go on."),
    "callbacks_running": ("makegood_callbacks_running", "Repair callbacks under way."),
    "callbacks_waiting": ("makegood_callbacks_waiting", "Repair callbacks that found no place, and were told to come back."),
}
_INCIDENTS = {"open": "open_incidents", "repairing": "repairing_incidents"}


def _store_families(gauges: StoreGauges) -> Iterator[Metric]:
    """Of what was counted; a figure that took too long is left out, never shown as 0."""
    for name, (metric, told) in _GAUGES.items():
        if name in gauges.figures:
            yield GaugeMetricFamily(metric, told, gauges.figures[name])
    counted = {state: gauges.figures[name] for state, name in _INCIDENTS.items() if name in gauges.figures}
    if counted:
        incidents = GaugeMetricFamily(
            "makegood_incidents", "Unresolved incidents, by state, at most 1,000,000 of a project.", labels=("state",)
        )
        for state, count in counted.items():
            incidents.add_metric((state,), count)
        yield incidents
    left_out = "How many groups of figures took too long and are left out of this page."
    yield GaugeMetricFamily("makegood_figures_left_out", left_out, gauges.left_out)
