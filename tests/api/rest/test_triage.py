"""What operators do with an incident over REST: each answers the incident, and refuses as the
contract says.
"""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.projects import CreatedProject
from domain.users import Role
from domain.values.timestamps import to_iso
from store.db.database import Database
from store.people import members, users
from tests.api.serving import Caller

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

MINUTE = timedelta(minutes=1)


def ahead(**span: float) -> str:
    return to_iso(datetime.now(UTC) + timedelta(**span))


def instant(text: str) -> datetime:
    return datetime.fromisoformat(text)


async def opened(caller: Caller, **changes: Any) -> tuple[str, str]:
    event_id = await caller.accept(**changes)
    return event_id, await caller.incident_of(event_id)


async def test_acknowledgement_lasts_as_the_project_says_or_as_asked_and_is_taken_back(
    caller: Caller, project: CreatedProject
) -> None:
    _, incident_id = await opened(caller)
    path = f"/incidents/{incident_id}/acknowledge"
    await caller.ask("PATCH", "/project", json={"acknowledge_minutes": 60})

    default = (await caller.ask("POST", path)).json()
    until = ahead(days=2)
    asked = (await caller.ask("POST", path, json={"until": until})).json()
    taken_back = await caller.ask("DELETE", path)
    again = await caller.ask("DELETE", path)

    lasts = instant(default["acknowledged_until"]) - instant(default["acknowledged_at"])
    assert lasts == timedelta(hours=1)
    assert default["acknowledged_by"] == project.key.label
    assert asked["acknowledged_until"] == until
    assert (taken_back.status_code, again.status_code) == (200, 200)
    for name in ("acknowledged_at", "acknowledged_by", "acknowledged_until"):
        assert taken_back.json()[name] is None


async def test_incident_is_assigned_to_members_alone(
    caller: Caller, project: CreatedProject, database: Database
) -> None:
    _, incident_id = await opened(caller)
    async with database.transaction() as session:
        now = await database.now(session)
        ada = await users.create_user(session, email="ada@shop.example", now=now)
        await users.create_user(session, email="stranger@shop.example", now=now)
        of = {"project_id": project.project.id, "user_id": ada.user_id}
        await members.grant(session, **of, role=Role.VIEWER, now=now)
    path = f"/incidents/{incident_id}/assign"

    async def assign(assignee: object) -> Any:
        return (await caller.ask("POST", path, json={"assignee": assignee})).json()

    refused = [
        (await assign(one))["errors"][0]["pointer"]
        for one in ("stranger@shop.example", "nobody@shop.example", ada.user_id, "", 7, "a\0@b")
    ]
    assigned, removed = await assign("ada@shop.example"), await assign(None)

    assert refused == ["/assignee"] * 6
    assert (assigned["assignee"], removed["assignee"]) == ("ada@shop.example", None)
    missing = (await caller.ask("POST", path, json={})).json()
    assert missing["errors"][0]["code"] == "required"


@pytest.mark.parametrize(
    ("act", "body", "pointer"),
    [
        ("acknowledge", {"until": "soon"}, "/until"),
        ("acknowledge", {"until": "2020-01-01T00:00:00Z"}, "/until"),
        ("snooze", {}, "/until"),
        ("snooze", {"until": None}, "/until"),
        ("snooze", {"until": "2020-01-01T00:00:00Z"}, "/until"),
        ("snooze", {"until": "9999-12-31T23:59:59Z"}, "/until"),
        ("comments", {}, "/text"),
        ("comments", {"text": "  "}, "/text"),
        ("comments", {"text": "x" * 4_001}, "/text"),
        ("comments", {"text": "a\0b"}, "/text"),
        ("reopen", {}, "/reason"),
        ("reprocess", {"confirm": "yes"}, "/confirm"),
    ],
    ids=str,
)
async def test_wrong_body_is_named(
    caller: Caller, act: str, body: dict[str, object], pointer: str
) -> None:
    _, incident_id = await opened(caller)

    answer = await caller.ask("POST", f"/incidents/{incident_id}/{act}", json=body)

    assert answer.status_code == 422, answer.text
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_snooze_comment_and_reopening_answer_the_incident(caller: Caller) -> None:
    event_id, incident_id = await opened(caller)
    until = ahead(days=29)

    async def act(name: str, body: dict[str, object]) -> Any:
        return await caller.ask("POST", f"/incidents/{incident_id}/{name}", json=body)

    snoozed = (await act("snooze", {"until": until})).json()
    commented = (await act("comments", {"text": "x" * 4_000})).json()
    early = (await act("reopen", {"reason": "wrong"})).json()
    await act("resolve", {"reason": "refunded"})
    reopened = (await act("reopen", {"reason": "not refunded"})).json()

    assert snoozed["snoozed_until"] == until
    assert commented["id"] == incident_id
    assert early["code"] == "not_closed"
    assert (reopened["state"], reopened["resolution"], reopened["snoozed_until"]) == (
        "open",
        None,
        None,
    )
    timeline = (await caller.ask("GET", f"/events/{event_id}")).json()["timeline"]
    assert [entry["kind"] for entry in timeline][3:] == [
        "incident_snoozed",
        "incident_commented",
        "incident_resolved",
        "incident_reopened",
    ]


