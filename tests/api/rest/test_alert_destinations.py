"""REST of alert destinations: added, listed, changed, tested, removed. No answer shows a secret."""

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import select

from activities.alerts.all_channels import build_channels
from activities.alerts.trial import TrialSender
from api.app import create_app
from domain.alerts import AlertEvent
from domain.projects import CreatedProject
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.api_keys import create_key
from store.schema import tables
from tests.activities.alerts.http.receiver import LOOPBACK, Receiver, receiving
from tests.api.serving import Caller, Json, parts_on, serving

URL = "https://hooks.example/services/T0/B0/very-secret-token"
KEY = "0123456789abcdef0123456789abcdef"
TARGETS = {
    "email": {"address": "On-Call@shop.example"},
    "slack": {"url": URL},
    "teams": {"url": URL},
    "pagerduty": {"routing_key": KEY},
    "webhook": {"url": URL},
}
FIELDS = [
    *("id", "kind", "label", "address", "events", "state", "disabled_at", "last_sent_at"),
    *("last_error", "last_error_at", "failing_since"),
]


async def any_url(url: str, *, livemode: bool) -> str:
    assert livemode, "alerts of test projects get no addresses opened"
    return url


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        yield receiver


@pytest.fixture
async def trying(
    database: Database, sealer: Sealer, project: CreatedProject, receiver: Receiver
) -> AsyncIterator[Caller]:
    """A caller of an application that sends test alerts to loopback too."""
    channels = build_channels(
        smtp_url="smtp://127.0.0.1:1",
        mail_from="makegood@example.com",
        egress_allow=LOOPBACK,
        pagerduty_url=receiver.url,
    )
    sender = TrialSender(channels, public_url="https://makegood.example")
    parts = replace(parts_on(database, sealer), send_trial=sender, judge_repair_url=any_url)
    async with serving(create_app(parts)) as client:
        yield Caller(client, project.api_key)


async def added(caller: Caller, kind: str, **changes: Any) -> Json:
    content = {"kind": kind, **TARGETS[kind], **changes}
    answer = await caller.ask("POST", "/alert-destinations", json=content)
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


@pytest.mark.parametrize("kind", TARGETS)
async def test_destination_of_each_kind_is_added_and_its_target_never_shown(
    caller: Caller, database: Database, kind: str
) -> None:
    destination = await added(caller, kind, label="#payments")

    listed = await caller.ask("GET", "/alert-destinations")
    async with database.reading() as session:
        rows = [
            str(tuple(row))
            for table in tables.Project.metadata.sorted_tables
            for row in await session.execute(select(table))
        ]

    secret = destination.pop("secret")
    assert list(destination) == FIELDS
    assert destination in listed.json()["data"]
    assert (destination["kind"], destination["state"]) == (kind, "active")
    assert (destination["label"], destination["events"]) == ("#payments", None)
    assert (secret is not None) == (kind == "webhook")
    assert "very-secret" not in json.dumps([destination, listed.json(), *rows])
    assert KEY not in json.dumps([listed.json(), *rows])
    if secret is not None:
        assert secret.startswith("whsec_")
        assert secret not in json.dumps([listed.json(), *rows])
    if kind == "email":
        assert destination["address"] == "On-Call@shop.example"
        project = (await caller.ask("GET", "/project")).json()
        assert destination["address"] in project["alert_emails"]


async def test_events_are_those_of_the_contract_in_its_order(caller: Caller) -> None:
    wanted = ["incident.resolved", "incident.opened", "destination.failing"]
    destination = await added(caller, "slack", events=wanted)
    every = await added(caller, "teams", events=[event.value for event in AlertEvent])

    path = f"/alert-destinations/{destination['id']}"
    narrowed = await caller.ask("PATCH", path, json={"events": ["incident.opened"]})
    widened = await caller.ask("PATCH", path, json={"events": None, "label": "all"})

    assert destination["events"] == ["incident.opened", "incident.resolved", "destination.failing"]
    assert every["events"] is None
    assert narrowed.json()["events"] == ["incident.opened"]
    assert (widened.json()["events"], widened.json()["label"]) == (None, "all")


