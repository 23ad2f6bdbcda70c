"""The validation of receipts, and how two receipts of one event relate."""

import asyncio
import json
from dataclasses import replace

import pytest
from sqlalchemy import text

from api.app import create_app
from api.ingest.schemas import ReceiptBody
from domain.errors import ValidationFailed
from domain.projects import CreatedProject
from operations.validation import validated
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.pool_limits import KEY_LOOKUP
from store.projects.data_keys import read_data_key
from tests.api.serving import Caller, Json, parts_on, receipt, serving

SHOPIFY = {
    "provider": "shopify",
    "event_type": "orders/paid",
    "shopify_shop_domain": "example.myshopify.com",
}


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"provider": None}, "/provider", "required"),
        ({"provider": "paypal"}, "/provider", "unknown_value"),
        ({"provider": 7}, "/provider", "unknown_value"),
        ({"provider_event_id": None}, "/provider_event_id", "required"),
        ({"provider_event_id": ""}, "/provider_event_id", "too_short"),
        ({"provider_event_id": "x" * 256}, "/provider_event_id", "too_long"),
        ({"stripe_event_id": "another"}, "/stripe_event_id", "mismatch"),
        ({"event_type": "orders/paid"}, "/event_type", "unknown_value"),
        ({"event_type": "invoice.voided"}, "/event_type", "unknown_value"),
        ({"effect_type": "refund"}, "/effect_type", "unknown_value"),
        ({"internal_reference": None}, "/internal_reference", "required"),
        ({"internal_reference": 42}, "/internal_reference", "wrong_type"),
        ({"internal_reference": "x" * 256}, "/internal_reference", "too_long"),
        ({"internal_reference": "a\0b"}, "/internal_reference", "invalid_format"),
        ({"occurred_at": "2026-11-23T11:13:55"}, "/occurred_at", "invalid_format"),
        ({"occurred_at": "2026-11-23"}, "/occurred_at", "invalid_format"),
        ({"occurred_at": "1795432435"}, "/occurred_at", "invalid_format"),
        ({"occurred_at": "0001-01-01T00:00:00+14:00"}, "/occurred_at", "invalid_format"),
        ({"occurred_at": 1795432435}, "/occurred_at", "wrong_type"),
        ({"shopify_shop_domain": "example.myshopify.com"}, "/shopify_shop_domain", "not_allowed"),
        ({**SHOPIFY, "shopify_shop_domain": None}, "/shopify_shop_domain", "required"),
        ({**SHOPIFY, "stripe_event_id": "evt_1"}, "/stripe_event_id", "not_allowed"),
        ({"timeout_minutes": 0}, "/timeout_minutes", "out_of_range"),
        ({"timeout_minutes": 0.009}, "/timeout_minutes", "out_of_range"),
        ({"timeout_minutes": 10_081}, "/timeout_minutes", "out_of_range"),
        ({"timeout_minutes": "30"}, "/timeout_minutes", "wrong_type"),
        ({"timeout_minutes": True}, "/timeout_minutes", "wrong_type"),
        ({"timeout_minutes": 10**400}, "/timeout_minutes", "wrong_type"),
        ({"amount": 100}, "/currency", "required"),
        ({"currency": "EUR"}, "/amount", "required"),
        ({"amount": -1, "currency": "EUR"}, "/amount", "out_of_range"),
        ({"amount": 10**15 + 1, "currency": "EUR"}, "/amount", "out_of_range"),
        ({"amount": 1.5, "currency": "EUR"}, "/amount", "wrong_type"),
        ({"amount": 100.0, "currency": "EUR"}, "/amount", "wrong_type"),
        ({"amount": True, "currency": "EUR"}, "/amount", "wrong_type"),
        ({"amount": "100", "currency": "EUR"}, "/amount", "wrong_type"),
        ({"amount": 100, "currency": "EURO"}, "/currency", "invalid_format"),
        ({"amount": 100, "currency": "€€€"}, "/currency", "invalid_format"),
        ({"amount": 100, "currency": 978}, "/currency", "wrong_type"),
        ({"customer_reference": ""}, "/customer_reference", "too_short"),
        ({"customer_reference": "x" * 256}, "/customer_reference", "too_long"),
        ({"customer_reference": 7}, "/customer_reference", "wrong_type"),
    ],
    ids=lambda value: json.dumps(value)[:50] if isinstance(value, dict) else str(value),
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_wrong_field_is_named(caller: Caller, changes: Json, pointer: str, code: str) -> None:
    answer = await caller.send("receipt", receipt(**changes))

    assert answer.status_code == 422, answer.text
    assert [(error["pointer"], error["code"]) for error in answer.json()["errors"]] == [
        (pointer, code)
    ]


