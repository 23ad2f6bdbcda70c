"""REST of sources: added, read, changed, checked, reported, removed; and named on their events."""

import json
from typing import Any

import pytest

from domain.projects import CreatedProject
from domain.sources.events import sightings_of
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.projects.api_keys import create_key
from store.sources.sightings import record_sightings
from store.sources.sources import read_secret, read_source
from tests.api.serving import Caller, Json, receipt
from tests.support.sources import provider_event

SECRET = "whsec_a-secret-that-is-never-shown"
FIELDS = [
    *("id", "kind", "name", "state", "expects", "every_minutes", "silent_after_minutes"),
    *("shop_domain", "account", "identity", "hook_path", "created_at", "paused_at"),
    *("last_event_at", "last_listed_at", "listed_until", "silent_since"),
    *("problem", "problem_detail", "problem_since", "schedule_pending", "schedule_retry_at"),
]
UNKNOWN = "src_019ab01c2d3e7f4a8b5c6d7e8f901234"


def new_source(**changes: Any) -> Json:
    content: Json = {
        "kind": "stripe_webhook",
        "name": "Payments",
        "signing_secret": SECRET,
        "expects": [{"event_type": "invoice.paid", "effect_type": "access_unlock"}],
    }
    return {**content, **changes}


async def added(caller: Caller, **changes: Any) -> Json:
    answer = await caller.ask("POST", "/sources", json=new_source(**changes))
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


async def test_source_is_added_listed_and_read(caller: Caller) -> None:
    source = await added(caller, silent_after_minutes=60)

    listed = (await caller.ask("GET", "/sources")).json()
    read = (await caller.ask("GET", f"/sources/{source['id']}")).json()

    assert list(source) == FIELDS
    assert source["expects"] == [
        {
            "event_type": "invoice.paid",
            "effect_type": "access_unlock",
            "within_minutes": 15,
            "reference": None,
            "livemode": False,
            "since": source["created_at"],
        }
    ]
    assert (source["state"], source["hook_path"]) == ("new", f"/hooks/{source['id']}")
    assert listed == {"data": [source], "has_more": False, "next_cursor": None}
    assert read == source | {"gaps": []}