@pytest.mark.parametrize(
    ("content", "pointer", "code"),
    [
        ({"kind": "sms"}, "/kind", "unknown_value"),
        ({}, "/kind", "required"),
        ({"kind": "email"}, "/address", "required"),
        ({"kind": "email", "address": "no address"}, "/address", "invalid_format"),
        ({"kind": "slack", "address": "a@shop.example"}, "/address", "not_allowed"),
        ({"kind": "slack", "url": None}, "/url", "required"),
        ({"kind": "slack", "url": "http://hooks.example/"}, "/url", "not_allowed"),
        ({"kind": "webhook", "url": "https://127.0.0.1/"}, "/url", "not_allowed"),
        ({"kind": "webhook", "url": "https://[::ffff:10.0.0.1]/"}, "/url", "not_allowed"),
        ({"kind": "teams", "url": "https://u:p@hooks.example/"}, "/url", "not_allowed"),
        ({"kind": "pagerduty", "routing_key": "no key"}, "/routing_key", "invalid_format"),
        ({"kind": "slack", "url": URL, "events": []}, "/events", "invalid_format"),
        ({"kind": "slack", "url": URL, "events": ["nothing"]}, "/events/0", "unknown_value"),
        ({"kind": "slack", "url": URL, "label": ""}, "/label", "too_short"),
    ],
)
async def test_wrong_input_is_refused_at_its_field(
    caller: Caller, content: Json, pointer: str, code: str
) -> None:
    answer = await caller.ask("POST", "/alert-destinations", json=content)

    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert (pointer, code) in {(error["pointer"], error["code"]) for error in errors}
    for value in ("no address", "no key", "hooks.example"):
        assert value not in answer.text


async def test_address_exists_once_and_a_kind_has_a_limit(caller: Caller) -> None:
    await added(caller, "email")
    again = await caller.ask(
        "POST", "/alert-destinations", json={"kind": "email", **TARGETS["email"]}
    )
    for _ in range(20):
        await added(caller, "slack")
    too_many = await caller.ask("POST", "/alert-destinations", json={"kind": "slack", "url": URL})

    assert again.json()["errors"][0]["code"] == "taken"
    assert too_many.json()["errors"][0]["code"] == "too_many"


async def test_kind_and_address_never_change(caller: Caller) -> None:
    mail = await added(caller, "email")
    path = f"/alert-destinations/{mail['id']}"

    kind = await caller.ask("PATCH", path, json={"kind": "slack"})
    address = await caller.ask("PATCH", path, json={"address": "b@shop.example"})
    url = await caller.ask("PATCH", path, json={"url": URL})

    for answer, pointer in ((kind, "/kind"), (address, "/address"), (url, "/url")):
        assert answer.status_code == 422
        assert answer.json()["errors"][0]["pointer"] == pointer


async def test_disabled_destination_is_enabled_again_and_removed(caller: Caller) -> None:
    slack = await added(caller, "slack")
    path = f"/alert-destinations/{slack['id']}"

    disabled = (await caller.ask("PATCH", path, json={"disabled": True})).json()
    enabled = (await caller.ask("PATCH", path, json={"disabled": False})).json()
    removed = await caller.ask("DELETE", path)
    gone = await caller.ask("DELETE", path)

    assert (disabled["state"], enabled["state"]) == ("disabled", "active")
    assert disabled["disabled_at"] is not None
    assert removed.json() == {"id": slack["id"], "removed": True}
    assert gone.status_code == 404


async def test_saved_addresses_keep_what_their_destinations_have(caller: Caller) -> None:
    mail = await added(caller, "email", label="on call")
    await caller.ask("PATCH", f"/alert-destinations/{mail['id']}", json={"disabled": True})

    await caller.ask(
        "PATCH", "/project", json={"alert_emails": [mail["address"], "b@shop.example"]}
    )

    listed = (await caller.ask("GET", "/alert-destinations")).json()["data"]
    assert [(one["label"], one["state"]) for one in listed] == [
        ("on call", "disabled"),
        (None, "active"),
    ]


