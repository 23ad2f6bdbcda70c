"""The product's promise as its real processes keep it:

alone, and when one of them is stopped or killed at the wrong moment.
"""

import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.support.product import Product, product
from tests.support.waiting import wait_until


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Iterator[Product]:
    with product(tmp_path / "data", database_url) as installation:
        yield installation


def count_of_workflows(shop: Product) -> int:
    counted = re.search(
        r"\d+", shop.temporal("workflow", "count", "--query", "WorkflowType = 'receipt'")
    )
    return int(counted[0]) if counted else 0


@pytest.mark.parametrize(
    "database_url", [pytest.param("sqlite", marks=pytest.mark.long), "postgresql"], indirect=True
)
def test_processes_keep_the_promise_through_stops_and_kills(shop: Product) -> None:
    _repairs_what_failed(shop)
    _opens_one_incident_though_the_worker_was_killed(shop)
    _starts_what_was_accepted_while_temporal_was_away(shop)
    _goes_on_after_everything_stopped(shop)


def _repairs_what_failed(shop: Product) -> None:
    event_id = shop.receipt(internal_reference="order_1")
    assert (
        shop.say("result", {"event_id": event_id, "status": "failed", "error_code": "died"})[
            "state"
        ]
        == "incident"
    )
    wait_until(lambda: len(shop.post.mails) == 1, what="the mail of the incident")
    assert "order_1" in shop.post.mails[0]["Subject"]

    replay_id = shop.reprocess(event_id)

    wait_until(lambda: shop.receiver.calls, what="the signed callback")
    assert shop.receiver.calls[0].body["replay_id"] == replay_id
    result = {"event_id": event_id, "status": "success", "replay_id": replay_id}
    assert shop.say("result", result)["state"] == "recovered"
    event = shop.event(event_id)
    assert (event["incident"]["state"], event["incident"]["resolution"]) == ("resolved", "repaired")
    wait_until(lambda: len(shop.post.mails) == 2, what="the mail of its end")


def _opens_one_incident_though_the_worker_was_killed(shop: Product) -> None:
    mails = len(shop.post.mails)
    event_id = shop.receipt(timeout_minutes=0.02)
    shop.kill("worker")
    after = shop.receipt(timeout_minutes=0.01)
    deadline = shop.event(event_id)["deadline_at"]
    wait_until(
        lambda: shop.event(shop.receipt())["accepted_at"] > deadline, what="the deadline passed"
    )
    assert shop.event(event_id)["state"] == "waiting"

    shop.start("worker")

    for overdue in (event_id, after):
        event = shop.becomes(overdue, "incident")
        assert [entry["kind"] for entry in event["timeline"]].count("incident_opened") == 1
    wait_until(lambda: len(shop.post.mails) == mails + 2, what="one mail for each")


def _starts_what_was_accepted_while_temporal_was_away(shop: Product) -> None:
    wait_until(lambda: shop.http.get("/readyz").status_code == 200, seconds=30, what="ready")
    before = count_of_workflows(shop)
    shop.kill("temporal")

    with ThreadPoolExecutor(10) as threads:
        events = list(threads.map(lambda _: shop.receipt(), range(50)))

    wait_until(
        lambda: shop.http.get("/readyz").status_code == 503,
        seconds=30,
        what="not ready without Temporal",
    )
    shop.start("temporal")
    wait_until(
        lambda: shop.http.get("/readyz").status_code == 200,
        seconds=60,
        what="ready after Temporal is back",
    )
    wait_until(
        lambda: count_of_workflows(shop) >= before + 50, seconds=60, what="every workflow started"
    )
    assert len(set(events)) == 50
    assert shop.say("result", {"event_id": events[0], "status": "success"})["state"] == "applied"


def _goes_on_after_everything_stopped(shop: Product) -> None:
    waiting = shop.receipt(timeout_minutes=0.1)
    with_incident = shop.receipt()
    shop.say("result", {"event_id": with_incident, "status": "failed"})
    for name in ("api", "worker", "temporal"):
        shop.stop(name)

    shop.start("temporal", "api", "worker")

    assert shop.event(with_incident)["state"] == "incident"
    assert shop.becomes(waiting, "incident")["incident"]["reason"] == "missing_result"
    calls = len(shop.receiver.calls)
    shop.reprocess(with_incident)
    wait_until(lambda: len(shop.receiver.calls) == calls + 1, what="a callback after the restart")
