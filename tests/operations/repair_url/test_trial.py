"""The test call of a repair URL, to a real endpoint, as the client library of an app takes it."""

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from sqlalchemy import select

from activities.callback.transport import OutgoingRequest, exchange
from api.rest.callback_schema import SIGNATURE_HEADERS, RepairRequest
from domain.audit import Actor
from domain.errors import RateLimited, RepairUrlMissing
from domain.projects import CreatedProject, ProjectChanges
from domain.retries import ErrorClass, ExchangeOutcome
from operations.audit_writer import AuditWriter
from operations.repair_url.trial import RepairTrialOperations, TrialRequest, trial_detail
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.projects import change_project
from store.projects.signing_secrets import rotate_signing_secret
from store.schema import tables
from tests.activities.alerts.http.receiver import LOOPBACK, Receiver, receiving
from tests.sdks.python_client import client

NADIA = Actor("usr_nadia")


@pytest.fixture
async def endpoint() -> AsyncIterator[Receiver]:
    async with receiving() as receiver:
        receiver.statuses, receiver.content = [202], b'{"accepted": true}'
        yield receiver


async def call(request: TrialRequest) -> ExchangeOutcome:
    sent = OutgoingRequest(request.url, request.headers, request.body, request.livemode)
    return await exchange(sent, allow=(), allow_test=LOOPBACK, timeout_seconds=2)


@pytest.fixture
async def trials(
    database: Database, sealer: Sealer, project: CreatedProject, endpoint: Receiver
) -> RepairTrialOperations:
    await save_url(database, project, f"{endpoint.url}/makegood/repair")
    return RepairTrialOperations(database, AuditWriter(database, sealer), sealer=sealer, call=call)


async def save_url(database: Database, project: CreatedProject, url: str | None) -> None:
    async with database.transaction() as session:
        await change_project(session, project.project.id, changes=ProjectChanges(repair_url=url))


async def rows(database: Database) -> dict[str, list[Any]]:
    async with database.reading() as session:
        return {
            table.name: list(await session.execute(select(table)))
            for table in tables.Project.metadata.sorted_tables
        }


async def test_call_is_signed_marked_and_answered_by_the_endpoint(
    trials: RepairTrialOperations, project: CreatedProject, endpoint: Receiver
) -> None:
    tried = await trials.test_repair_url(project.project.id, actor=NADIA)

    (got,) = endpoint.got
    seen: set[str] = set()
    verifier = client.CallbackVerifier(
        secrets=project.signing_secret,
        seen_nonce=lambda nonce: nonce in seen or bool(seen.add(nonce)),
    )
    callback = verifier.verify(got.headers, got.body)
    assert got.path == "/makegood/repair"
    assert (callback["type"], callback["test"]) == ("repair.requested", True)
    assert got.headers["x-sendpromptly-test"] == "true"
    assert got.headers["webhook-id"] == callback["replay_id"] == tried.replay_id
    assert callback["effect_key"] == "stripe:evt_makegood_test:access_unlock"
    assert (tried.ok, tried.status, tried.error_class) == (True, 202, None)
    assert (tried.body, tried.answer_excerpt) == (got.body.decode(), '{"accepted": true}')
    assert tried.detail == "The endpoint accepted the call."
    assert tried.duration_ms >= 0


async def test_body_and_headers_are_those_of_the_document(
    trials: RepairTrialOperations, project: CreatedProject, endpoint: Receiver
) -> None:
    await trials.test_repair_url(project.project.id, actor=NADIA)

    (got,) = endpoint.got
    assert set(json.loads(got.body)) == set(RepairRequest.model_fields)
    assert RepairRequest.model_validate_json(got.body).test
    always = {name.lower() for name, _, is_always in SIGNATURE_HEADERS if is_always}
    assert always <= set(got.headers)