async def test_no_answer_log_or_error_has_the_secret(
    caller: Caller, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    source = await added(caller)
    path = f"/sources/{source['id']}"
    answers = [
        await caller.ask("GET", "/sources"),
        await caller.ask("GET", path),
        await caller.ask("PATCH", path, json={"signing_secret": f"{SECRET}-next"}),
        await caller.ask("PATCH", path, json={"signing_secret": f"{SECRET} with blanks"}),
        await caller.ask("POST", "/sources", json=new_source(kind="stripe_api", api_key=SECRET)),
        await caller.ask("POST", f"{path}/check"),
        await caller.ask("GET", f"{path}/report"),
        await caller.ask("GET", "/audit"),
        await caller.ask("DELETE", path),
    ]

    texts = [json.dumps(source), caplog.text, *capfd.readouterr()]
    texts += [answer.text for answer in answers]
    assert [answer.status_code for answer in answers] == [200, 200, 200, 422, 422, *[200] * 4]
    assert [text for text in texts if SECRET in text] == []


async def test_source_is_changed_paused_and_resumed(caller: Caller) -> None:
    source = await added(caller)
    path = f"/sources/{source['id']}"

    changed = (await caller.ask("PATCH", path, json={"name": "Neu", "paused": True})).json()
    resumed = (await caller.ask("PATCH", path, json={"paused": False})).json()

    assert changed["paused_at"] is not None
    assert changed == source | {
        "name": "Neu",
        "state": "paused",
        "paused_at": changed["paused_at"],
        "warnings": [],
    }
    assert resumed == source | {"name": "Neu", "warnings": []}


async def test_changed_secret_is_stored(
    caller: Caller, database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    source = await added(caller)

    await caller.ask("PATCH", f"/sources/{source['id']}", json={"signing_secret": "whsec_next-one"})

    async with database.reading() as session:
        stored = await read_source(session, project.project.id, source["id"])
        assert await read_secret(session, sealer, stored) == "whsec_next-one"


async def test_types_that_the_project_added_are_expected(caller: Caller) -> None:
    one = {"event_type": "v1.billing.meter.error", "effect_type": "meter_repair"}
    before = await caller.ask("POST", "/sources", json=new_source(expects=[one]))
    await caller.ask(
        "PATCH",
        "/project",
        json={"event_types": [one["event_type"]], "effect_types": [one["effect_type"]]},
    )

    source = await added(caller, expects=[one])

    assert [(error["pointer"], error["code"]) for error in before.json()["errors"]] == [
        ("/expects/0/event_type", "unknown_value"),
        ("/expects/0/effect_type", "unknown_value"),
    ]
    assert [one.items() <= expected.items() for expected in source["expects"]] == [True]


async def test_bad_fields_are_named(caller: Caller) -> None:
    unknown = {"event_type": "x", "effect_type": "y"}
    answer = await caller.ask(
        "POST", "/sources", json=new_source(every_minutes=5, expects=[unknown])
    )
    missing = await caller.ask("POST", "/sources", json=new_source(expects=[{"event_type": "x"}]))
    headers = {"Content-Type": "application/json"}
    unreadable = await caller.ask("POST", "/sources", content=b'{"kind": "str', headers=headers)

    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [
        "/expects/0/event_type",
        "/expects/0/effect_type",
        "/every_minutes",
    ]
    assert [(error["pointer"], error["code"]) for error in missing.json()["errors"]] == [
        ("/expects/0/effect_type", "required")
    ]
    assert unreadable.status_code == 422
    assert (await caller.ask("GET", "/sources")).json()["data"] == []


async def test_removed_source_is_gone(caller: Caller) -> None:
    source = await added(caller)
    path = f"/sources/{source['id']}"

    removed = await caller.ask("DELETE", path)

    assert (removed.status_code, removed.json()) == (200, {"id": source["id"], "removed": True})
    assert (await caller.ask("GET", "/sources")).json()["data"] == []
    for method, where in (
        ("GET", path),
        ("PATCH", path),
        ("DELETE", path),
        ("POST", f"{path}/check"),
        ("GET", f"{path}/report"),
    ):
        options = {"json": {"name": "x"}} if method == "PATCH" else {}
        answer = await caller.ask(method, where, **options)
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found"), (method, where)


@pytest.mark.parametrize("scope", ["ingest", "read", "operate"])
async def test_only_admins_use_sources(
    caller: Caller, database: Database, sealer: Sealer, project: CreatedProject, scope: Any
) -> None:
    async with database.transaction() as session:
        _, api_key = await create_key(
            session,
            sealer,
            project_id=project.project.id,
            label="other",
            scopes=frozenset({scope}),
            now=await database.now(session),
        )
    source = await added(caller)
    path, other = f"/sources/{source['id']}", caller.with_key(api_key)

    answers = [
        await other.ask("GET", "/sources"),
        await other.ask("POST", "/sources", json=new_source()),
        await other.ask("GET", path),
        await other.ask("PATCH", path, json={"name": "x"}),
        await other.ask("DELETE", path),
        await other.ask("POST", f"{path}/check"),
        await other.ask("GET", f"{path}/report"),
    ]

    assert [answer.status_code for answer in answers] == [403] * 7
    assert (await caller.ask("GET", "/sources")).json()["data"] == [source]


async def test_report_of_a_day_and_the_event_name_what_the_source_saw(
    caller: Caller, database: Database, project: CreatedProject
) -> None:
    made = await added(caller)
    async with database.transaction() as session:
        source = await read_source(session, project.project.id, made["id"])
        now = await database.now(session)
        events = [provider_event(occurred_at=now), provider_event(occurred_at=now)]
        st = SessionStatements(session)
        await record_sightings(st, source, sightings_of(source, events), now)
    event_id = await caller.accept(
        provider_event_id=events[0].id, event_type="invoice.paid", occurred_at="2026-11-23T11:13Z"
    )

    report = (await caller.ask("GET", f"/sources/{made['id']}/report")).json()
    event = (await caller.ask("GET", f"/events/{event_id}")).json()
    unseen = (await caller.ask("GET", f"/events/{await caller.accept()}")).json()

    assert {name: report[name] for name in ("events", "receipts", "awaited_receipts")} == {
        "events": 2,
        "receipts": 1,
        "awaited_receipts": 1,
    }
    sums = {"events": 9_800, "missing_receipts": 0, "missing_results": 0}
    assert report["amounts"] == [{"currency": "USD", **sums}]
    (seen,) = event["sources"]
    assert list(seen) == ["source_id", "name", "kind", "occurred_at", "seen_at"]
    assert (seen["source_id"], seen["name"], seen["kind"]) == (
        made["id"],
        "Payments",
        "stripe_webhook",
    )
    assert unseen["sources"] == []


@pytest.mark.parametrize(
    ("day", "code"),
    [
        ("", "too_short"),
        ("yesterday", "invalid_format"),
        ("2026-02-30", "invalid_format"),
        ("20261123", "invalid_format"),
        ("٢٠٢٦-١١-٢٣", "invalid_format"),
        ("0001-01-01", "out_of_range"),
        ("9999-12-31", "out_of_range"),
        ("x" * 300, "too_long"),
    ],
)
async def test_bad_day_is_refused(caller: Caller, day: str, code: str) -> None:
    source = await added(caller)

    answer = await caller.ask("GET", f"/sources/{source['id']}/report", params={"day": day})

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["pointer"], error["code"]) == ("/day", code)


@pytest.mark.parametrize("source_id", [UNKNOWN, "x", "%00", "😀", "x" * 300])
async def test_unknown_source_of_any_shape_is_not_found(caller: Caller, source_id: str) -> None:
    answer = await caller.ask("GET", f"/sources/{source_id}")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


OWN = {"event_type": "v1.billing.meter.error", "effect_type": "meter_repair"}


async def expected(
    caller: Caller, database: Database, project: CreatedProject, made: Json, event_type: str
) -> tuple[str, str]:
    """An event that the source saw: its id at the provider, and that of its receipt."""
    async with database.transaction() as session:
        source = await read_source(session, project.project.id, made["id"])
        now = await database.now(session)
        event = provider_event(type=event_type, occurred_at=now)
        await record_sightings(
            SessionStatements(session), source, sightings_of(source, [event]), now
        )
    (listed,) = (await caller.ask("GET", "/events")).json()["data"]
    return event.id, listed["event_id"]


async def test_removed_expectation_says_that_expected_receipts_stay(
    caller: Caller, database: Database, project: CreatedProject
) -> None:
    made = await added(caller)
    seen, event_id = await expected(caller, database, project, made, "invoice.paid")
    other = {"event_type": "charge.refunded", "effect_type": "access_revocation"}

    changed = await caller.ask("PATCH", f"/sources/{made['id']}", json={"expects": [other]})

    state = (await caller.ask("GET", f"/events/{event_id}")).json()["state"]
    accepted = await caller.accept(provider_event_id=seen, event_type="invoice.paid")
    (warning,) = changed.json()["warnings"]
    assert warning == (
        "No longer expected: invoice.paid for access_unlock. New events of it make nothing."
        " Receipts that are expected already stay: each waits for the app's receipt, and opens an"
        " incident, missing_receipt, if none comes in time."
    )
    assert (state, accepted) == ("expected", event_id)


async def test_type_that_a_source_still_expects_is_named_when_its_project_removes_it(
    caller: Caller, database: Database, project: CreatedProject
) -> None:
    names = {"event_types": [OWN["event_type"]], "effect_types": [OWN["effect_type"]]}
    await caller.ask("PATCH", "/project", json=names)
    made = await added(caller, expects=[OWN])
    seen, event_id = await expected(caller, database, project, made, OWN["event_type"])

    changed = await caller.ask("PATCH", "/project", json={"event_types": []})

    state = (await caller.ask("GET", f"/events/{event_id}")).json()["state"]
    refused = await caller.send("receipt", receipt(provider_event_id=seen, **OWN))
    (warning,) = changed.json()["warnings"]
    assert warning.startswith(
        "Still expected, but not accepted by the project: v1.billing.meter.error (by Payments)."
        " The app's receipts with it are refused"
    )
    # As the warning says: an incident is all that can come of it.
    assert (state, refused.status_code) == ("expected", 422)
    again = await caller.ask("PATCH", f"/sources/{made['id']}", json={"name": "Neu"})
    assert len(again.json()["warnings"]) == 1