@pytest.mark.parametrize(
    "changes",
    [
        {"stripe_event_id": "evt_alone", "provider_event_id": None},
        {"stripe_event_id": "evt_both", "provider_event_id": "evt_both"},
        SHOPIFY,
        {"occurred_at": "2026-11-23T12:13:55.123456+01:00"},
        {"occurred_at": "20261123T111355Z"},
        {"timeout_minutes": 0.01},
        {"timeout_minutes": 10_080},
        {
            "payload": {
                "id": "evt",
                "nested": {"amount": 12345678901234567890123, "list": [{"a": 1}, {"a": 2}]},
            }
        },
        {"unknown": {"field": [1, 2, 3]}, "another": None},
        {"internal_reference": ': "odd": "\\ and ümläut 🎉'},
        {"amount": 0, "currency": "JPY"},
        {"amount": 10**15, "currency": "usd"},
        {"customer_reference": ': "odd": "\\ and ümläut 🎉'},
    ],
    ids=lambda changes: "+".join(changes),
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_right_receipt_is_accepted(caller: Caller, changes: Json) -> None:
    answer = await caller.send("receipt", receipt(**changes))

    assert answer.status_code == 202, answer.text
    assert set(answer.json()) == {"accepted", "event_id", "timeout_at", "effect_key"}


async def test_null_is_as_good_as_absent(caller: Caller) -> None:
    nulls = dict.fromkeys(("stripe_event_id", "shopify_shop_domain", "payload", "timeout_minutes"))
    nulls |= dict.fromkeys(("amount", "currency", "customer_reference"))

    assert (await caller.send("receipt", {**receipt(), **nulls})).status_code == 202


async def test_live_project_takes_whole_minutes_only(
    caller: Caller, live_project: CreatedProject
) -> None:
    live = caller.with_key(live_project.api_key)

    answers = [
        await live.send("receipt", receipt(timeout_minutes=minutes))
        for minutes in (0.5, 1.5, 1, 10_080, 5.0)
    ]

    assert [answer.status_code for answer in answers] == [422, 422, 202, 202, 202]
    assert answers[1].json()["errors"][0]["pointer"] == "/timeout_minutes"


async def test_accepted_receipt_is_read_back(caller: Caller) -> None:
    sent = receipt(occurred_at="2026-11-23T12:13:55.1234+01:00", timeout_minutes=15)

    accepted = (await caller.send("receipt", sent)).json()
    event = (await caller.ask("GET", f"/events/{accepted['event_id']}")).json()

    assert accepted["event_id"].startswith("evt_")
    assert event["state"] == "waiting"
    assert event["stripe_event_id"] == event["provider_event_id"] == sent["provider_event_id"]
    assert event["occurred_at"] == "2026-11-23T11:13:55.123Z"
    assert event["timeout_at"] == event["deadline_at"] == accepted["timeout_at"]
    assert event["livemode"] is False
    assert [entry["kind"] for entry in event["timeline"]] == ["receipt_accepted"]


async def test_same_identity_again_gets_the_first_answer(caller: Caller) -> None:
    first = receipt(timeout_minutes=10)
    accepted = (await caller.send("receipt", first)).json()

    again = await caller.send(
        "receipt", {**first, "timeout_minutes": 99, "occurred_at": "2026-11-24T00:00:00Z"}
    )

    assert again.status_code == 202
    assert again.json() == accepted
    assert "Idempotent-Replayed" not in again.headers


@pytest.mark.parametrize(
    "changes", [{"event_type": "invoice.paid"}, {"internal_reference": "another"}], ids=str
)
async def test_same_identity_with_other_facts_is_a_conflict(caller: Caller, changes: Json) -> None:
    first = receipt()
    await caller.send("receipt", first)

    assert (await caller.send("receipt", {**first, **changes})).json()["code"] == "receipt_conflict"


async def test_another_effect_of_one_event_is_another_receipt(caller: Caller) -> None:
    first = receipt()

    ids = {
        await caller.accept(**first),
        await caller.accept(**{**first, "effect_type": "credit_grant"}),
    }

    assert len(ids) == 2


async def test_payload_is_stored_encrypted_and_only_with_snapshots(
    caller: Caller, database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    unwanted = await caller.accept(payload={"card": "4242"})
    changed = await caller.ask("PATCH", "/project", json={"snapshots": True})
    wanted = await caller.accept(payload={"card": "4242"})

    assert changed.json()["snapshots"] is True
    async with database.reading() as session:
        rows = {
            row.event_id: row.payload
            for row in await session.execute(text("SELECT event_id, payload FROM receipts"))
        }
        data_key = await read_data_key(session, project.project.id)
    sealed = bytes(rows[wanted])
    assert rows[unwanted] is None
    assert b"4242" not in sealed
    column = {
        "project_id": project.project.id,
        "table": "receipts",
        "column": "payload",
        "row": wanted,
    }
    assert json.loads(sealer.open(data_key, sealed=sealed, **column)) == {"card": "4242"}


UNSEALED = "The payload was not stored: it could not be encrypted."
LARGE, ILL_FORMED = (
    "The payload was not stored: it is larger than 32 KiB.",
    "The payload was not stored: it is not a well-formed JSON object.",
)


@pytest.mark.parametrize(
    ("raw", "note"),
    [
        (b'{"text":"' + b"x" * 32_768 + b'"}', LARGE),
        (b'{"text":"' + b"x" * 60_000 + b'"}', LARGE),
        (rb'{"name":"\ud83c"}', ILL_FORMED),
        (rb'{"\udf89":[{"name":"}\ud83c,\"payload\":"}]}', ILL_FORMED),
        (b'{"name":"\xff\xfe"}', ILL_FORMED),
        (b'{"name":"caf\xe9"}', ILL_FORMED),
        (b'{"a":1,"a":2}', ILL_FORMED),
        (b'{"a":NaN,"b":-Infinity}', ILL_FORMED),
        (b'{"a":1e400}', ILL_FORMED),
        (b'{"a":' * 5_000 + b"1" + b"}" * 5_000, ILL_FORMED),
        (b"[]", ILL_FORMED),
        (b'"text"', ILL_FORMED),
        (b"17", ILL_FORMED),
        (b"nul", ILL_FORMED),
    ],
    ids=lambda value: value[:30] if isinstance(value, bytes) else None,
)
async def test_payload_that_cannot_be_stored_is_dropped_with_a_note(
    caller: Caller, raw: bytes, note: str
) -> None:
    await caller.ask("PATCH", "/project", json={"snapshots": True})
    known = receipt()
    body = json.dumps(known).encode()[:-1] + b',"payload":' + raw + b"}"

    first = await caller.send("receipt", body, key="first")
    again = await caller.send("receipt", body, key="first")

    assert first.status_code == 202, first.text
    assert again.json() == first.json()
    event = (await caller.ask("GET", f"/events/{first.json()['event_id']}")).json()
    assert [(entry["kind"], entry.get("text")) for entry in event["timeline"]] == [
        ("receipt_accepted", None),
        ("noted", note),
    ]
    assert event["internal_reference"] == known["internal_reference"]


async def noted(caller: Caller, event_id: str) -> list[tuple[str, str | None]]:
    event = (await caller.ask("GET", f"/events/{event_id}")).json()
    return [(entry["kind"], entry.get("text")) for entry in event["timeline"]]


async def test_payload_that_cannot_be_sealed_is_dropped_and_noted_and_breaks_no_batch(
    caller: Caller, database: Database, project: CreatedProject
) -> None:
    await caller.ask("PATCH", "/project", json={"snapshots": True})
    async with database.transaction() as session:
        broken = {"key": b"\x01 no key at all", "id": project.project.id}
        await session.execute(text("UPDATE projects SET data_key = :key WHERE id = :id"), broken)

    requests = [
        caller.send("receipt", receipt(payload={"card": "4242"}) if n == 3 else receipt())
        for n in range(8)
    ]
    answers = await asyncio.gather(*requests)

    assert {answer.status_code for answer in answers} == {202}
    assert await noted(caller, answers[3].json()["event_id"]) == [
        ("receipt_accepted", None),
        ("noted", UNSEALED),
    ]
    assert await noted(caller, answers[4].json()["event_id"]) == [("receipt_accepted", None)]


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_payload_whose_key_cannot_be_read_is_dropped_and_noted(
    database: Database, project: CreatedProject, sealer: Sealer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("store.db.pool_limits.KEY_LOOKUP", replace(KEY_LOOKUP, permit_seconds=0.2))
    of_the_api = Database.open(database.url)
    async with serving(create_app(parts_on(of_the_api, sealer), clock=lambda: 0.0)) as client:
        caller = Caller(client, project.api_key)
        await caller.ask("PATCH", "/project", json={"snapshots": True})
        await caller.accept()  # caches its key
        async with of_the_api.key_lookup():
            event_id = await caller.accept(payload={"card": "4242"})

        assert await noted(caller, event_id) == [("receipt_accepted", None), ("noted", UNSEALED)]
    await of_the_api.close()


async def test_payload_is_not_missed_where_no_snapshots_are_wanted(caller: Caller) -> None:
    event_id = await caller.accept(payload=["no object"])

    event = (await caller.ask("GET", f"/events/{event_id}")).json()
    assert [entry["kind"] for entry in event["timeline"]] == ["receipt_accepted"]


@pytest.mark.parametrize(
    "body",
    [
        rb'{"payload":{"a":"\ud83c"},"payload":{}}',
        rb'{"payload":{"a":"\ud83c"},"internal_reference":"\ud83c"}',
        rb'{"payload":{"a":"\ud83c"},"a":{"b":1,"b":2}}',
        rb'{"payload":{"a":"\ud83c"}',
        rb'{"payload":{"a":"\ud83c"}}}',
        rb'{"payload":{"a":"\ud83c"},}',
        rb'{"payload":{"a":"\ud83c},}',
        rb'["payload",{"a":"\ud83c"}]',
    ],
    ids=repr,
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_only_the_payload_may_be_ill_formed(caller: Caller, body: bytes) -> None:
    answer = await caller.send("receipt", body)

    assert (answer.status_code, answer.json()["code"]) == (422, "validation_error")


@pytest.mark.parametrize(
    "occurred_at",
    [
        "10000-01-01T00:00:00Z",
        "0000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-01:00",
        "2026-12-31T23:59:60Z",
        "2026-11-23T24:00:00Z",
        "2026-11-23T11:13:55+24:00",
        "2026-11-23T11:13:55-24:00",
        "2026-11-23T11:13:55+00:00:01",
        "2026-02-29T00:00:00Z",
        "٢٠٢٦-11-23T11:13:55Z",
        "2026-11-23T11:13:55Z\0",
        "2026-W48-1T11:13:55Z",
        "",
    ],
    ids=ascii,
)
def test_invalid_instant_is_refused(occurred_at: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        validated(ReceiptBody, receipt(occurred_at=occurred_at))

    assert [(error.pointer, error.code) for error in refused.value.errors] == [
        ("/occurred_at", "invalid_format")
    ]


@pytest.mark.parametrize(
    ("occurred_at", "shown"),
    [
        ("0001-01-01T00:00:00Z", "0001-01-01T00:00:00.000Z"),
        ("9999-12-31T23:59:59.999999Z", "9999-12-31T23:59:59.999Z"),
        ("2026-11-23T11:13:55,5-23:59", "2026-11-24T11:12:55.500Z"),
        ("2026-11-23t11:13:55z", "2026-11-23T11:13:55.000Z"),
        ("2026-11-23t11:13:55.5+01:00", "2026-11-23T10:13:55.500Z"),
    ],
)
async def test_every_instant_of_rfc_3339_is_stored(
    caller: Caller, occurred_at: str, shown: str
) -> None:
    event_id = await caller.accept(occurred_at=occurred_at)

    assert (await caller.ask("GET", f"/events/{event_id}")).json()["occurred_at"] == shown
