"""Evidence over REST: the whole life of an event in one signed file, on both stores."""

import json
import random
from datetime import timedelta
from typing import Any

import pytest

from domain.projects import CreatedProject, Scope
from domain.sources.events import sightings_of
from domain.values.timestamps import to_iso
from operations.audit import AuditOperations
from operations.audit_writer import AuditWriter
from operations.responses.evidence import Evidence
from store.audit.log import AuditFilters
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.evidence.signatures import verify_evidence
from store.projects.api_keys import create_key
from store.receipts.deadlines import open_incident
from store.receipts.expected import expect_receipts
from store.sources.sightings import record_sightings
from tests.api.serving import Caller, receipt
from tests.support.given import START, expected_receipt
from tests.support.sources import provider_event, stored_source

Json = dict[str, Any]
ORDER = ("event", "sighting", "incident", "result", "repair", "alert", "audit", "timeline")
TEXTS = ("plain", "größer, €, \U0001f4b8", 'quotes " and \\ and \n', "\u2028\u202e")
# Bytes of a file that are changed one at a time; all of them would take minutes.
SAMPLE = 400


# What REST shows of the event that are entries of their own in the file.
BESIDE = {"repairs", "timeline", "sources"}


async def with_a_life(caller: Caller) -> str:
    """An event that failed, was acknowledged, repaired, failed again and was resolved by hand."""
    event_id = await caller.accept(internal_reference=TEXTS[1])
    for number, text in enumerate(TEXTS):
        failed = {"event_id": event_id, "status": "failed"}
        sent = {**failed, "error_code": f"e{number}", "error_message": text}
        assert (await caller.send("result", sent)).status_code == 202
    event = (await caller.ask("GET", f"/events/{event_id}")).json()
    incident = f"/incidents/{event['incident']['id']}"
    await caller.ask("POST", f"{incident}/acknowledge")
    await caller.ask("POST", f"{incident}/reprocess", json={})
    done = await caller.ask("POST", f"{incident}/resolve", json={"reason": "refunded"})
    assert done.status_code == 200, done.text
    return event_id


async def evidence_of(caller: Caller, event_id: str) -> bytes:
    answer = await caller.ask("GET", f"/events/{event_id}/evidence")
    assert answer.status_code == 200, answer.text
    return answer.content


def contents(file: bytes, kind: str) -> list[Json]:
    return [one["content"] for one in json.loads(file)["entries"] if one["kind"] == kind]


async def public_key(caller: Caller) -> str:
    (key,) = (await caller.ask("GET", "/evidence-keys")).json()["data"]
    return str(key["public_key"])


async def test_file_holds_the_whole_life_as_rest_shows_it(caller: Caller) -> None:
    event_id = await with_a_life(caller)
    event = (await caller.ask("GET", f"/events/{event_id}")).json()
    audit = (await caller.ask("GET", "/audit")).json()["data"]

    file = await evidence_of(caller, event_id)

    document = json.loads(file)
    kinds = [entry["kind"] for entry in document["entries"]]
    assert kinds == sorted(kinds, key=ORDER.index)
    (own,) = contents(file, "event")
    shared = {name: value for name, value in event.items() if name not in BESIDE}
    assert {name: own[name] for name in shared} == shared
    assert own["project_id"] == document["project_id"]
    assert contents(file, "incident") == [event["incident"]]
    assert [one["error_message"] for one in contents(file, "result")] == [*TEXTS]
    assert contents(file, "repair") == event["repairs"]
    assert contents(file, "timeline") == event["timeline"]
    assert contents(file, "sighting") == event["sources"] == []
    subjects = {event_id, event["incident"]["id"]}
    about = [entry for entry in reversed(audit) if entry["subject_id"] in subjects]
    assert contents(file, "audit") == about
    assert [entry["action"] for entry in about] == [
        *("incident_acknowledged", "reprocess_requested", "incident_resolved")
    ]


async def test_file_verifies_with_the_public_key_that_rest_lists(caller: Caller) -> None:
    event_id = await with_a_life(caller)

    file = await evidence_of(caller, event_id)

    verdict = verify_evidence(file, public_keys=[await public_key(caller)])
    assert (verdict.problem, verdict.is_signer_known) == (None, True)
    assert verdict.evidence is not None
    assert verdict.evidence.event_id == event_id
    Evidence.model_validate_json(file)


async def test_any_changed_byte_of_a_real_file_is_found(caller: Caller) -> None:
    """A sample of all bytes; of a small file, `tests/store/evidence` changes each."""
    file = await evidence_of(caller, await with_a_life(caller))
    draw = random.Random(20261123)

    missed = []
    for position in draw.sample(range(len(file)), SAMPLE):
        changed = bytearray(file)
        changed[position] ^= 1 << draw.randrange(8)
        if verify_evidence(bytes(changed), public_keys=()).problem is None:
            missed.append(position)

    assert missed == []


async def test_alerts_are_in_it_with_what_became_of_them(
    caller: Caller,
) -> None:
    changed = await caller.ask("PATCH", "/project", json={"alert_emails": ["ada@shop.example"]})
    assert changed.status_code == 200

    file = await evidence_of(caller, await with_a_life(caller))

    (opened, *_) = contents(file, "alert")
    assert (opened["kind"], opened["channel"], opened["destination"]) == (
        *("incident_opened", "email"),
        "ada@shop.example",
    )
    assert (opened["sent_at"], opened["ended_at"], opened["about"]) == (None, None, None)


