"""Results at the very moment of the deadline: each receipt ends in one state, and a stored success
never becomes an incident.

Four in five answers are aimed at the 20 ms on either side of `timeout_at`, the others at the moment
a little later in which the incident opens. How long a request takes is learned on the way. Half of
the 500 race on each database.
"""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import httpx
import pytest

from tests.faults.report.observed import Event, copies, count_of_runs, kinds, opening_mails, unix
from tests.support.product import Product, product
from tests.support.waiting import wait_until

CLOSE_SECONDS = 0.020
# On a machine that is busy with other things too, aims go wide: then more are sent, up to so many
# times as many.
AT_MOST_TIMES = 12
# A pace at which nearly every run waits when its deadline comes, and a request takes as long as the
# one before.
PER_SECOND = 25
AHEAD_SECONDS = 4.0
AIMED_WITHIN_SECONDS = 0.013
LATE_AIMS_SECONDS = (0.020, 2.5)


@dataclass(slots=True)
class Shot:
    """One receipt, and the success that was sent about its deadline; instants in unix seconds."""

    event_id: str
    timeout_at: float
    answered_at: float = 0.0
    state: str = ""

    @property
    def is_close(self) -> bool:
        return abs(self.answered_at - self.timeout_at) <= CLOSE_SECONDS


class Gun:
    """Sends each success so that its answer comes when it is aimed to."""

    def __init__(self, shop: Product, http: httpx.AsyncClient) -> None:
        self._shop = shop
        self._http = http
        self._took_seconds: deque[float] = deque([0.01], maxlen=9)
        self._keys = itertools.count(1)
        self.shots: list[Shot] = []

    async def race_all(self, count: int) -> None:
        """One race after the other begins, until there were so many, and three of five of them
        close.
        """
        async with asyncio.TaskGroup() as racing:
            for number in range(AT_MOST_TIMES * count):
                if number >= count and sum(shot.is_close for shot in self.shots) >= 0.6 * count:
                    break
                racing.create_task(self._race(aim(number)))
                await asyncio.sleep(1 / PER_SECOND)

    async def _race(self, aim_seconds: float) -> None:
        """A receipt, and its success, answered so many seconds after the deadline."""
        accepted = await self._say("receipt", self._receipt())
        shot = Shot(accepted["event_id"], unix(accepted["timeout_at"]))
        await asyncio.sleep(
            shot.timeout_at + aim_seconds - median(self._took_seconds) - time.time()
        )
        began = time.monotonic()
        answer = await self._say("result", {"event_id": shot.event_id, "status": "success"})
        shot.answered_at, shot.state = time.time(), answer["state"]
        self._took_seconds.append(time.monotonic() - began)
        self.shots.append(shot)

    def _receipt(self) -> dict[str, Any]:
        number = next(self._keys)
        return {
            "provider": "stripe",
            "provider_event_id": f"evt_race_{number}",
            "event_type": "invoice.paid",
            "effect_type": "credit_grant",
            "internal_reference": f"race_{number}",
            "occurred_at": "2026-11-23T11:13:55Z",
            "timeout_minutes": AHEAD_SECONDS / 60,
        }

    async def _say(self, endpoint: str, body: dict[str, Any]) -> dict[str, Any]:
        headers = self._shop.headers | {"Idempotency-Key": f"race {next(self._keys)}"}
        answer = await self._http.post(f"/api/v1/{endpoint}", json=body, headers=headers)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())


@pytest.fixture
def shop(tmp_path: Path, database_url: str) -> Iterator[Product]:
    with product(tmp_path / "data", database_url) as installation:
        yield installation


@pytest.mark.timeout(300)  # on a machine busy with other things
@pytest.mark.parametrize("count", [40, pytest.param(250, marks=pytest.mark.long)])
async def test_success_within_20_ms_of_the_deadline(shop: Product, count: int) -> None:
    async with gun(shop) as armed:
        await armed.race_all(count)

    assert sum(shot.is_close for shot in armed.shots) >= 0.6 * count
    _each_has_one_end(shop, armed.shots)


@asynccontextmanager
async def gun(shop: Product) -> AsyncIterator[Gun]:
    async with httpx.AsyncClient(base_url=shop.http.base_url, trust_env=False, timeout=20) as http:
        yield Gun(shop, http)


def aim(number: int) -> float:
    """How many seconds after the deadline the answer shall come."""
    spread = number * 37 % 101 / 100
    if number % 10 < 8:
        return AIMED_WITHIN_SECONDS * (2 * spread - 1)
    # As many between 20 and 40 ms as between 1 and 2 s: when the incident opens depends on the
    # machine.
    first, last = LATE_AIMS_SECONDS
    return first * float((last / first) ** spread)


def _each_has_one_end(shop: Product, shots: list[Shot]) -> None:
    close = [shot for shot in shots if shot.is_close]
    events = {shot.event_id: shop.event(shot.event_id) for shot in shots}
    recovered = {
        shot.event_id: events[shot.event_id] for shot in shots if shot.state == "recovered"
    }
    close_and_recovered = sum(shot.event_id in recovered for shot in close)
    print(
        f"{len(close)} of {len(shots)} within 20 ms ({close_and_recovered} after the incident);"
        f" {len(recovered)} recovered"
    )
    assert 0 < len(recovered) < len(shots)
    for shot in shots:
        assert events[shot.event_id]["state"] == shot.state
        (_ended_by_a_late_success if shot.state == "recovered" else _applied_without_incident)(
            events[shot.event_id]
        )
    incidents = {event["incident"]["id"] for event in recovered.values()}
    wait_until(
        lambda: set(opening_mails(shop.post.mails)) >= incidents,
        seconds=30,
        what="a mail for each incident",
    )
    assert opening_mails(shop.post.mails) == dict.fromkeys(incidents, 1)
    assert copies(shop.post.mails) == []
    # What the workflows did after the answers, late timers and signals, has changed nothing.
    wait_until(
        lambda: count_of_runs(shop, status="Running") == 0, seconds=30, what="every run ended"
    )
    assert {shot.event_id: shop.event(shot.event_id)["state"] for shot in shots} == {
        s.event_id: s.state for s in shots
    }


def _applied_without_incident(event: Event) -> None:
    assert event["state"] == "applied"
    assert event["incident"] is None
    assert not {"incident_opened", "deadline_passed", "alert_sent"} & set(kinds(event))
    assert (kinds(event)["result_received"], event["flags"]) == (1, [])


def _ended_by_a_late_success(event: Event) -> None:
    incident = event["incident"]
    assert (incident["state"], incident["resolution"], incident["reason"]) == (
        "resolved",
        "late_result",
        "missing_result",
    )
    assert incident["opened_at"] >= event["deadline_at"]
    assert (kinds(event)["incident_opened"], kinds(event)["incident_resolved"]) == (1, 1)
    assert event["flags"] == []
