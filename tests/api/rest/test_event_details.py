"""REST shows what a repair sent and was answered, gives the payload, and stops a repair."""

import json

import httpx
import pytest

from domain.audit import AuditAction
from domain.ids import EventId, ReplayId
from domain.projects import CreatedProject
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.attempts import (
    AttemptBegun,
    begin_attempt,
    keep_body,
    keep_headers,
    record_attempt,
)
from tests.api.serving import Caller

HEADERS = [["Content-Type", "application/json"], ["X-SendPromptly-Attempt", "1"]]


@pytest.fixture
async def repairing(caller: Caller) -> tuple[str, str, str]:
    """An event, its incident and its repair."""
    await caller.ask("PATCH", "/project", json={"snapshots": True})
    event_id = await caller.accept(payload={"card": "4242"})
    incident_id = await caller.incident_of(event_id)
    answer = await caller.ask("POST", f"/incidents/{incident_id}/reprocess")
    return event_id, incident_id, answer.json()["replay_id"]


async def test_callback_has_body_headers_and_answer_of_each_attempt(
    caller: Caller, database: Database, repairing: tuple[str, str, str]
) -> None:
    event_id, _, replay_id = repairing
    path = f"/events/{event_id}/repairs/{replay_id}"
    before = (await caller.ask("GET", path)).json()
    async with database.transaction() as session:
        st, now = SessionStatements(session), await database.now(session)
        event, replay = EventId(event_id), ReplayId(replay_id)
        begun = await begin_attempt(st, event, replay, now)
        assert isinstance(begun, AttemptBegun)
        await keep_body(st, replay, '{"é":1}'.encode())
        await keep_headers(st, replay, 1, [(name, value) for name, value in HEADERS])
        outcome = {"status": 503, "duration_ms": 3, "error_class": None, "ending": None}
        await record_attempt(
            st,
            event,
            replay,
            1,
            now,
            **outcome,
            answer_excerpt="busy",
            next_attempt_at=now,  # type: ignore[arg-type]  # of the table
        )

    found = (await caller.ask("GET", path)).json()

    assert (before["body"], before["attempts"]) == (None, [])
    assert (found["body"], found["replay_id"]) == ('{"é":1}', replay_id)
    (attempt,) = found["attempts"]
    assert (attempt["headers"], attempt["answer_excerpt"]) == (HEADERS, "busy")
    assert attempt["next_attempt_at"] == attempt["at"]
    event_json = (await caller.ask("GET", f"/events/{event_id}")).json()
    assert event_json["repairs"][0]["attempts"][0]["answer_excerpt"] == "busy"
    assert "headers" not in event_json["repairs"][0]["attempts"][0]
    unknown = await caller.ask("GET", f"/events/{event_id}/repairs/rpl_none")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not_found")


async def test_payload_is_read_by_admins_alone_and_each_reading_is_recorded(
    caller: Caller, project: CreatedProject, repairing: tuple[str, str, str]
) -> None:
    event_id = repairing[0]
    without = await caller.accept()

    answer = await caller.ask("GET", f"/events/{event_id}/payload")
    missing = await caller.ask("GET", f"/events/{without}/payload")

    assert answer.json()["payload"] == {"card": "4242"}
    assert missing.status_code == 404
    log = (await caller.ask("GET", "/audit")).json()["data"]
    read = [entry for entry in log if entry["action"] == AuditAction.PAYLOAD_READ]
    assert [(entry["subject_id"], entry["actor"]) for entry in read] == [(event_id, project.key.id)]
    assert "4242" not in json.dumps(log)


async def test_stopped_repair_leaves_its_incident_open(
    caller: Caller, repairing: tuple[str, str, str]
) -> None:
    event_id, incident_id, _ = repairing

    stopped = await caller.ask("POST", f"/incidents/{incident_id}/stop-repair")
    again = await caller.ask("POST", f"/incidents/{incident_id}/stop-repair")

    assert [_state(stopped), _state(again)] == [("open", None), ("open", None)]
    (repair,) = (await caller.ask("GET", f"/events/{event_id}")).json()["repairs"]
    assert (repair["state"], repair["cause"]) == ("failed", "stopped")
    log = (await caller.ask("GET", "/audit")).json()["data"]
    recorded = [one["subject_id"] for one in log if one["action"] == AuditAction.REPAIR_STOPPED]
    assert recorded == [incident_id] * 2
    await caller.ask("POST", f"/incidents/{incident_id}/resolve", json={"reason": "done"})
    ended = await caller.ask("POST", f"/incidents/{incident_id}/stop-repair")
    assert (ended.status_code, ended.json()["code"]) == (409, "incident_resolved")


async def test_result_shows_the_request_that_reported_it(caller: Caller) -> None:
    event_id = await caller.accept()

    reported = await caller.send("result", {"event_id": event_id, "status": "success"})

    event = (await caller.ask("GET", f"/events/{event_id}")).json()
    (result,) = [one for one in event["timeline"] if one["kind"] == "result_received"]
    assert result["request_id"] == reported.headers["request-id"]


def _state(answer: httpx.Response) -> tuple[str, str | None]:
    incident = answer.json()
    return incident["state"], incident["active_replay_id"]
