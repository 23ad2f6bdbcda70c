"""Which receipt a result is about, what it must look like, and the state in its answer."""

import pytest

from domain.projects import CreatedProject
from tests.api.serving import Caller, Json, receipt


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"status": "success"}, "/event_id"),
        ({"event_id": "evt_1"}, "/status"),
        ({"event_id": "evt_1", "status": "done"}, "/status"),
        ({"event_id": None, "status": "success"}, "/event_id"),
        ({"event_id": "evt_1", "status": "success", "error_code": "x"}, "/error_code"),
        ({"event_id": "evt_1", "status": "success", "error_message": "x"}, "/error_message"),
        ({"event_id": "evt_1", "status": "failed", "error_code": {}}, "/error_code"),
        ({"stripe_event_id": "a", "provider_event_id": "b", "status": "success"}, "/stripe_event_id"),
        ({"stripe_event_id": "a", "provider": "shopify", "status": "success"}, "/provider"),
        ({"event_id": "evt_1", "status": "success", "effect_type": "x"}, "/effect_type"),
        ({"provider_event_id": "", "status": "success"}, "/provider_event_id"),
    ],
    ids=str,
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_wrong_field_is_named(caller: Caller, body: Json, pointer: str) -> None:
    answer = await caller.send("result", body)

    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


@pytest.mark.parametrize(
    "event_id",
    ["", "x", "evt_", "evt_" + "0" * 32, "a\0b", "x" * 5_000, "ümläut", "inc_1", 5, 0.5, True, [], {"id": "evt_1"}],
    ids=repr,
)
async def test_unknown_event_of_any_shape_is_not_found(caller: Caller, event_id: object) -> None:
    assert (await caller.send("result", {"event_id": event_id, "status": "success"})).json()["code"] == "not_found"


@pytest.mark.parametrize("replay_id", ["", "x", "rpl_" + "0" * 32, "a\0b", "x" * 5_000, 5, False, ["rpl_1"]], ids=repr)
async def test_unknown_repair_of_any_shape_is_not_found(caller: Caller, replay_id: object) -> None:
    event_id = await caller.accept()

    answer = await caller.send("result", {"event_id": event_id, "status": "success", "replay_id": replay_id})

    assert answer.json()["code"] == "not_found"


async def test_success_while_waiting_is_applied(caller: Caller) -> None:
    event_id = await caller.accept()

    answer = await caller.send("result", {"event_id": event_id, "status": "success"})

    assert answer.json() == {"accepted": True, "event_id": event_id, "state": "applied"}


async def test_failed_while_waiting_opens_an_incident_with_its_error(caller: Caller) -> None:
    event_id = await caller.accept()
    failed = {"event_id": event_id, "status": "failed", "error_code": "seat_limit", "error_message": "a\0" + "b" * 3_000}

    answer = await caller.send("result", failed)
    incident = (await caller.ask("GET", f"/events/{event_id}")).json()["incident"]

    assert answer.json()["state"] == "incident"
    assert (incident["state"], incident["reason"], incident["error_code"]) == ("open", "failed_result", "seat_limit")
    assert incident["error_message"] == "a" + "b" * 2_047


@pytest.mark.parametrize("named_by", ["event_id", "provider_event_id", "stripe_event_id", "all"])
async def test_event_is_found_by_each_of_its_ids(caller: Caller, named_by: str) -> None:
    sent = receipt()
    event_id = await caller.accept(**sent)
    ids = {"event_id": event_id, "provider_event_id": sent["provider_event_id"], "stripe_event_id": sent["provider_event_id"]}
    names = ids if named_by == "all" else {named_by: ids[named_by]}

    answer = await caller.send("result", {**names, "status": "success"})

    assert answer.json().get("event_id") == event_id, answer.text


async def test_ids_of_different_events_are_refused(caller: Caller) -> None:
    other = receipt()
    event_id = await caller.accept()
    await caller.accept(**other)

    answer = await caller.send(
        "result", {"event_id": event_id, "provider_event_id": other["provider_event_id"], "status": "success"}
    )

    assert answer.status_code in (404, 422), answer.text


async def test_several_effects_need_the_effect_named(caller: Caller) -> None:
    first = receipt()
    await caller.accept(**first)
    second = await caller.accept(**{**first, "effect_type": "credit_grant"})
    result = {"provider_event_id": first["provider_event_id"], "status": "success"}

    ambiguous = await caller.send("result", result)
    named = await caller.send("result", {**result, "effect_type": "credit_grant"})

    assert ambiguous.status_code == 422
    assert [error["pointer"] for error in ambiguous.json()["errors"]] == ["/effect_type"]
    assert named.json()["event_id"] == second


async def test_another_projects_event_is_not_found(caller: Caller, live_project: CreatedProject) -> None:
    sent = receipt()
    event_id = await caller.accept(**sent)
    stranger = caller.with_key(live_project.api_key)

    by_id = await stranger.send("result", {"event_id": event_id, "status": "success"})
    by_provider = await stranger.send("result", {"stripe_event_id": sent["provider_event_id"], "status": "success"})

    assert by_id.json()["code"] == by_provider.json()["code"] == "not_found"


async def test_repair_succeeds_by_the_result_that_names_it(caller: Caller) -> None:
    event_id = await caller.accept()
    incident_id = await caller.incident_of(event_id)
    replay_id = (await caller.ask("POST", f"/incidents/{incident_id}/reprocess")).json()["replay_id"]

    answer = await caller.send("result", {"event_id": event_id, "status": "success", "replay_id": replay_id})
    event = (await caller.ask("GET", f"/events/{event_id}")).json()

    assert answer.json()["state"] == event["state"] == "recovered"
    assert (event["incident"]["state"], event["incident"]["resolution"]) == ("resolved", "repaired")
    assert [(repair["replay_id"], repair["state"]) for repair in event["repairs"]] == [(replay_id, "succeeded")]


async def test_repair_of_another_event_is_not_found(caller: Caller) -> None:
    incident_id = await caller.incident_of(await caller.accept())
    replay_id = (await caller.ask("POST", f"/incidents/{incident_id}/reprocess")).json()["replay_id"]
    other = await caller.accept()

    answer = await caller.send("result", {"event_id": other, "status": "success", "replay_id": replay_id})

    assert answer.json()["code"] == "not_found"
