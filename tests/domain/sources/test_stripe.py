from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.sources.events import NotAnEvent, ProviderEvent, sightings_of
from domain.sources.stripe import parse_stripe_event
from tests.domain.sources.examples import expects, make_source
from tests.domain.sources.test_fields import HUGE, json_values

CREATED = 1_780_000_000
CREATED_AT = datetime(2026, 5, 28, 20, 26, 40, tzinfo=UTC)


def snapshot(event_type: str, item: object, **changes: Any) -> dict[str, Any]:
    event = {
        "id": "evt_1",
        "object": "event",
        "api_version": "2025-09-30.clover",
        "created": CREATED,
        "data": {"object": item},
        "livemode": True,
        "type": event_type,
    }
    return event | changes


def thin(event_type: str, **changes: Any) -> dict[str, Any]:
    event = {
        "id": "evt_test_65R",
        "object": "v2.core.event",
        "created": "2026-05-28T20:26:40.000Z",
        "livemode": True,
        "type": event_type,
        "related_object": {"id": "mtr_1", "type": "billing.meter", "url": "/v1/billing/meters/1"},
    }
    return event | changes


def test_a_snapshot_is_an_event() -> None:
    item = {"object": "invoice", "id": "in_1", "amount_paid": 1999, "currency": "usd"}

    event = parse_stripe_event(snapshot("invoice.paid", item), make_source())

    assert event == ProviderEvent(
        id="evt_1",
        type="invoice.paid",
        livemode=True,
        occurred_at=CREATED_AT,
        references={None: "in_1"},
        amount=1999,
        currency="USD",
    )


def test_a_thin_event_is_an_event_of_its_exact_type() -> None:
    event = parse_stripe_event(thin("v1.billing.meter.error"), make_source())

    assert event == ProviderEvent(
        id="evt_test_65R",
        type="v1.billing.meter.error",
        livemode=True,
        occurred_at=CREATED_AT,
        references={None: "mtr_1"},
    )


@pytest.mark.parametrize(
    ("event_type", "item", "amount", "reference"),
    [
        (
            "checkout.session.completed",
            {"object": "checkout.session", "amount_total": 500, "client_reference_id": "order-7"},
            500,
            "order-7",
        ),
        (
            "checkout.session.completed",
            {"object": "checkout.session", "client_reference_id": None, "amount_total": None},
            None,
            "obj_1",
        ),
        ("customer.subscription.deleted", {"object": "subscription"}, None, "obj_1"),
        (
            "charge.refunded",
            {"object": "charge", "amount": 900, "amount_refunded": 300},
            300,
            "obj_1",
        ),
        ("charge.succeeded", {"object": "charge", "amount": 900}, 900, "obj_1"),
        ("charge.dispute.created", {"object": "dispute", "amount": 9, "charge": "ch_1"}, 9, "ch_1"),
        (
            "payment_intent.succeeded",
            {"object": "payment_intent", "amount": 10, "amount_received": 8},
            8,
            "obj_1",
        ),
        ("some.other", {"object": ["a list"], "amount": 1}, None, "obj_1"),
    ],
)
def test_each_type_has_its_amount_and_its_default_reference(
    event_type: str, item: dict[str, Any], amount: int | None, reference: str
) -> None:
    item = {"id": "obj_1", "currency": "eur"} | item

    event = parse_stripe_event(snapshot(event_type, item), make_source())

    assert (event.amount, event.currency) == (amount, None if amount is None else "EUR")
    assert event.references == {None: reference}


def test_each_pointer_of_the_source_is_read() -> None:
    item = {"id": "in_1", "metadata": {"order": "o-1", "empty": ""}}
    source = make_source(
        expects("invoice.paid", reference="/data/object/metadata/order"),
        expects("invoice.paid", reference="/data/object/metadata/empty"),
        expects("invoice.paid", reference="/none"),
    )

    event = parse_stripe_event(snapshot("invoice.paid", item), source)

    assert event.references == {None: "in_1", "/data/object/metadata/order": "o-1"}


def test_account_and_version_leave_the_identity() -> None:
    first = snapshot("invoice.paid", {"id": "in_1"})
    again = first | {"account": "acct_1", "context": "acct_1", "api_version": "2020-08-27"}

    source = make_source()

    assert parse_stripe_event(first, source) == parse_stripe_event(again, source)


@pytest.mark.parametrize(
    "changes",
    [
        {"id": None},
        {"id": ""},
        {"id": "x" * 256},
        {"id": "nul\0"},
        {"type": 7.5},
        {"type": "x" * 256},
        {"created": None},
        {"created": "yesterday"},
        {"created": -1},
        {"created": HUGE},
        {"livemode": None},
        {"livemode": "true"},
        {"livemode": 1},
    ],
    ids=[
        *("no id", "empty id", "long id", "id with NUL", "type is a number", "long type"),
        *("no instant", "instant is prose", "before 1970", "huge instant"),
        *("no mode", "mode is text", "mode is a number"),
    ],
)
def test_what_lacks_a_fact_is_no_event(changes: dict[str, Any]) -> None:
    with pytest.raises(NotAnEvent) as refused:
        parse_stripe_event(snapshot("invoice.paid", {}, **changes), make_source())

    assert "xxx" not in str(refused.value)


@given(json_values)
def test_any_json_is_an_event_or_is_refused(json: object) -> None:
    with pytest.raises(NotAnEvent):
        parse_stripe_event(json, make_source())


@given(json_values, json_values, st.dictionaries(st.sampled_from(["account", "data"]), json_values))
def test_any_object_in_an_event_is_read(item: object, name: object, more: dict[str, Any]) -> None:
    source = make_source(expects("invoice.paid", reference="/data/object/id"))
    if isinstance(item, dict):
        item |= {"object": name, "amount": name, "currency": name, "id": name}

    event = parse_stripe_event(snapshot("invoice.paid", item, **more), source)

    assert len(sightings_of(source, [event])) == 1
