"""REST for operators: events, incidents and the project, without access to other projects."""

import asyncio
from typing import Any

import pytest

from domain.projects import CreatedProject, Scope
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.projects import create_project
from store.receipts.reconcile.stuck_runs import RESTART_NOTE
from tests.api.serving import Caller, receipt

EVENT_FIELDS = [
    "event_id",
    "state",
    "livemode",
    "provider",
    "provider_event_id",
    "stripe_event_id",
    "event_type",
    "effect_type",
    "internal_reference",
    "customer_reference",
    "amount",
    "currency",
    "effect_key",
    "occurred_at",
    "expected_at",
    "accepted_at",
    "timeout_at",
    "deadline_at",
    "flags",
    "incident",
]
INCIDENT_FIELDS = [
    "id",
    "event_id",
    "state",
    "reason",
    "error_code",
    "error_message",
    "opened_at",
    "acknowledged_at",
    "resolved_at",
    "resolution",
    "active_replay_id",
    "amount",
    "currency",
    "customer_reference",
    "assignee",
    "acknowledged_by",
    "acknowledged_until",
    "snoozed_until",
    "superseded_by",
    "group_id",
    "muted",
]


async def listed(caller: Caller, path: str, **query: str | int) -> list[dict[str, Any]]:
    """The rows of a list."""
    answer = await caller.ask("GET", path, params=query)
    assert answer.status_code == 200, answer.text
    rows: list[dict[str, Any]] = answer.json()["data"]
    return rows


async def test_objects_have_exactly_the_contracts_fields(caller: Caller) -> None:
    event_id = await caller.accept()
    incident_id = await caller.incident_of(event_id)

    event = (await caller.ask("GET", f"/events/{event_id}")).json()
    incident = (await caller.ask("GET", f"/incidents/{incident_id}")).json()

    assert list(event) == [*EVENT_FIELDS, "repairs", "timeline", "sources"]
    assert list(incident) == list(event["incident"]) == INCIDENT_FIELDS
    assert list((await listed(caller, "/events"))[0]) == EVENT_FIELDS
    assert list((await listed(caller, "/incidents"))[0]) == INCIDENT_FIELDS
    assert [entry["kind"] for entry in event["timeline"]] == [
        "receipt_accepted",
        "result_received",
        "incident_opened",
    ]


async def test_pages_follow_one_another_newest_first(caller: Caller) -> None:
    ids = [await caller.accept() for _ in range(5)]
    seen, cursor = [], None
    while True:
        page = (
            await caller.ask(
                "GET", "/events", params={"limit": 2} | ({"cursor": cursor} if cursor else {})
            )
        ).json()
        seen += [event["event_id"] for event in page["data"]]
        cursor = page["next_cursor"]
        assert page["has_more"] is (cursor is not None)
        if cursor is None:
            break

    assert seen == ids[::-1]


async def test_cursor_of_one_list_is_refused_by_the_other(caller: Caller) -> None:
    for _ in range(2):
        await caller.incident_of(await caller.accept())
    for one, other in (("/events", "/incidents"), ("/incidents", "/events")):
        cursor = (await caller.ask("GET", one, params={"limit": 1})).json()["next_cursor"]

        answer = await caller.ask("GET", other, params={"cursor": cursor})

        assert answer.status_code == 422, other
        assert [error["pointer"] for error in answer.json()["errors"]] == ["/cursor"]
        assert (await caller.ask("GET", one, params={"cursor": cursor})).status_code == 200


async def test_filters_narrow_the_lists(caller: Caller) -> None:
    sent = receipt(
        event_type="invoice.paid", effect_type="seat_update", internal_reference="needle"
    )
    wanted = await caller.accept(**sent)
    await caller.accept()
    await caller.incident_of(wanted)
    for query in (
        {"state": "incident"},
        {"event_type": "invoice.paid"},
        {"effect_type": "seat_update"},
        {"internal_reference": "needle"},
        {"q": "eedl"},
        {"q": wanted},
        {"provider": "stripe", "event_type": "invoice.paid"},
    ):
        assert [event["event_id"] for event in await listed(caller, "/events", **query)] == [
            wanted
        ], query
    assert len(await listed(caller, "/events", created_after="2020-01-01T00:00:00Z")) == 2
    assert await listed(caller, "/events", created_before="2020-01-01T00:00:00Z") == []
    assert await listed(caller, "/events", created_before="2020-01-01t00:00:00z") == []
    assert await listed(caller, "/events", provider="shopify") == []
    assert len(await listed(caller, "/incidents", state="open")) == 1
    assert await listed(caller, "/incidents", state="resolved") == []


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"limit": 0}, "/limit"),
        ({"limit": 101}, "/limit"),
        ({"limit": "many"}, "/limit"),
        ({"cursor": "made-up"}, "/cursor"),
        ({"state": "odd"}, "/state"),
        ({"provider": "paypal"}, "/provider"),
        ({"created_after": "yesterday"}, "/created_after"),
        ({"created_before": "2026-11-23T00:00:00"}, "/created_before"),
        ({"q": "a\0b"}, "/q"),
    ],
    ids=str,
)
@pytest.mark.parametrize("path", ["/events", "/incidents"])
@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_wrong_query_is_named(
    caller: Caller, path: str, query: dict[str, str | int], pointer: str
) -> None:
    answer = await caller.ask("GET", path, params=query)

    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_repeated_reprocess_starts_one_repair(caller: Caller) -> None:
    event_id = await caller.accept()
    incident_id = await caller.incident_of(event_id)

    answers = await asyncio.gather(
        *(caller.ask("POST", f"/incidents/{incident_id}/reprocess") for _ in range(20))
    )
    event = (await caller.ask("GET", f"/events/{event_id}")).json()

    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.content for answer in answers}) == 1
    assert answers[0].json() == {
        "replay_id": event["incident"]["active_replay_id"],
        "incident_id": incident_id,
    }
    assert event["incident"]["state"] == "repairing"
    assert [repair["state"] for repair in event["repairs"]] == ["calling"]


