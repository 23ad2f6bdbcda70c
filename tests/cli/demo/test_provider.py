"""The demo's Stripe answers `/v1/events` as Stripe does: newest first, by page, time and type."""

from collections.abc import Iterator

import httpx
import pytest

from cli.commands.stripe_events import stripe_event
from cli.demo.provider import DemoStripe, demo_stripe

FIRST_AT = 1_700_000_000


@pytest.fixture
def stripe() -> Iterator[DemoStripe]:
    with demo_stripe() as provider:
        for number in range(5):
            kind = "invoice.paid" if number % 2 == 0 else "charge.refunded"
            at = FIRST_AT + number
            provider.add_event(
                stripe_event(kind, reference=f"order-{number}", at=at, event_id=f"evt_{number}")
            )
        yield provider


def ask(stripe: DemoStripe, path: str, *, key: str | None = None) -> httpx.Response:
    headers = {"Authorization": f"Bearer {key or stripe.restricted_key}"}
    return httpx.get(f"{stripe.url}{path}", headers=headers, trust_env=False)


def ids(answer: httpx.Response) -> list[str]:
    return [event["id"] for event in answer.json()["data"]]


@pytest.mark.parametrize(
    ("query", "expected", "has_more"),
    [
        ("", ["evt_4", "evt_3", "evt_2", "evt_1", "evt_0"], False),
        ("?limit=2", ["evt_4", "evt_3"], True),
        ("?limit=2&starting_after=evt_3", ["evt_2", "evt_1"], True),
        ("?limit=2&starting_after=evt_1", ["evt_0"], False),
        ("?types[]=charge.refunded", ["evt_3", "evt_1"], False),
        (f"?created[gte]={FIRST_AT + 3}", ["evt_4", "evt_3"], False),
        (f"?created[lte]={FIRST_AT}", ["evt_0"], False),
    ],
)
def test_events_are_listed_newest_first(
    stripe: DemoStripe, query: str, expected: list[str], has_more: bool
) -> None:
    answer = ask(stripe, f"/v1/events{query}")

    assert (answer.status_code, ids(answer)) == (200, expected)
    assert answer.json()["has_more"] is has_more


def test_another_key_or_address_is_refused(stripe: DemoStripe) -> None:
    assert ask(stripe, "/v1/events", key="rk_test_other").status_code == 401
    assert ask(stripe, "/v1/charges").status_code == 404