@pytest.mark.parametrize(
    ("kind", "status", "content"),
    [
        ("slack", 200, "ok"),
        ("slack", 404, "no_service"),
        ("teams", 202, ""),
        ("pagerduty", 400, '{"status": "invalid event"}'),
        ("webhook", 410, "gone"),
    ],
)
async def test_test_alert_answers_what_the_other_side_said(
    trying: Caller, receiver: Receiver, kind: str, status: int, content: str
) -> None:
    receiver.statuses, receiver.content = [status], content.encode()
    target = TARGETS[kind] if kind == "pagerduty" else {"url": f"{receiver.url}/very-secret-token"}
    destination = await added(trying, kind, **target)

    tested = await trying.ask("POST", f"/alert-destinations/{destination['id']}/test")

    (got,) = receiver.got
    answer = tested.json()
    assert tested.status_code == 200
    assert (answer["ok"], answer["status"]) == (status < 300, status)
    assert answer["excerpt"] == content
    assert "very-secret" not in tested.text
    assert "Test alert" in got.body.decode()
    (listed,) = (
        one
        for one in (await trying.ask("GET", "/alert-destinations")).json()["data"]
        if one["id"] == destination["id"]
    )
    assert (listed["last_sent_at"] is not None) == answer["ok"]
    assert (listed["last_error"] is None) == answer["ok"]


async def test_test_alert_without_an_answer_says_so(trying: Caller, receiver: Receiver) -> None:
    receiver.mode = "reset"
    slack = await added(trying, "slack", url=receiver.url)
    mail = await added(trying, "email")

    by_slack = await trying.ask("POST", f"/alert-destinations/{slack['id']}/test")
    by_mail = await trying.ask("POST", f"/alert-destinations/{mail['id']}/test")

    assert (by_slack.json()["ok"], by_slack.json()["status"]) == (False, None)
    assert "connection_reset" in by_slack.json()["detail"]
    assert (by_mail.json()["ok"], by_mail.json()["status"]) == (False, None)


async def test_test_alerts_of_a_project_are_limited(trying: Caller, receiver: Receiver) -> None:
    slack = await added(trying, "slack", url=receiver.url)
    path = f"/alert-destinations/{slack['id']}/test"

    answers = [await trying.ask("POST", path) for _ in range(8)]

    assert [answer.status_code for answer in answers] == [200] * 6 + [429] * 2
    assert 1 <= int(answers[-1].headers["retry-after"]) <= 60
    assert len(receiver.got) == 6


async def test_new_url_of_a_webhook_keeps_its_secret(trying: Caller, receiver: Receiver) -> None:
    webhook = await added(trying, "webhook", url="https://gone.example/")
    path = f"/alert-destinations/{webhook['id']}"

    await trying.ask("PATCH", path, json={"url": receiver.url})
    await trying.ask("POST", f"{path}/test")

    (got,) = receiver.got
    assert got.json["type"] == "alert.test"
    assert got.headers["webhook-signature"].startswith("v1,")


@pytest.mark.parametrize("scope", ["ingest", "read", "operate"])
async def test_every_call_needs_the_scope_admin(
    caller: Caller, database: Database, sealer: Sealer, project: CreatedProject, scope: Any
) -> None:
    slack = await added(caller, "slack")
    async with database.transaction() as session:
        _, key = await create_key(
            session,
            sealer,
            project_id=project.project.id,
            label="a tool",
            scopes=frozenset({scope}),
            now=await database.now(session),
        )
    one = f"/alert-destinations/{slack['id']}"
    calls = (
        ("GET", "/alert-destinations"),
        ("POST", "/alert-destinations"),
        ("PATCH", one),
        ("DELETE", one),
        ("POST", f"{one}/test"),
    )

    answers = [await caller.with_key(key).ask(method, path) for method, path in calls]

    assert {answer.status_code for answer in answers} == {403}


async def test_audit_log_names_fields_and_never_a_target(caller: Caller) -> None:
    webhook = await added(caller, "webhook")
    path = f"/alert-destinations/{webhook['id']}"
    await caller.ask("PATCH", path, json={"url": f"{URL}-2", "disabled": True})
    await caller.ask("POST", f"{path}/test")
    await caller.ask("DELETE", path)

    entries = (await caller.ask("GET", "/audit")).json()["data"]

    ours = [entry for entry in entries if entry["action"].startswith("destination_")]
    assert [(entry["action"], entry["details"]) for entry in ours] == [
        ("destination_removed", {"kind": "webhook"}),
        ("destination_tested", {"ok": False}),
        ("destination_changed", {"fields": ["disabled", "target"]}),
        ("destination_added", {"kind": "webhook", "shown": ["secret"]}),
    ]
    assert "very-secret" not in json.dumps(entries)
