"""Temporal's whole database is lost in mid-run: 1,000 open receipts, incidents and repairs among
them.

It comes back empty at the same address. Every incident opens all the same, none twice, and what was
being repaired goes on.
"""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from config.settings import Settings
from tests.faults.report.observed import (
    Event,
    copies,
    count_of_runs,
    kinds,
    opening_mails,
    quantile,
    series,
    unix,
)
from tests.support.product import Product, product
from tests.support.waiting import wait_until

WITHIN_SECONDS = 180
# Of these, incidents that are open when it happens; of those, repairs that wait for a result, and
# calls that are under way.
INCIDENTS, AWAITING, CALLING = 30, 5, 2
DEFAULT_RECONCILE_SECONDS = str(Settings.model_fields["reconcile_seconds"].default)


@dataclass(frozen=True, slots=True)
class Size:
    """The size of a run: the number of receipts, and when their first and last deadlines are.

    The seconds count from the first receipt. The first deadlines pass while no Temporal runs.
    """

    count: int
    first_seconds: float
    last_seconds: float


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def shop(data_dir: Path, sqlite_url: str) -> Iterator[Product]:
    with product(
        data_dir, sqlite_url, settings={"MAKEGOOD_RECONCILE_SECONDS": DEFAULT_RECONCILE_SECONDS}
    ) as installation:
        yield installation


@pytest.mark.timeout(300)  # on a machine busy with other things
@pytest.mark.parametrize(
    "size",
    [Size(150, 20, 32), pytest.param(Size(1_000, 16, 44), marks=pytest.mark.long)],
    ids=["150", "1000"],
)
def test_every_incident_opens_though_temporals_database_was_dropped(
    shop: Product, data_dir: Path, size: Size
) -> None:
    event_ids = _accepted(shop, size)
    awaiting, calling = _under_repair(shop, event_ids[-INCIDENTS:])
    # The starts of the others are still in the outbox.
    some = 0.4 * size.count
    wait_until(
        lambda: count_of_runs(shop, status="Running") >= some,
        seconds=60,
        what="a run for many of the receipts",
    )

    lost_at = time.time()
    shop.kill("temporal")
    for path in (files := list(data_dir.glob("temporal.db*"))):
        path.unlink()
    shop.start("temporal")
    # The calls in progress are answered now, even if nobody waits for them any more.
    shop.receiver.answering.set()
    back_seconds = time.time() - lost_at

    assert data_dir / "temporal.db" in files
    wait_until(lambda: not _waiting(shop), seconds=WITHIN_SECONDS, what="every incident is open")
    with ThreadPoolExecutor(4) as threads:
        events = list(threads.map(shop.event, event_ids))
    _opened_once_and_in_time(events, lost_at, size.count)
    print(
        f"Temporal was away for {back_seconds:.1f} s; all open {time.time() - lost_at:.0f} s after"
        " it was lost"
    )
    _repairs_go_on(shop, awaiting, calling)
    incidents = {event["incident"]["id"] for event in events}
    wait_until(
        lambda: set(opening_mails(shop.post.mails)) == incidents,
        seconds=30,
        what="a mail for each incident",
    )
    assert set(opening_mails(shop.post.mails).values()) == {1}
    assert copies(shop.post.mails) == []


def _accepted(shop: Product, size: Size) -> list[str]:
    began, span = time.time(), size.last_seconds - size.first_seconds

    def accept(number: int) -> str:
        due_at = began + size.first_seconds + span * number / size.count
        return shop.receipt(timeout_minutes=(due_at - time.time()) / 60)

    with ThreadPoolExecutor(8) as threads:
        return list(threads.map(accept, range(size.count)))


def _under_repair(shop: Product, event_ids: list[str]) -> tuple[list[str], list[str]]:
    """The receipts whose repair was accepted, and those whose repair is being called; the others
    have their incident open.
    """
    awaiting, calling = event_ids[:AWAITING], event_ids[AWAITING : AWAITING + CALLING]
    for event_id in event_ids:
        assert shop.say("result", {"event_id": event_id, "status": "failed"})["state"] == "incident"
    for event_id in awaiting:
        shop.reprocess(event_id)
    states = {"awaiting_result"}
    wait_until(
        lambda: {_repair(shop, name)["state"] for name in awaiting} == states,
        seconds=40,
        what="the calls were accepted",
    )
    shop.receiver.answering.clear()
    for event_id in calling:
        shop.reprocess(event_id)
    wait_until(
        lambda: len(shop.receiver.calls) == AWAITING + CALLING,
        seconds=40,
        what="the calls are under way",
    )
    return awaiting, calling


def _waiting(shop: Product) -> list[Event]:
    answer = shop.http.get(
        "/api/v1/events", params={"state": "waiting", "limit": 1}, headers=shop.headers
    )
    return list(answer.json()["data"])


def _opened_once_and_in_time(events: list[Event], lost_at: float, count: int) -> None:
    missing = [event for event in events if event["incident"]["reason"] == "missing_result"]
    lateness = [
        unix(event["incident"]["opened_at"]) - unix(event["timeout_at"]) for event in missing
    ]
    p50, p99 = quantile(lateness, 0.5), quantile(lateness, 0.99)
    lost = sum(unix(event["timeout_at"]) > lost_at for event in missing)
    print(
        f"{lost} deadlines after the loss; opened late by p50 {p50:.2f} s, p99 {p99:.2f} s, at most"
        f" {max(lateness):.2f} s"
    )
    assert (len(events), len(missing)) == (count, count - INCIDENTS)
    assert lost > count / 4
    assert min(lateness) >= 0
    assert max(lateness) < WITHIN_SECONDS
    assert {kinds(event)["incident_opened"] for event in events} == {1}


def _repairs_go_on(shop: Product, awaiting: list[str], calling: list[str]) -> None:
    for event_id in (*awaiting, *calling):
        wait_until(
            lambda name=event_id: _repair(shop, name)["state"] == "awaiting_result",
            seconds=40,
            what="the call is answered",
        )
        replay_id = _repair(shop, event_id)["replay_id"]
        answer = shop.say(
            "result", {"event_id": event_id, "status": "success", "replay_id": replay_id}
        )
        assert answer["state"] == "recovered"
    called = series(shop.receiver.calls)
    assert set(called) == {
        _repair(shop, event_id)["replay_id"] for event_id in (*awaiting, *calling)
    }
    # Only what was under way when its run was lost is called again.
    assert all(called[_repair(shop, event_id)["replay_id"]] == [1] for event_id in awaiting)


def _repair(shop: Product, event_id: str) -> dict[str, Any]:
    (repair,) = shop.event(event_id)["repairs"]
    return dict(repair)
