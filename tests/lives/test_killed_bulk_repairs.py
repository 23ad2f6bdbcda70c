"""A bulk repair as the real processes run it, whose worker is killed again and again.

The app fails every third repair. What becomes of each incident is compared with a model, which
knows nothing of processes.
"""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.product import Product, product
from tests.support.waiting import wait_until

INCIDENTS = 60
FAILS_EVERY = 3
PLAN = {"first": 2, "then": 4, "per_minute": 120, "stop_at_failed_percent": 25}
# Never stops itself: more begin at first than can fail a second time.
TO_THE_END = {"first": INCIDENTS // FAILS_EVERY, "per_minute": 600, "stop_at_failed_percent": 100}


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Iterator[Product]:
    with product(tmp_path / "data", database_url) as installation:
        yield installation


class App:
    """The app: it reports each repair that it was called for, once."""

    def __init__(self, shop: Product, numbers: dict[str, int]) -> None:
        self._shop = shop
        self._numbers = numbers  # by event, from 1
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._report_all, daemon=True)
        self.reported: dict[str, str] = {}  # the event of each repair

    def __enter__(self) -> "App":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.join()

    def _report_all(self) -> None:
        while not self._stopping.wait(0.05):
            for call in list(self._shop.receiver.calls):
                replay_id, event_id = call.body["replay_id"], call.body["event_id"]
                if replay_id in self.reported:
                    continue
                fails = self._numbers[event_id] % FAILS_EVERY == 0
                status = {"status": "failed", "error_code": "full"} if fails else {}
                body = {"event_id": event_id, "replay_id": replay_id, "status": "success"}
                self._shop.say("result", body | status)
                self.reported[replay_id] = event_id


# Each killed worker costs seconds: its attempts are taken over, and its step times out.
@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    "database_url", [pytest.param("sqlite", marks=pytest.mark.long), "postgresql"], indirect=True
)
def test_outcomes_are_those_of_the_model_though_the_worker_is_killed(shop: Product) -> None:
    incidents = [_incident(shop) for _ in range(INCIDENTS)]
    numbers = {event_id: number for number, (_, event_id) in enumerate(incidents, 1)}
    ids = [incident_id for incident_id, _ in incidents]

    with App(shop, numbers) as app:
        stopped = _run(shop, ids, PLAN, kills=2)
        begun = [item for item in stopped["items"] if item["state"] != "waiting"]
        finished = _run(shop, ids, PLAN | TO_THE_END, kills=3)
        wait_until(lambda: len(app.reported) >= INCIDENTS, seconds=60, what="all reports")

    # It stopped itself: a prefix has begun, and each of it has its own result.
    counts = stopped["counts"]
    assert (stopped["state"], "It stops at 25 %" in stopped["stopped_because"]) == ("stopped", True)
    assert FAILS_EVERY <= len(begun) < INCIDENTS
    assert [item["position"] for item in begun] == list(range(1, len(begun) + 1))
    assert [item["state"] for item in begun] == [_model(n) for n in range(1, len(begun) + 1)]
    assert counts["waiting"] == INCIDENTS - len(begun)
    # The next one repairs the rest, and skips what is resolved.
    states = {item["position"]: item["state"] for item in finished["items"]}
    reasons = {item["position"]: item["skipped_because"] for item in finished["items"]}
    for number in range(1, INCIDENTS + 1):
        was_repaired = number <= len(begun) and _model(number) == "succeeded"
        assert states[number] == ("skipped" if was_repaired else _model(number)), number
        assert reasons[number] == ("incident_resolved" if was_repaired else None), number
    assert finished["state"] == "finished"
    # No repair was requested twice, and each names its bulk repair.
    requested = [repair for event_id in numbers for repair in shop.event(event_id)["repairs"]]
    names = [repair["requested_by"] for repair in requested]
    assert names.count(stopped["bulk_id"]) == len(begun)
    assert names.count(finished["bulk_id"]) == sum(state != "skipped" for state in states.values())
    assert len(names) == len(app.reported)


def _model(number: int) -> str:
    return "failed" if number % FAILS_EVERY == 0 else "succeeded"


def _incident(shop: Product) -> tuple[str, str]:
    event_id = shop.receipt()
    shop.say("result", {"event_id": event_id, "status": "failed", "error_code": "died"})
    return str(shop.event(event_id)["incident"]["id"]), event_id


def _run(shop: Product, ids: list[str], plan: dict[str, int], *, kills: int) -> dict[str, Any]:
    """Start a bulk repair, kill the worker as it goes on, and return how it ended."""
    body = {"incident_ids": ids, "reason": "outage", "plan": plan}
    answer = shop.http.post("/api/v1/bulk-repairs", json=body, headers=shop.headers)
    assert answer.status_code == 202, answer.text
    path = f"/api/v1/bulk-repairs/{answer.json()['bulk_id']}"

    def read() -> dict[str, Any]:
        return dict(shop.http.get(path, params={"limit": 100}, headers=shop.headers).json())

    def moved(before: int) -> bool:
        now = read()
        return now["state"] != "running" or INCIDENTS - now["counts"]["waiting"] > before

    for _ in range(kills):
        before = INCIDENTS - read()["counts"]["waiting"]
        wait_until(lambda before=before: moved(before), seconds=60, what="it goes on")  # type: ignore[misc]
        shop.kill("worker")
        shop.start("worker")
    wait_until(
        lambda: read()["state"] != "running" and read()["counts"]["repairing"] == 0,
        seconds=120,
        what="the bulk repair ends",
    )
    return read()
