"""Events that never reached the app, found by real processes that are killed meanwhile.

10,000 events happen at the provider. 2 % have no receipt ever, 5 % are listed after their receipt,
the app sends 1 % of its receipts twice, and the provider repeats events on every page. The worker,
Temporal and the API are killed while a listing runs, and the provider is down once.
"""

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.product import Product, product
from tests.support.provider import STRIPE_KEY, Provider, providing, stripe_event
from tests.support.waiting import wait_until

EVENTS, STEPS = 10_000, 10
WITHIN_MINUTES = 2
KILLED = {2: "worker", 4: "temporal", 6: "api"}  # in these steps
DOWN = 8
AT_ONCE = 16


def is_lost(number: int) -> bool:
    return number % 50 == 7


def is_receipted_first(number: int) -> bool:
    return number % 20 == 3


def is_repeated(number: int) -> bool:
    return number % 100 == 11


@pytest.fixture
def provider() -> Iterator[Provider]:
    with providing() as running:
        running.faults.repeats = True
        yield running


@pytest.fixture
def shop(tmp_path: Path, database_url: str, provider: Provider) -> Iterator[Product]:
    settings = {"MAKEGOOD_STRIPE_API_URL": provider.url}
    with product(tmp_path / "data", database_url, settings=settings) as installation:
        yield installation


@pytest.mark.long  # 5 minutes; `tests/activities/sources/test_ten_thousand.py` kills nothing
@pytest.mark.timeout(1_200)
def test_exactly_the_lost_events_are_incidents_through_kills(
    shop: Product, provider: Provider
) -> None:
    source_id = add_source(shop)
    for step in range(STEPS):
        numbers = range(step * EVENTS // STEPS, (step + 1) * EVENTS // STEPS)
        receipted = [number for number in numbers if not is_lost(number)]
        send(shop, filter(is_receipted_first, receipted))
        now = datetime.now(UTC)
        provider.add_events(*(stripe_event(number, now) for number in numbers))
        provider.faults.is_down = step == DOWN
        asked = len(provider.asked)
        ask(shop, "POST", f"/sources/{source_id}/check")
        wait_until(lambda before=asked: len(provider.asked) > before + 1, seconds=90, what="listed")
        if step in KILLED:
            shop.kill(KILLED[step])
            shop.start(KILLED[step])
        provider.faults.is_down = False
        send(shop, (number for number in receipted if not is_receipted_first(number)))

    ask(shop, "POST", f"/sources/{source_id}/check")
    day = datetime.now(UTC).date().isoformat()
    wait_until(
        lambda: ask(shop, "GET", f"/sources/{source_id}/report?day={day}")["events"] >= EVENTS,
        seconds=300,
        what="all events are listed",
    )
    lost = {stripe_event(number, now)["id"] for number in range(EVENTS) if is_lost(number)}
    wait_until(lambda: len(rows(shop, "incident")) >= len(lost), seconds=300, what="every incident")

    report = ask(shop, "GET", f"/sources/{source_id}/report?day={day}")
    incidents = rows(shop, "incident")
    assert {row["provider_event_id"] for row in incidents} == lost
    assert {row["incident"]["reason"] for row in incidents} == {"missing_receipt"}
    assert rows(shop, "expected") == []
    counted = [report[name] for name in ("events", "receipts", "missing_receipts", "incidents")]
    assert counted == [EVENTS, EVENTS - len(lost), len(lost), len(lost)]


def add_source(shop: Product) -> str:
    expects = {
        "event_type": "invoice.paid",
        "effect_type": "credit_grant",
        "within_minutes": WITHIN_MINUTES,
    }
    new = {"kind": "stripe_api", "name": "Stripe", "api_key": STRIPE_KEY, "expects": [expects]}
    return str(ask(shop, "POST", "/sources", json=new | {"every_minutes": 1})["id"])


def ask(shop: Product, method: str, path: str, **options: Any) -> dict[str, Any]:
    answer = shop.http.request(method, f"/api/v1{path}", headers=shop.headers, **options)
    assert answer.is_success, answer.text
    return dict(answer.json())


def send(shop: Product, numbers: Iterable[int]) -> None:
    """The app's receipts of these events, 1 % of them twice."""
    ids = [(number, stripe_event(number, datetime.now(UTC))["id"]) for number in numbers]
    twice = [event_id for number, event_id in ids if is_repeated(number)]
    with ThreadPoolExecutor(AT_ONCE) as threads:
        sent = threads.map(
            lambda event_id: shop.receipt(provider_event_id=event_id, internal_reference=event_id),
            [*(event_id for _, event_id in ids), *twice],
        )
        assert len(list(sent)) == len(ids) + len(twice)


def rows(shop: Product, state: str) -> list[dict[str, Any]]:
    """Every event in the state."""
    found: list[dict[str, Any]] = []
    cursor: str | None = ""
    while cursor is not None:
        page = f"/events?state={state}&limit=100" + (f"&cursor={cursor}" if cursor else "")
        answer = ask(shop, "GET", page)
        found, cursor = [*found, *answer["data"]], answer["next_cursor"]
    return found
