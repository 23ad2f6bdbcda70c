"""The metrics of this process for Prometheus: plain counters, rendered when they are scraped.

An application has one `Counts`, which `api.ingest.endpoint` and `api.middleware` update. Gauges of
the store (open incidents, outbox) are read by `api.health.routes` at each scrape, as `StoreGauges`.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

DURATION_BOUNDS_SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
)


class Durations:
    """A histogram of seconds."""

    def __init__(self) -> None:
        self.counts = [0] * (len(DURATION_BOUNDS_SECONDS) + 1)
        self.sum_seconds = 0.0

    def observe(self, seconds: float) -> None:
        self.counts[bisect_left(DURATION_BOUNDS_SECONDS, seconds)] += 1
        self.sum_seconds += seconds

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative counts by upper bound, in Prometheus's format."""
        total, buckets = 0, []
        bounds = (*map(str, DURATION_BOUNDS_SECONDS), "+Inf")
        for bound, count in zip(bounds, self.counts, strict=True):
            total += count
            buckets.append((bound, float(total)))
        return buckets


class Counts:
    """Counters since this process started."""

    def __init__(self) -> None:
        self.accepted: Counter[str] = Counter()  # by endpoint
        self.replayed: Counter[str] = Counter()  # by endpoint
        self.refused: Counter[tuple[str, str]] = Counter()  # by endpoint and code
        self.durations: dict[str, Durations] = {
            "receipt": Durations(),
            "result": Durations(),
            "other": Durations(),
        }

    @property
    def accepted_total(self) -> int:
        """Receipts and results answered with 202."""
        return sum(self.accepted.values())


@dataclass(frozen=True, slots=True)
class StoreGauges:
    """Figures of the store at one scrape, by the names of `store.maintenance.metrics`.

    `left_out` is the number of groups that took too long.
    """

    figures: Mapping[str, float]
    left_out: int


def render(counts: Counts, gauges: StoreGauges | None) -> bytes:
    """The metrics page in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(_Families(counts, gauges))
    return generate_latest(registry)


class _Families(Collector):
    def __init__(self, counts: Counts, gauges: StoreGauges | None) -> None:
        self._counts, self._gauges = counts, gauges

    def collect(self) -> Iterator[Metric]:
        yield _by_endpoint(
            "makegood_accepted", "Receipts and results answered with 202.", self._counts.accepted
        )
        yield _by_endpoint(
            "makegood_replayed", "Stored responses that were sent again.", self._counts.replayed
        )
        refused = CounterMetricFamily(
            "makegood_refused", "Requests refused, by code.", labels=("endpoint", "code")
        )
        for labels, count in self._counts.refused.items():
            refused.add_metric(labels, count)
        yield refused
        name, text = "makegood_request_duration_seconds", "Time from first byte to response."
        durations = HistogramMetricFamily(name, text, labels=("endpoint",))
        for endpoint, observed in self._counts.durations.items():
            durations.add_metric((endpoint,), observed.buckets(), observed.sum_seconds)
        yield durations
        is_up, text = float(self._gauges is not None), "Whether the store answered this scrape."
        yield GaugeMetricFamily("makegood_store_up", text, is_up)
        if self._gauges is not None:
            yield from _store_families(self._gauges)


def _by_endpoint(name: str, text: str, counts: Counter[str]) -> Metric:
    family = CounterMetricFamily(name, text, labels=("endpoint",))
    for endpoint in ("receipt", "result"):
        family.add_metric((endpoint,), counts[endpoint])
    return family


_GAUGES = {
    "waiting": (
        "makegood_receipts_waiting",
        "Receipts that wait for their result, at most 1,000,000.",
    ),
    "outbox_rows": (
        "makegood_outbox_rows",
        "Outbox rows not yet sent to Temporal, at most 1,000,000.",
    ),
    "outbox_age_seconds": ("makegood_outbox_age_seconds", "Age of the oldest outbox row."),
    "deadline_lag_seconds": (
        "makegood_deadline_lag_seconds",
        "Time since the oldest passed deadline whose incident is not open yet.",
    ),
    "attempts": ("makegood_attempts", "Repair attempts recorded, at most 1,000,000."),
    "alerts_unsent": (
        "makegood_alerts_unsent",
        "Alerts not yet accepted by a mail server, at most 1,000,000 new and 1,000,000 failed.",
    ),
    "alerts_failing": (
        "makegood_alerts_failing",
        "Unsent alerts that failed at least once, at most 1,000.",
    ),
    "alerts_failing_seconds": (
        "makegood_alerts_failing_seconds",
        "Time since the first failure of an unsent alert.",
    ),
    "alerts_ended": (
        "makegood_alerts_ended",
        "Alerts given up in the last 15 minutes although they had recipients.",
    ),
    "stuck_runs": ("makegood_stuck_runs", "Receipts whose workflow cannot go on."),
    "callbacks_running": ("makegood_callbacks_running", "Repair callbacks in progress."),
    "callbacks_waiting": (
        "makegood_callbacks_waiting",
        "Repair callbacks postponed because no slot was free.",
    ),
}
_INCIDENTS = {"open": "open_incidents", "repairing": "repairing_incidents"}


def _store_families(gauges: StoreGauges) -> Iterator[Metric]:
    """The store's gauges. A figure that took too long is omitted, never shown as 0."""
    figures = gauges.figures
    for name, (metric, text) in _GAUGES.items():
        if name in figures:
            yield GaugeMetricFamily(metric, text, figures[name])
    counted = {state: figures[name] for state, name in _INCIDENTS.items() if name in figures}
    if counted:
        text = "Unresolved incidents by state, at most 1,000,000 of a project."
        incidents = GaugeMetricFamily("makegood_incidents", text, labels=("state",))
        for state, count in counted.items():
            incidents.add_metric((state,), count)
        yield incidents
    text = "Groups of figures that took too long and are omitted."
    yield GaugeMetricFamily("makegood_figures_left_out", text, gauges.left_out)