async def test_incident_is_acknowledged_once_and_resolved_by_hand(caller: Caller) -> None:
    event_id = await caller.accept()
    incident_id = await caller.incident_of(event_id)

    first = (await caller.ask("POST", f"/incidents/{incident_id}/acknowledge")).json()
    again = (await caller.ask("POST", f"/incidents/{incident_id}/acknowledge")).json()
    resolved = (
        await caller.ask("POST", f"/incidents/{incident_id}/resolve", json={"reason": "refunded"})
    ).json()
    event = (await caller.ask("GET", f"/events/{event_id}")).json()

    assert first["acknowledged_at"] == again["acknowledged_at"] is not None
    assert (resolved["state"], resolved["resolution"]) == ("resolved", "manual")
    assert event["state"] == "closed"
    assert event["timeline"][-1]["reason"] == "refunded"
    for action in ("resolve", "acknowledge", "reprocess"):
        answer = await caller.ask(
            "POST", f"/incidents/{incident_id}/{action}", json={"reason": "again"}
        )
        assert answer.json()["code"] == "incident_resolved", action


async def test_resolving_needs_a_reason(caller: Caller) -> None:
    incident_id = await caller.incident_of(await caller.accept())
    for body in (
        {},
        {"reason": ""},
        {"reason": "  "},
        {"reason": None},
        {"reason": "x" * 2_049},
        {"reason": "a\0"},
    ):
        answer = await caller.ask("POST", f"/incidents/{incident_id}/resolve", json=body)
        assert answer.json()["errors"][0]["pointer"] == "/reason", body
    bare = await caller.ask("POST", f"/incidents/{incident_id}/resolve")
    assert bare.json()["code"] == "unsupported_media_type"


async def test_expired_receipt_is_due_now(caller: Caller) -> None:
    event_id = await caller.accept()

    answer = await caller.ask("POST", f"/events/{event_id}/expire")

    assert answer.status_code == 200
    assert answer.json()["deadline_at"] < answer.json()["timeout_at"]


async def test_a_restart_is_requested_once_while_it_waits(
    caller: Caller, database: Database
) -> None:
    event_id = await caller.accept()

    answers = [await caller.ask("POST", f"/events/{event_id}/restart") for _ in range(2)]

    assert [answer.status_code for answer in answers] == [202, 202]
    timeline = (await caller.ask("GET", f"/events/{event_id}")).json()["timeline"]
    assert [entry["text"] for entry in timeline if entry["kind"] == "noted"] == [RESTART_NOTE]


async def test_project_is_read_and_changed(caller: Caller, project: CreatedProject) -> None:
    changes = {
        "name": " The shop ",
        "repair_url": "https://shop.example/again",
        "timeout_minutes": 0.5,
        "alert_emails": ["Ops@Shop.Example", "you@bücher.example", "you@xn--bcher-kva.example"],
        "late_result": "note",
        "snapshots": True,
        "unknown": 1,
    }

    changed = await caller.ask("PATCH", "/project", json=changes)
    read = await caller.ask("GET", "/project")

    assert changed.status_code == 200, changed.text
    assert changed.json() == read.json() | {"warnings": []}
    shown = read.json()
    assert (shown["project_id"], shown["name"], shown["timeout_minutes"]) == (
        project.project.id,
        "The shop",
        0.5,
    )
    assert shown["alert_emails"] == ["Ops@shop.example", "you@xn--bcher-kva.example"]
    assert project.signing_secret not in read.text


