"""Providers, event types and effect types of a project's own, from the setting to REST's lists."""

from typing import Any

import pytest

from domain.projects import CreatedProject
from tests.api.serving import Caller, Json, receipt

OWN = {
    "providers": ["paddle", "internal"],
    "event_types": ["invoice.voided"],
    "effect_types": ["license_issue"],
}


async def with_own(caller: Caller, **settings: object) -> None:
    answer = await caller.ask("PATCH", "/project", json=settings or OWN)
    assert answer.status_code == 200, answer.text


async def listed(caller: Caller, path: str, **query: str) -> list[str]:
    """The ids of the events of a list."""
    answer = await caller.ask("GET", path, params=query)
    assert answer.status_code == 200, answer.text
    return [row["event_id"] for row in answer.json()["data"]]


def errors(answer: Any) -> list[tuple[str, str]]:
    assert answer.status_code == 422, answer.text
    return [(error["pointer"], error["code"]) for error in answer.json()["errors"]]


async def test_settings_are_read_back(caller: Caller) -> None:
    before = (await caller.ask("GET", "/project")).json()
    await with_own(caller)
    after = (await caller.ask("GET", "/project")).json()

    assert {name: before[name] for name in OWN} == {name: [] for name in OWN}
    assert {name: after[name] for name in OWN} == OWN


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"providers": ["Paddle"]}, "/providers/0", "invalid_format"),
        ({"providers": ["9lives"]}, "/providers/0", "invalid_format"),
        ({"providers": ["paddle\n"]}, "/providers/0", "invalid_format"),
        ({"providers": ["a" * 65]}, "/providers/0", "invalid_format"),
        ({"providers": [""]}, "/providers/0", "invalid_format"),
        ({"providers": [7]}, "/providers/0", "wrong_type"),
        ({"providers": "paddle"}, "/providers", "wrong_type"),
        ({"providers": [f"p{n}" for n in range(51)]}, "/providers", "too_long"),
        ({"providers": ["paddle", "stripe"]}, "/providers/1", "not_allowed"),
        ({"event_types": ["orders/paid"]}, "/event_types/0", "not_allowed"),
        ({"effect_types": ["access_unlock"]}, "/effect_types/0", "not_allowed"),
    ],
    ids=lambda value: str(value)[:40],
)
@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
async def test_wrong_setting_is_named(
    caller: Caller, changes: Json, pointer: str, code: str
) -> None:
    answer = await caller.ask("PATCH", "/project", json=changes)

    assert errors(answer) == [(pointer, code)]


async def test_fifty_names_are_taken_and_each_once(caller: Caller) -> None:
    names = [f"p{n}" for n in range(49)]
    await with_own(caller, providers=[*names, "p0"])

    assert (await caller.ask("GET", "/project")).json()["providers"] == names


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"provider": "paddle"}, "/provider"),
        ({"event_type": "invoice.voided"}, "/event_type"),
        ({"effect_type": "license_issue"}, "/effect_type"),
    ],
)
async def test_name_of_another_project_is_refused(
    caller: Caller, live_project: CreatedProject, changes: Json, pointer: str
) -> None:
    await with_own(caller)

    own = await caller.send("receipt", receipt(**changes))
    other = await caller.with_key(live_project.api_key).send("receipt", receipt(**changes))

    assert own.status_code == 202, own.text
    assert errors(other) == [(pointer, "unknown_value")]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"event_type": "any.thing/at_all-1"}, []),
        ({"event_type": "Any.Thing"}, [("/event_type", "invalid_format")]),
        ({"event_type": "e" * 65}, [("/event_type", "invalid_format")]),
        ({"provider_event_id": None}, [("/provider_event_id", "required")]),
        (
            {"provider_event_id": "id", "stripe_event_id": "id"},
            [("/stripe_event_id", "not_allowed")],
        ),
        (
            {"shopify_shop_domain": "a.myshopify.com"},
            [("/shopify_shop_domain", "not_allowed")],
        ),
    ],
    ids=str,
)
async def test_own_provider_has_any_type_and_needs_its_id(
    caller: Caller, changes: Json, expected: list[tuple[str, str]]
) -> None:
    await with_own(caller)

    answer = await caller.send("receipt", receipt(provider="paddle", **changes))

    if expected:
        assert errors(answer) == expected
    else:
        assert answer.status_code == 202, answer.text