async def test_doubtful_repair_is_409_without_confirmation(caller: Caller) -> None:
    event_id, incident_id = await opened(caller, internal_reference="order-7")
    later = await caller.accept(
        internal_reference="order-7", event_type="charge.refunded", effect_type="credit_deduction"
    )
    path = f"/incidents/{incident_id}"

    shown = (await caller.ask("GET", path)).json()["superseded_by"]
    refused = [
        (await caller.ask("POST", f"{path}/reprocess", **options)).json()["code"]
        for options in ({}, {"json": {}}, {"json": {"confirm": False}})
    ]
    accepted = await caller.ask("POST", f"{path}/reprocess", json={"confirm": True})

    assert shown == later
    assert refused == ["superseded"] * 3
    assert accepted.status_code == 202
    log = (await caller.ask("GET", "/audit")).json()["data"]
    assert log[0]["details"]["superseded_by"] == later
    repairs = (await caller.ask("GET", f"/events/{event_id}")).json()["repairs"]
    assert [repair["replay_id"] for repair in repairs] == [accepted.json()["replay_id"]]


async def test_deadline_is_moved_at_most_seven_days_ahead_while_waiting(caller: Caller) -> None:
    event_id = await caller.accept()
    path = f"/events/{event_id}/deadline"
    before = (await caller.ask("GET", f"/events/{event_id}")).json()

    async def move(deadline_at: object) -> Any:
        return (await caller.ask("PATCH", path, json={"deadline_at": deadline_at})).json()

    to = ahead(days=6)
    moved = await move(to)
    refused = [
        (await move(at))["errors"][0]["pointer"]
        for at in (ahead(days=8), ahead(minutes=-1), None, "soon")
    ]
    await caller.send("result", {"event_id": event_id, "status": "success"})
    ended = await move(to)

    assert (moved["deadline_at"], moved["timeout_at"]) == (to, before["timeout_at"])
    assert refused == ["/deadline_at"] * 4
    assert ended["code"] == "not_waiting"


async def test_every_action_is_in_the_audit_log_without_what_was_typed(caller: Caller) -> None:
    waiting = await caller.accept()
    _, incident_id = await opened(caller)
    path = f"/incidents/{incident_id}"
    for method, act, body in (
        ("POST", "acknowledge", {}),
        ("DELETE", "acknowledge", None),
        ("POST", "assign", {"assignee": None}),
        ("POST", "comments", {"text": "secret words"}),
        ("POST", "snooze", {"until": ahead(days=1)}),
        ("POST", "resolve", {"reason": "secret words"}),
        ("POST", "reopen", {"reason": "secret words"}),
    ):
        answer = await caller.ask(method, f"{path}/{act}", json=body)
        assert answer.status_code == 200, answer.text
    moved = {"deadline_at": ahead(days=1)}
    await caller.ask("PATCH", f"/events/{waiting}/deadline", json=moved)

    log = await caller.ask("GET", "/audit")

    assert [entry["action"] for entry in reversed(log.json()["data"])] == [
        "incident_acknowledged",
        "incident_unacknowledged",
        "incident_assigned",
        "incident_commented",
        "incident_snoozed",
        "incident_resolved",
        "incident_reopened",
        "deadline_moved",
    ]
    assert "secret words" not in log.text


@pytest.mark.parametrize("minutes", [0, 43_201, 1.5, "60", None])
async def test_minutes_of_an_acknowledgement_are_checked(caller: Caller, minutes: object) -> None:
    answer = await caller.ask("PATCH", "/project", json={"acknowledge_minutes": minutes})

    assert [error["pointer"] for error in answer.json()["errors"]] == ["/acknowledge_minutes"]
