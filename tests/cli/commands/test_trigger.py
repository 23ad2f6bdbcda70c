"""`trigger`: what it posts is a Stripe event to Stripe's own library."""

import pytest
import stripe

from cli.commands.stripe_events import event_types
from domain.receipts import EVENT_TYPES_OF, Provider
from tests.cli.makegood import Makegood
from tests.cli.receiver import receiving

SECRET = "whsec_of_the_endpoint"


def trigger(makegood: Makegood, event_type: str, url: str, *arguments: str) -> object:
    return makegood(
        "trigger", event_type, "--to", url, "--secret", SECRET, "--json", *arguments
    ).json


def test_there_is_a_sample_of_every_stripe_event_type() -> None:
    assert set(event_types()) == {
        event_type.value for event_type in EVENT_TYPES_OF[Provider.STRIPE]
    }


@pytest.mark.parametrize("event_type", event_types())
def test_event_is_genuine_to_stripes_library(event_type: str, bare_makegood: Makegood) -> None:
    with receiving() as shop:
        printed = trigger(bare_makegood, event_type, f"{shop.url}/hooks", "--reference", "order-7")

        request = shop.got[0]
        event = stripe.Webhook.construct_event(
            request.body, request.headers["stripe-signature"], SECRET
        )
    assert request.path == "/hooks"
    assert event.type == event_type
    assert event.data.object["metadata"]["reference"] == "order-7"
    assert printed == {
        "event_id": event.id,
        "event_type": event_type,
        "reference": "order-7",
        "to": f"{shop.url}/hooks",
        "status": 200,
    }


def test_another_secret_is_refused_by_stripes_library(bare_makegood: Makegood) -> None:
    with receiving() as shop:
        trigger(bare_makegood, "invoice.paid", shop.url)

        request = shop.got[0]
        with pytest.raises(stripe.SignatureVerificationError):
            stripe.Webhook.construct_event(
                request.body, request.headers["stripe-signature"], "whsec_another"
            )


def test_the_same_event_can_be_sent_again(bare_makegood: Makegood) -> None:
    with receiving() as shop:
        first = trigger(bare_makegood, "invoice.paid", shop.url, "--event-id", "evt_again")
        second = trigger(bare_makegood, "invoice.paid", shop.url, "--event-id", "evt_again")

    assert isinstance(first, dict)
    assert isinstance(second, dict)
    assert first["event_id"] == second["event_id"] == "evt_again"


def test_refusal_by_the_endpoint_is_exit_code_1(bare_makegood: Makegood) -> None:
    with receiving() as shop:
        shop.status = 400
        done = bare_makegood(
            "trigger", "invoice.paid", "--to", shop.url, STRIPE_WEBHOOK_SECRET=SECRET
        )

    assert done.code == 1
    assert "answered 400" in done.err


def test_missing_endpoint_is_exit_code_1(bare_makegood: Makegood) -> None:
    done = bare_makegood(
        "trigger", "invoice.paid", "--to", "http://127.0.0.1:9/", "--secret", SECRET
    )

    assert done.code == 1
    assert "no answer from http://127.0.0.1:9/" in done.err