async def test_type_of_the_other_provider_stays_refused(caller: Caller) -> None:
    await with_own(caller)

    assert errors(await caller.send("receipt", receipt(event_type="orders/paid"))) == [
        ("/event_type", "unknown_value")
    ]


async def test_own_names_are_on_the_event_and_filter_the_lists(caller: Caller) -> None:
    await with_own(caller)
    own = {"provider": "paddle", "event_type": "any.thing", "effect_type": "license_issue"}
    usual = await caller.accept(event_type="invoice.paid")
    event_id = await caller.accept(**own)
    same_type = await caller.accept(provider="paddle", event_type="invoice.paid")
    for one in (usual, event_id, same_type):
        await caller.incident_of(one)

    event = (await caller.ask("GET", f"/events/{event_id}")).json()

    assert {name: event[name] for name in own} == own
    assert event["stripe_event_id"] is None
    assert event["effect_key"] == f"paddle:{event['provider_event_id']}:license_issue"
    for path in ("/events", "/incidents"):
        assert await listed(caller, path) == [same_type, event_id, usual]
        assert await listed(caller, path, provider="paddle") == [same_type, event_id]
        assert await listed(caller, path, provider="stripe") == [usual]
        assert await listed(caller, path, provider="internal") == []
        assert await listed(caller, path, event_type="any.thing") == [event_id]
        assert await listed(caller, path, event_type="invoice.paid") == [same_type, usual]
        assert await listed(caller, path, effect_type="license_issue") == [event_id]
        assert await listed(caller, path, provider="paddle", q="order") == [same_type, event_id]
    assert await listed(caller, "/events", state="incident") == [same_type, event_id, usual]
    assert await listed(caller, "/incidents", state="open") == [same_type, event_id, usual]


@pytest.mark.parametrize("path", ["/events", "/incidents"])
@pytest.mark.parametrize("name", ["provider", "event_type", "effect_type"])
async def test_unknown_name_in_a_filter_is_refused(caller: Caller, path: str, name: str) -> None:
    answer = await caller.ask("GET", path, params={name: "license_issue"})

    assert errors(answer) == [(f"/{name}", "unknown_value")]


async def test_removed_name_is_refused_in_receipts_and_known_elsewhere(caller: Caller) -> None:
    await with_own(caller)
    own = {"provider": "paddle", "event_type": "any.thing", "effect_type": "license_issue"}
    sent = receipt(**own)
    event_id = (await caller.send("receipt", sent)).json()["event_id"]
    await with_own(caller, providers=["internal"], effect_types=[])

    refused = await caller.send("receipt", receipt(**own))
    result = {
        **{name: sent[name] for name in ("provider", "provider_event_id", "effect_type")},
        "status": "success",
    }
    answer = await caller.send("result", result)

    assert errors(refused) == [
        ("/provider", "unknown_value"),
        ("/event_type", "unknown_value"),
        ("/effect_type", "unknown_value"),
    ]
    assert answer.json() == {"accepted": True, "event_id": event_id, "state": "applied"}
    for name, value in own.items():
        assert await listed(caller, "/events", **{name: value}) == [event_id]


async def test_result_finds_the_receipt_of_an_own_provider_by_its_id(caller: Caller) -> None:
    await with_own(caller)
    event_id = await caller.accept(provider="paddle", provider_event_id="id 1", event_type="a.b")

    answer = await caller.send("result", {"provider_event_id": "id 1", "status": "success"})

    assert answer.json()["event_id"] == event_id


async def test_same_id_of_two_providers_is_ambiguous(caller: Caller) -> None:
    await with_own(caller)
    await caller.accept(provider="paddle", provider_event_id="id 1", event_type="a.b")
    await caller.accept(provider_event_id="id 1")
    named = {"provider_event_id": "id 1", "status": "success"}

    answers = [
        await caller.send("result", named | {"provider": one}) for one in ("paddle", "stripe")
    ]

    assert errors(await caller.send("result", named)) == [("/provider", "ambiguous")]
    assert len({answer.json()["event_id"] for answer in answers}) == 2
