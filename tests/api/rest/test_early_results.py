"""REST of results that come before their receipt, and of receipts that a source expects."""

from datetime import timedelta

from domain.projects import CreatedProject
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.deadlines import open_incident
from store.receipts.expected import expect_receipts
from tests.api.serving import Caller, Json, receipt
from tests.support.given import expected_receipt

HELD = {"accepted": True, "event_id": None, "state": "held"}
FIELDS = [
    "provider",
    "provider_event_id",
    "effect_type",
    "status",
    "error_code",
    "error_message",
    "already_applied",
    "received_at",
    "expires_at",
    "repeats",
]


async def hold(caller: Caller) -> None:
    answer = await caller.ask("PATCH", "/project", json={"early_results": "hold"})
    assert (answer.status_code, answer.json()["early_results"]) == (200, "hold")


async def listed(caller: Caller, **query: str | int) -> Json:
    answer = await caller.ask("GET", "/early-results", params=query)
    assert answer.status_code == 200, answer.text
    found: Json = answer.json()
    return found


async def test_early_result_is_refused_by_default(caller: Caller) -> None:
    answer = await caller.send("result", {"provider_event_id": "evt_1", "status": "success"})

    assert (answer.status_code, answer.json()["retryable"]) == (404, True)
    assert answer.headers["Retry-After"] == "1"
    assert await listed(caller) == {"data": [], "has_more": False, "next_cursor": None}


async def test_early_result_is_held_listed_and_applied_by_its_receipt(caller: Caller) -> None:
    await hold(caller)
    result = {"provider_event_id": "evt_1", "status": "failed", "error_code": "no_seat"}

    answer = await caller.send("result", result)

    assert (answer.status_code, answer.json()) == (202, HELD)
    (row,) = (await listed(caller))["data"]
    assert list(row) == FIELDS
    assert (row["provider"], row["provider_event_id"], row["error_code"]) == (
        None,
        "evt_1",
        "no_seat",
    )
    event_id = await caller.accept(provider_event_id="evt_1")
    event = (await caller.ask("GET", f"/events/{event_id}")).json()
    assert (event["state"], event["incident"]["reason"]) == ("incident", "failed_result")
    assert (await listed(caller))["data"] == []


async def test_held_result_of_an_own_provider_found_its_effect_applied(caller: Caller) -> None:
    await hold(caller)
    await caller.ask("PATCH", "/project", json={"providers": ["paddle"]})
    named = {"provider": "paddle", "provider_event_id": "pad_1"}

    answer = await caller.send("result", named | {"status": "success", "already_applied": True})

    assert (answer.status_code, answer.json()) == (202, HELD)
    (row,) = (await listed(caller))["data"]
    assert (row["provider"], row["already_applied"]) == ("paddle", True)
    event_id = await caller.accept(**named, event_type="any.thing")
    event = (await caller.ask("GET", f"/events/{event_id}")).json()
    assert (event["state"], event["incident"]) == ("applied", None)
    (result,) = [entry for entry in event["timeline"] if entry["kind"] == "result_received"]
    assert result["already_applied"] is True
    assert (await listed(caller))["data"] == []


async def test_receipt_of_a_missing_receipt_brings_amount_and_customer(
    caller: Caller, database: Database, project: CreatedProject
) -> None:
    event = expected_receipt(project.project.id, provider_event_id="evt_1")
    async with database.transaction() as session:
        st, now = SessionStatements(session), await database.now(session)
        (event_id,) = await expect_receipts(st, [event], now)
        await open_incident(st, event_id, now + timedelta(minutes=15))
    risk = {"amount": 120_450, "currency": "EUR", "customer_reference": "customer 7"}

    answer = await caller.send("receipt", receipt(provider_event_id="evt_1", **risk))

    assert answer.json()["event_id"] == event_id
    assert answer.json()["effect_key"] == f"stripe:evt_1:{event.effect_type}"
    shown = (await caller.ask("GET", f"/events/{event_id}")).json()
    for one in (shown, shown["incident"]):
        assert {name: one[name] for name in risk} == risk
    rows = (await caller.ask("GET", "/incidents", params={"q": "customer 7"})).json()["data"]
    assert [row["event_id"] for row in rows] == [event_id]


async def test_list_is_paged(caller: Caller) -> None:
    await hold(caller)
    for number in range(3):
        await caller.send("result", {"provider_event_id": f"evt_{number}", "status": "success"})

    first = await listed(caller, limit=2)
    second = await listed(caller, limit=2, cursor=first["next_cursor"])

    names = [row["provider_event_id"] for row in (*first["data"], *second["data"])]
    assert names == ["evt_2", "evt_1", "evt_0"]
    assert (first["has_more"], second["has_more"]) == (True, False)


async def test_another_project_sees_none_of_them(
    caller: Caller, live_project: CreatedProject
) -> None:
    await hold(caller)
    await caller.send("result", {"provider_event_id": "evt_1", "status": "success"})

    other = caller.with_key(live_project.api_key)

    assert (await listed(other))["data"] == []
    receipt_of_other = await other.send("receipt", receipt(provider_event_id="evt_1"))
    assert receipt_of_other.status_code == 202
    assert len((await listed(caller))["data"]) == 1


async def test_expected_event_is_shown_without_an_acceptance(
    caller: Caller, database: Database, project: CreatedProject
) -> None:
    event = expected_receipt(project.project.id)
    async with database.transaction() as session:
        st, now = SessionStatements(session), await database.now(session)
        (event_id,) = await expect_receipts(st, [event], now)
        await open_incident(st, event_id, now + timedelta(minutes=15))

    shown = (await caller.ask("GET", f"/events/{event_id}")).json()
    rows = (await caller.ask("GET", "/events", params={"state": "incident"})).json()["data"]
    expire = await caller.ask("POST", f"/events/{event_id}/expire")

    assert (shown["accepted_at"], shown["state"]) == (None, "incident")
    assert shown["expected_at"].endswith("Z")
    assert shown["incident"]["reason"] == "missing_receipt"
    kinds = [entry["kind"] for entry in shown["timeline"]]
    assert kinds == ["noted", "deadline_passed", "incident_opened"]
    assert [row["event_id"] for row in rows] == [event_id]
    assert (expire.status_code, expire.json()["code"]) == (409, "not_waiting")


async def test_expected_event_is_listed_and_cannot_expire(
    caller: Caller, database: Database, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        st, now = SessionStatements(session), await database.now(session)
        (event_id,) = await expect_receipts(st, [expected_receipt(project.project.id)], now)

    rows = (await caller.ask("GET", "/events", params={"state": "expected"})).json()["data"]
    expire = await caller.ask("POST", f"/events/{event_id}/expire")

    assert [(row["event_id"], row["state"]) for row in rows] == [(event_id, "expected")]
    assert (expire.status_code, expire.json()["code"]) == (409, "not_waiting")
