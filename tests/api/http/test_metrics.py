"""The metrics page, line by line: dashboards and alerts are built on these names and labels."""

import re

from api.http.metrics import Counts, StoreGauges, render

COUNTED = """\
# HELP makegood_accepted_total Receipts and results answered with 202.
# TYPE makegood_accepted_total counter
makegood_accepted_total{endpoint="receipt"} 2.0
makegood_accepted_total{endpoint="result"} 0.0
# HELP makegood_replayed_total Stored responses that were sent again.
# TYPE makegood_replayed_total counter
makegood_replayed_total{endpoint="receipt"} 0.0
makegood_replayed_total{endpoint="result"} 1.0
# HELP makegood_refused_total Requests refused, by code.
# TYPE makegood_refused_total counter
makegood_refused_total{code="not_found",endpoint="other"} 1.0
# HELP makegood_request_duration_seconds Time from first byte to response.
# TYPE makegood_request_duration_seconds histogram
"""
OF_THE_STORE = """\
# HELP makegood_store_up Whether the store answered this scrape.
# TYPE makegood_store_up gauge
makegood_store_up 1.0
# HELP makegood_receipts_waiting Receipts that wait for their result, at most 1,000,000.
# TYPE makegood_receipts_waiting gauge
makegood_receipts_waiting 3.0
# HELP makegood_figures_left_out Groups of figures that took too long and are omitted.
# TYPE makegood_figures_left_out gauge
makegood_figures_left_out 1.0
"""


def test_page_has_every_counter_and_nothing_of_the_library() -> None:
    counts = Counts()
    counts.accepted.labels("receipt").inc(2)
    counts.replayed.labels("result").inc()
    counts.refused.labels("other", "not_found").inc()

    page = render(counts, StoreGauges({"waiting": 3}, left_out=1)).decode()

    assert page.startswith(COUNTED)
    assert page.endswith(OF_THE_STORE)
    names = set(re.findall(r"^(makegood_request_\w+)\{", page, re.MULTILINE))
    assert names == {
        f"makegood_request_duration_seconds_{part}" for part in ("bucket", "count", "sum")
    }


def test_duration_is_in_each_bucket_from_its_own_bound_on() -> None:
    counts = Counts()
    for seconds in (0.001, 0.0011, 0.3, 20.0):
        counts.durations.labels("result").observe(seconds)

    page = render(counts, None).decode()

    found = re.findall(
        r'^makegood_request_duration_seconds_bucket\{endpoint="result",le="(.+)"\} (.+)$',
        page,
        re.MULTILINE,
    )
    assert found == [
        ("0.001", "1.0"),
        *((bound, "2.0") for bound in ("0.0025", "0.005", "0.01", "0.025", "0.05", "0.1", "0.25")),
        *((bound, "3.0") for bound in ("0.5", "1.0", "2.5", "5.0", "10.0")),
        ("+Inf", "4.0"),
    ]
    assert 'makegood_request_duration_seconds_sum{endpoint="result"} 20.3021' in page


def test_applications_of_one_process_count_apart() -> None:
    first, second = Counts(), Counts()

    first.accepted.labels("receipt").inc(2)
    first.accepted.labels("result").inc()

    assert (first.accepted_total, second.accepted_total) == (3, 0)
