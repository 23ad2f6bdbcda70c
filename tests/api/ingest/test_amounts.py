"""What is at risk and who paid, from the receipt to REST; the key of an effect; and results that
found the effect applied.
"""

from typing import Any

import pytest

from domain.ids import EventId, ReplayId
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.repairs import request_repair
from tests.api.serving import Caller, receipt
from tests.support.given import OPERATOR

RISK = {"amount": 120_450, "currency": "EUR", "customer_reference": "customer 7"}


async def reprocess(database: Database, event_id: str) -> ReplayId:
    """A repair of the event's incident; its id."""
    async with database.transaction() as session:
        now = await database.now(session)
        st = SessionStatements(session)
        begun = await request_repair(st, EventId(event_id), now, requested_by=OPERATOR)
    return begun.replay_id


async def incident_of(caller: Caller, event_id: str) -> dict[str, Any]:
    event = (await caller.ask("GET", f"/events/{event_id}")).json()
    incident: dict[str, Any] = event["incident"]
    return incident


async def test_amount_and_customer_are_on_the_event_and_on_its_incident(caller: Caller) -> None:
    event_id = await caller.accept(**{**RISK, "currency": "eur"})
    await caller.send("result", {"event_id": event_id, "status": "failed"})

    event = (await caller.ask("GET", f"/events/{event_id}")).json()
    incident = (await caller.ask("GET", f"/incidents/{event['incident']['id']}")).json()

    assert {name: event[name] for name in RISK} == RISK
    assert {name: incident[name] for name in RISK} == RISK


async def test_receipt_without_amount_has_nulls(caller: Caller) -> None:
    event_id = await caller.accept()

    event = (await caller.ask("GET", f"/events/{event_id}")).json()

    assert {name: event[name] for name in RISK} == dict.fromkeys(RISK)


async def test_first_amount_of_an_identity_wins(caller: Caller) -> None:
    first = receipt(**RISK)
    accepted = (await caller.send("receipt", first)).json()

    again = await caller.send("receipt", {**first, "amount": 1, "customer_reference": "another"})
    event = (await caller.ask("GET", f"/events/{accepted['event_id']}")).json()

    assert (again.status_code, again.json()) == (202, accepted)
    assert {name: event[name] for name in RISK} == RISK


@pytest.mark.parametrize("provider_event_id", ["evt_1", 'odd " \\ and ümläut 🎉 %s'])
async def test_every_answer_to_an_identity_has_the_same_effect_key(
    caller: Caller, provider_event_id: str
) -> None:
    sent = receipt(provider_event_id=provider_event_id)

    first = await caller.send("receipt", sent, key="one")
    replayed = await caller.send("receipt", sent, key="one")
    repeated = await caller.send("receipt", sent, key="two")
    repeated_again = await caller.send("receipt", sent, key="two")

    assert first.json()["effect_key"] == f"stripe:{provider_event_id}:{sent['effect_type']}"
    assert first.content == replayed.content == repeated.content == repeated_again.content


async def test_search_finds_the_customer(caller: Caller) -> None:
    event_id = await caller.accept(**RISK)
    await caller.accept(customer_reference="another")

    found = (await caller.ask("GET", "/events", params={"q": "CUSTOMER 7"})).json()["data"]

    assert [event["event_id"] for event in found] == [event_id]


async def test_success_that_found_the_effect_applied_ends_the_incident_so(
    caller: Caller, database: Database
) -> None:
    event_id = await caller.accept()
    await caller.send("result", {"event_id": event_id, "status": "failed"})
    replay_id = await reprocess(database, event_id)
    found = {"status": "success", "replay_id": replay_id, "already_applied": True}

    answer = await caller.send("result", {"event_id": event_id, **found})
    event = (await caller.ask("GET", f"/events/{event_id}")).json()

    assert answer.json()["state"] == "recovered"
    assert event["incident"]["resolution"] == "already_applied"
    assert [repair["state"] for repair in event["repairs"]] == ["succeeded"]
    received = [one for one in event["timeline"] if one["kind"] == "result_received"]
    assert [one.get("already_applied") for one in received] == [None, True]


async def test_success_that_found_the_effect_applied_is_applied_in_time(caller: Caller) -> None:
    event_id = await caller.accept()

    answer = await caller.send(
        "result", {"event_id": event_id, "status": "success", "already_applied": True}
    )

    assert answer.json()["state"] == "applied"


async def test_effect_found_applied_after_a_success_is_no_double_application(
    caller: Caller, database: Database
) -> None:
    event_id = await caller.accept()
    await caller.send("result", {"event_id": event_id, "status": "failed"})
    replay_id = await reprocess(database, event_id)
    await caller.send("result", {"event_id": event_id, "status": "success"})
    found = {"status": "success", "replay_id": replay_id, "already_applied": True}

    answer = await caller.send("result", {"event_id": event_id, **found})
    event = (await caller.ask("GET", f"/events/{event_id}")).json()

    assert (answer.status_code, answer.json()["state"]) == (202, "recovered")
    assert event["flags"] == []
    assert event["incident"]["resolution"] == "late_result"
    assert [one["kind"] for one in event["timeline"]].count("noted") == 1


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"status": "failed", "already_applied": True}, "not_allowed"),
        ({"already_applied": "true"}, "wrong_type"),
        ({"already_applied": 1}, "wrong_type"),
    ],
)
async def test_wrong_already_applied_is_named(
    caller: Caller, changes: dict[str, object], code: str
) -> None:
    event_id = await caller.accept()

    answer = await caller.send("result", {"event_id": event_id, "status": "success", **changes})

    assert answer.status_code == 422
    errors = [(error["pointer"], error["code"]) for error in answer.json()["errors"]]
    assert errors == [("/already_applied", code)]


async def test_failure_may_say_that_it_was_not_applied_before(caller: Caller) -> None:
    event_id = await caller.accept()

    answer = await caller.send(
        "result", {"event_id": event_id, "status": "failed", "already_applied": False}
    )

    assert answer.json()["state"] == "incident"
    assert (await incident_of(caller, event_id))["reason"] == "failed_result"
