"""The metrics of this process for Prometheus, as counters and histograms of its client library.

An application has one `Counts`, which the endpoints of ingest and of hooks and `api.middleware`
update. Gauges of the store (open incidents, outbox) are read by `api.health.routes` at each scrape,
as `StoreGauges`.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from store.maintenance.metrics import SOURCE_FIGURE

INGEST_ENDPOINTS = ("receipt", "result")
# Deliveries of providers to `/hooks/{source_id}`.
HOOK = "hook"
# All requests but those of ingest and of hooks.
OTHER = "other"
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


class HookOutcome(StrEnum):
    """What a delivery with a good signature made, as a label."""

    STORED = "stored"
    IGNORED = "ignored"
    """Nothing expects it: another type, mode or shop."""
    PAUSED = "paused"
    UNREADABLE = "unreadable"


class Counts:
    """Counters since this process started, in a registry of their own."""

    def __init__(self) -> None:
        # Otherwise each counter has a second series with the time of its creation.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # not annotated
        self.registry = CollectorRegistry()
        self.accepted = Counter(
            "makegood_accepted",
            "Receipts and results answered with 202.",
            ("endpoint",),
            registry=self.registry,
        )
        self.replayed = Counter(
            "makegood_replayed",
            "Stored responses that were sent again.",
            ("endpoint",),
            registry=self.registry,
        )
        self.refused = Counter(
            "makegood_refused",
            "Requests refused, by code.",
            ("endpoint", "code"),
            registry=self.registry,
        )
        self.durations = Histogram(
            "makegood_request_duration_seconds",
            "Time from first byte to response.",
            ("endpoint",),
            buckets=DURATION_BOUNDS_SECONDS,
            registry=self.registry,
        )
        self.hooks = Counter(
            "makegood_hooks",
            "Deliveries of providers with a good signature, by outcome.",
            ("outcome",),
            registry=self.registry,
        )
        self._show_zeros()

    def _show_zeros(self) -> None:
        for endpoint in INGEST_ENDPOINTS:
            self.accepted.labels(endpoint)
            self.replayed.labels(endpoint)
        for endpoint in (*INGEST_ENDPOINTS, HOOK, OTHER):
            self.durations.labels(endpoint)
        for outcome in HookOutcome:
            self.hooks.labels(outcome.value)

    @property
    def accepted_total(self) -> int:
        """Receipts and results answered with 202."""
        name = "makegood_accepted_total"
        values = (
            self.registry.get_sample_value(name, {"endpoint": endpoint})
            for endpoint in INGEST_ENDPOINTS
        )
        return int(sum(value or 0 for value in values))


@dataclass(frozen=True, slots=True)
class StoreGauges:
    """Figures of the store at one scrape, by the names of `store.maintenance.metrics`.

    `left_out` is the number of groups that took too long.
    """

    figures: Mapping[str, float]
    left_out: int


def render(counts: Counts, gauges: StoreGauges | None) -> bytes:
    """The metrics page in Prometheus's text format."""
    store = CollectorRegistry()
    store.register(_StoreFamilies(gauges))
    return generate_latest(counts.registry) + generate_latest(store)


class _StoreFamilies(Collector):
    def __init__(self, gauges: StoreGauges | None) -> None:
        self._gauges = gauges

    def collect(self) -> Iterator[Metric]:
        is_up, text = float(self._gauges is not None), "Whether the store answered this scrape."
        yield GaugeMetricFamily("makegood_store_up", text, is_up)
        if self._gauges is not None:
            yield from _store_families(self._gauges)


_GAUGES = {
    "waiting": (
        "makegood_receipts_waiting",
        "Receipts that wait for their result, at most 1,000,000.",
    ),
    "expected": (
        "makegood_receipts_expected",
        "Events at the provider that wait for their receipt, at most 1,000,000.",
    ),
    "early_results": (
        "makegood_early_results",
        "Held results that no receipt has claimed, at most 1,000,000.",
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
        "Alerts that no other side has accepted yet, at most 1,000,000 new and 1,000,000 failed.",
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
    "projects_silent": (
        "makegood_projects_silent",
        "Projects, and types of events watched apart, without receipts for unusually long.",
    ),
    "destinations_failing": (
        "makegood_alert_destinations_failing",
        "Alert destinations that no alert reaches, at most 1,000,000.",
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
    problems = {
        name.removeprefix(SOURCE_FIGURE): count
        for name, count in figures.items()
        if name.startswith(SOURCE_FIGURE)
    }
    if problems:
        text = "Sources that are failing or silent, by problem, at most 1,000,000."
        unwell = GaugeMetricFamily("makegood_sources_unwell", text, labels=("problem",))
        for problem, count in problems.items():
            unwell.add_metric((problem,), count)
        yield unwell
    text = "Groups of figures that took too long and are omitted."
    yield GaugeMetricFamily("makegood_figures_left_out", text, gauges.left_out)