async def test_file_holds_the_source_and_what_is_at_risk(
    caller: Caller, database: Database, project: CreatedProject
) -> None:
    event = expected_receipt(project.project.id, provider_event_id="evt_1")
    async with database.transaction() as session:
        st, now = SessionStatements(session), await database.now(session)
        (event_id,) = await expect_receipts(st, [event], now)
        await open_incident(st, event_id, now + timedelta(minutes=15))
    before = await evidence_of(caller, event_id)
    risk = {"amount": 10**15, "currency": "EUR", "customer_reference": TEXTS[2]}

    sent = await caller.send("receipt", receipt(provider_event_id="evt_1", **risk))

    assert sent.json()["event_id"] == event_id
    after = await evidence_of(caller, event_id)
    for file in (before, after):
        (own,) = contents(file, "event")
        assert own["source_id"] == event.source_id
        assert own["expected_at"] == to_iso(now)
        assert contents(file, "incident")[0]["reason"] == "missing_receipt"
    for kind in ("event", "incident"):
        assert {name: contents(before, kind)[0][name] for name in risk} == dict.fromkeys(risk)
        assert {name: contents(after, kind)[0][name] for name in risk} == risk
    assert [contents(file, "event")[0]["accepted_at"] is None for file in (before, after)] == [
        *(True, False)
    ]
    assert verify_evidence(after, public_keys=[await public_key(caller)]).problem is None


async def test_file_holds_the_result_that_was_held_for_the_receipt(caller: Caller) -> None:
    await caller.ask("PATCH", "/project", json={"early_results": "hold"})
    early = {"provider_event_id": "evt_1", "status": "success", "already_applied": True}
    for _ in range(2):
        await caller.send("result", early)
    await caller.send("result", {**early, "provider_event_id": "evt_2"})
    (_, held) = (await caller.ask("GET", "/early-results")).json()["data"]

    file = await evidence_of(caller, await caller.accept(provider_event_id="evt_1"))

    (result,) = contents(file, "result")
    stated = (result["status"], result["already_applied"], result["repeats"])
    assert stated == ("success", True, 1)
    (noted,) = [one for one in contents(file, "timeline") if one["kind"] == "noted"]
    assert (held["provider_event_id"], noted["held_since"]) == ("evt_1", held["received_at"])
    assert "evt_2" not in file.decode()


async def test_later_file_of_an_ended_event_has_the_same_entries(caller: Caller) -> None:
    event_id = await with_a_life(caller)

    first, second = [json.loads(await evidence_of(caller, event_id)) for _ in range(2)]

    assert (first["entries"], first["head"]) == (second["entries"], second["head"])
    assert {name for name in first if first[name] != second[name]} <= {"made_at", "signature"}


async def test_later_file_keeps_earlier_entries_of_each_kind_in_their_order(
    caller: Caller,
) -> None:
    event_id = await caller.accept()
    await caller.incident_of(event_id)
    before = await evidence_of(caller, event_id)
    await caller.send("result", {"event_id": event_id, "status": "failed", "error_code": "another"})

    after = await evidence_of(caller, event_id)

    for kind in ("result", "timeline"):
        earlier = contents(before, kind)
        assert contents(after, kind)[: len(earlier)] == earlier
        assert len(contents(after, kind)) > len(earlier)


async def test_first_file_creates_the_key_which_is_audited_once(
    caller: Caller, database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    event_id = await caller.accept()
    assert (await caller.ask("GET", "/evidence-keys")).json() == {"data": []}

    for _ in range(2):
        await evidence_of(caller, event_id)

    (key,) = (await caller.ask("GET", "/evidence-keys")).json()["data"]
    audit = AuditOperations(database, AuditWriter(database, sealer), sealer=sealer)
    page = await audit.list_audit(AuditFilters(project_id=None, action="evidence_key_created"))
    (entry,) = page.rows
    assert (entry.actor, entry.subject_type) == (project.key.id, "store")
    assert json.loads(entry.details) == {"key_id": key["id"], "replaces": None}


async def test_only_admins_get_the_file_because_it_holds_audit_entries(
    caller: Caller, database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    event_id = await caller.accept()
    async with database.transaction() as session:
        made = await create_key(
            session,
            sealer,
            project_id=project.project.id,
            label="all but admin",
            scopes=frozenset(Scope) - {Scope.ADMIN},
            now=await database.now(session),
        )
    reader = caller.with_key(made[1])

    refused = await reader.ask("GET", f"/events/{event_id}/evidence")

    assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    assert (await reader.ask("GET", "/evidence-keys")).status_code == 200


async def test_file_is_named_and_sent_as_json(caller: Caller) -> None:
    event_id = await caller.accept()

    answer = await caller.ask("GET", f"/events/{event_id}/evidence")

    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-disposition"] == (
        f'attachment; filename="makegood-evidence-{event_id}.json"'
    )


@pytest.mark.parametrize("event_id", ["evt_none", "no id at all"])
async def test_unknown_event_creates_no_key(caller: Caller, event_id: str) -> None:
    answer = await caller.ask("GET", f"/events/{event_id}/evidence")

    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert (await caller.ask("GET", "/evidence-keys")).json() == {"data": []}


async def test_file_names_the_sources_that_saw_the_event(
    caller: Caller, database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    event_id = await caller.accept()
    event = (await caller.ask("GET", f"/events/{event_id}")).json()
    source = await stored_source(database, sealer, project.project.id)
    seen = provider_event(id=event["provider_event_id"])
    async with database.transaction() as session:
        st = SessionStatements(session)
        await record_sightings(st, source, sightings_of(source, [seen]), START)

    event = (await caller.ask("GET", f"/events/{event_id}")).json()

    assert [one["source_id"] for one in event["sources"]] == [source.id]
    assert contents(await evidence_of(caller, event_id), "sighting") == event["sources"]