async def test_both_secrets_sign_during_a_rotation(
    trials: RepairTrialOperations,
    project: CreatedProject,
    endpoint: Receiver,
    database: Database,
    sealer: Sealer,
) -> None:
    async with database.transaction() as session:
        now = await database.now(session)
        new = await rotate_signing_secret(session, sealer, project_id=project.project.id, now=now)

    await trials.test_repair_url(project.project.id, actor=NADIA)

    (got,) = endpoint.got
    for secret in (project.signing_secret, new):
        verifier = client.CallbackVerifier(secrets=secret, seen_nonce=lambda _: False)
        assert verifier.verify(got.headers, got.body)["test"] is True


async def test_only_the_audit_log_changes(
    trials: RepairTrialOperations, project: CreatedProject, endpoint: Receiver, database: Database
) -> None:
    endpoint.statuses = [410]
    before = await rows(database)

    tried = await trials.test_repair_url(project.project.id, actor=NADIA)

    after = await rows(database)
    assert {name for name in before if before[name] != after[name]} == {"audit_log", "audit_head"}
    entry = after["audit_log"][-1]
    assert (entry.action, entry.actor, entry.project_id) == (
        "repair_url_tested",
        NADIA.id,
        project.project.id,
    )
    assert json.loads(entry.details) == {"ok": False, "status": 410}
    assert (tried.ok, tried.detail) == (
        False,
        "The endpoint says that it is gone. A repair would end here.",
    )


async def test_hanging_endpoint_and_refused_address_are_outcomes(
    trials: RepairTrialOperations, project: CreatedProject, endpoint: Receiver, database: Database
) -> None:
    endpoint.mode = "hang"
    hung = await trials.test_repair_url(project.project.id, actor=NADIA)
    await save_url(database, project, "http://10.0.0.1/repair")
    guarded = await trials.test_repair_url(project.project.id, actor=NADIA)

    assert (hung.ok, hung.status, hung.error_class) == (False, None, ErrorClass.TIMEOUT)
    assert (guarded.ok, guarded.error_class) == (False, ErrorClass.NO_PERMITTED_ADDRESS)
    assert "10.0.0.1" not in guarded.detail


async def test_project_without_a_repair_url_is_refused(
    trials: RepairTrialOperations, project: CreatedProject, database: Database
) -> None:
    await save_url(database, project, None)

    with pytest.raises(RepairUrlMissing, match="Save one"):
        await trials.test_repair_url(project.project.id, actor=NADIA)


async def test_seventh_call_of_a_minute_is_refused(
    trials: RepairTrialOperations, project: CreatedProject, endpoint: Receiver
) -> None:
    for _ in range(6):
        await trials.test_repair_url(project.project.id, actor=NADIA)

    with pytest.raises(RateLimited, match="6 test calls a minute"):
        await trials.test_repair_url(project.project.id, actor=NADIA)

    assert len(endpoint.got) == 6


async def test_unreadable_secret_is_said_and_nothing_is_sent(
    database: Database, sealer: Sealer, project: CreatedProject, endpoint: Receiver
) -> None:
    await save_url(database, project, f"{endpoint.url}/repair")
    other = Sealer("another root secret, also long enough")
    trials = RepairTrialOperations(database, AuditWriter(database, sealer), sealer=other, call=call)

    tried = await trials.test_repair_url(project.project.id, actor=NADIA)

    assert (tried.ok, endpoint.got) == (False, [])
    assert "cannot be decrypted" in tried.detail


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (200, "accepted the call"),
        (301, "no redirect is followed"),
        (401, "did not accept the signature"),
        (403, "did not accept the signature"),
        (404, "There is no endpoint for POST"),
        (408, "would be retried"),
        (410, "says that it is gone"),
        (422, "A repair would end here"),
        (429, "would be retried"),
        (500, "would be retried"),
        (None, "no answer that counts: timed out"),
    ],
)
def test_detail_says_what_the_outcome_means(status: int | None, said: str) -> None:
    outcome = ExchangeOutcome(status, None if status else ErrorClass.TIMEOUT, 12)

    assert said in trial_detail(outcome)