@pytest.mark.parametrize(
    ("changes", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"name": None}, "/name"),
        ({"name": "other"}, "/name"),
        ({"timeout_minutes": 0}, "/timeout_minutes"),
        ({"timeout_minutes": None}, "/timeout_minutes"),
        ({"alert_emails": ["nobody"]}, "/alert_emails/0"),
        ({"alert_emails": ["a@b.example\r\nBcc: c@d.example"]}, "/alert_emails/0"),
        ({"alert_emails": ["jörg@b.example"]}, "/alert_emails/0"),
        ({"alert_emails": ["ok@b.example", '"a b"@c.example']}, "/alert_emails/1"),
        ({"alert_emails": ["Ops <a@b.example>"]}, "/alert_emails/0"),
        ({"alert_emails": ["x" * 65 + "@b.example"]}, "/alert_emails/0"),
        ({"alert_emails": ["a@b.example"] * 21}, "/alert_emails"),
        ({"late_result": "drop"}, "/late_result"),
        ({"early_results": "drop"}, "/early_results"),
        ({"snapshots": "yes"}, "/snapshots"),
        ({"repair_url": 7}, "/repair_url"),
        ({"repair_url": "http://shop.example/"}, "/repair_url"),
        ({"repair_url": "https://user@shop.example/"}, "/repair_url"),
        ({"repair_url": "https://127.0.0.1/"}, "/repair_url"),
        ({"repair_url": "https://[::1]/"}, "/repair_url"),
        ({"repair_url": "https://169.254.169.254/"}, "/repair_url"),
    ],
    ids=str,
)
async def test_wrong_setting_is_named_and_changes_nothing(
    caller: Caller, live_project: CreatedProject, changes: dict[str, object], pointer: str
) -> None:
    before = (await caller.ask("GET", "/project")).json()

    answer = await caller.ask("PATCH", "/project", json={"late_result": "note", **changes})

    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]
    assert (await caller.ask("GET", "/project")).json() == before


async def test_refused_repair_urls_reveal_nothing_about_the_network(caller: Caller) -> None:
    addresses = ("127.0.0.1", "10.0.0.1", "169.254.169.254", "168.63.129.16", "192.0.2.1")

    answers = [
        await caller.ask("PATCH", "/project", json={"repair_url": f"https://{host}/"})
        for host in addresses
    ]

    assert len({answer.json()["errors"][0]["message"] for answer in answers}) == 1


async def test_another_projects_things_are_not_found(
    caller: Caller, live_project: CreatedProject
) -> None:
    event_id = await caller.accept()
    incident_id = await caller.incident_of(event_id)
    other_tenant = caller.with_key(live_project.api_key)

    for method, path in (
        ("GET", f"/events/{event_id}"),
        ("GET", f"/incidents/{incident_id}"),
        ("POST", f"/incidents/{incident_id}/reprocess"),
        ("POST", f"/incidents/{incident_id}/resolve"),
        ("POST", f"/incidents/{incident_id}/acknowledge"),
    ):
        answer = await other_tenant.ask(
            method, path, **({"json": {"reason": "mine now"}} if path.endswith("resolve") else {})
        )
        assert answer.json()["code"] == "not_found", path
    assert await listed(other_tenant, "/events") == await listed(other_tenant, "/incidents") == []
    assert (await listed(caller, "/incidents"))[0]["state"] == "open"


async def test_what_a_patch_does_not_know_is_ignored_and_rest_asks_for_no_accept(
    caller: Caller,
) -> None:
    before = (await caller.ask("GET", "/project")).json()

    answer = await caller.ask(
        "PATCH",
        "/project",
        json={"snapshots": True, "colour": "red"},
        headers={"Accept": "text/html"},
    )

    assert answer.status_code == 200
    assert answer.json() == before | {"snapshots": True, "warnings": []}


async def test_another_test_projects_receipt_cannot_be_expired(
    caller: Caller, database: Database, sealer: Sealer
) -> None:
    event_id = await caller.accept()
    async with database.transaction() as session:
        now = await database.now(session)
        other = await create_project(
            session, sealer, name="next door", livemode=False, scopes=frozenset(Scope), now=now
        )

    answer = await caller.with_key(other.api_key).ask("POST", f"/events/{event_id}/expire")

    assert answer.json()["code"] == "not_found"


@pytest.mark.parametrize(
    "identifier",
    ["%00", "evt_%00", "x" * 3_000, "%F0%9F%8E%89", "evt_1%2F..%2F"],
    ids=lambda text: text[:20],
)
async def test_odd_ids_are_not_found(caller: Caller, identifier: str) -> None:
    assert (await caller.ask("GET", f"/events/{identifier}")).json()["code"] == "not_found"
    assert (await caller.ask("GET", f"/incidents/{identifier}")).json()["code"] == "not_found"
