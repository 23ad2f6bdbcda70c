"""Every action through REST and operations has an audit entry, which only the project's admins can
read. If the entry cannot be written, the action fails.
"""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError

from domain import projects
from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.ids import ProjectId
from domain.projects import CreatedProject
from operations.composition import Operations
from operations.credentials.api_keys import CreatedKey
from operations.credentials.signing_secrets import CreatedSigningSecret
from operations.projects import DeletedProject
from operations.responses import projects as responses
from operations.responses.audit import AuditList, json_lines
from store.audit.log import AuditFilters, record
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.api.conftest import Unwritable
from tests.api.serving import Caller, judge_shape
from tests.support.given import Story

NADIA = Actor("usr_nadia", address="192.0.2.7", request_id="req_1")
Json = dict[str, Any]
Act = Callable[[Operations, str], Awaitable[object]]  # on the project with this id

# Each action, the subject of its entry (None: the project), and its details (…: an id).
ACTS: dict[str, tuple[Act, str, Json]] = {
    "project_created": (
        lambda o, _: o.projects.create_project(
            name="new", mode="test", alert_emails=["a@b.example"], actor=NADIA
        ),
        "project",
        {
            "mode": "test",
            "key_id": ...,
            "scopes": ["ingest"],
            "shown": ["api_key", "signing_secret"],
        },
    ),
    "project_changed": (
        lambda o, p: o.projects.change_project(
            p,
            {"name": "shop", "timeout_minutes": 7, "alert_emails": ["nadia@secret.example"]},
            actor=NADIA,
        ),
        "project",
        {"fields": ["timeout_minutes", "alert_emails"]},
    ),
    "project_suspended": (
        lambda o, p: o.projects.set_suspended(p, suspended=True, actor=NADIA),
        "project",
        {},
    ),
    "project_resumed": (
        lambda o, p: o.projects.set_suspended(p, suspended=False, actor=NADIA),
        "project",
        {},
    ),
    "key_created": (
        lambda o, p: o.api_keys.create_key(
            p, label="Nadia's secret laptop", scopes=["read", "admin"], actor=NADIA
        ),
        "key",
        {"scopes": ["admin", "read"], "expires_at": None, "shown": ["api_key"]},
    ),
    "signing_secret_rotated": (
        lambda o, p: o.signing_secrets.rotate_signing_secret(p, actor=NADIA),
        "project",
        {"shown": ["signing_secret"]},
    ),
    "project_deleted": (
        lambda o, p: o.projects.delete_project(p, confirmation="shop", end_open=True, actor=NADIA),
        "project",
        {"receipts_ended": 0},
    ),
}


@pytest.fixture
def operations(database: Database, sealer: Sealer) -> Operations:
    return Operations.build(database=database, sealer=sealer, judge_repair_url=judge_shape)


@pytest.fixture
def story(database: Database, project: CreatedProject) -> Story:
    return Story(database, project.project)


async def rows_of(database: Database) -> list[list[Any]]:
    """The stored rows that actions change."""
    names = (
        "projects",
        "api_keys",
        "signing_secrets",
        "incidents",
        "repairs",
        "timeline",
        "outbox",
        "audit_log",
    )
    async with database.reading() as session:
        return [
            sorted((await session.execute(text(f"SELECT * FROM {name}"))).all(), key=repr)
            for name in names
        ]


async def entries(operations: Operations, project_id: str | None = None) -> list[Json]:
    """The whole log, oldest first."""
    filters = AuditFilters(project_id=None if project_id is None else ProjectId(project_id))
    page = await operations.audit.list_audit(filters, limit=100)
    return list(reversed(AuditList.of(page).to_json()["data"]))


async def exported(operations: Operations, filters: AuditFilters) -> bytes:
    chunks = await operations.audit.export_audit(filters, actor=NADIA)
    return b"".join([json_lines(entries, with_chain=True) async for entries in chunks])


def shown(value: object) -> Json:
    """What the operation returned, as the command line prints it."""
    match value:
        case projects.CreatedProject():
            return responses.CreatedProject.of(value).to_json()
        case projects.Project():
            return responses.Project.of(value).to_json()
        case CreatedKey():
            return responses.KeyWithText.of(value).to_json()
        case CreatedSigningSecret():
            return responses.SigningSecret.of(value).to_json()
        case DeletedProject():
            return responses.Deletion.of(value).to_json()
    raise AssertionError(f"no response model for {value!r}")


def ids_hidden(details: Json) -> Json:
    """The details, with an ellipsis in place of ids."""
    return {
        name: ... if name.endswith("_id") and value else value for name, value in details.items()
    }


@pytest.mark.parametrize("action", ACTS)
async def test_act_leaves_its_entry_without_any_value_of_a_person(
    operations: Operations, project: CreatedProject, action: str
) -> None:
    act, subject_type, details = ACTS[action]

    answer = shown(await act(operations, project.project.id))

    (entry,) = await entries(operations)
    assert (entry["action"], entry["subject_type"]) == (action, subject_type)
    assert entry["subject_id"] == answer["key_id" if subject_type == "key" else "project_id"]
    assert entry["project_id"] == (
        answer["project_id"] if action == "project_created" else project.project.id
    )
    assert (entry["actor"], entry["address"], entry["request_id"]) == (
        "usr_nadia",
        "192.0.2.7",
        "req_1",
    )
    assert ids_hidden(entry["details"]) == details
    serialized = json.dumps(entry)
    secrets = [str(answer.get(name)) for name in ("api_key", "signing_secret") if answer.get(name)]
    assert [
        secret
        for secret in (*secrets, "secret.example", "laptop", "a@b.example")
        if secret in serialized
    ] == []


async def test_entry_of_an_expiring_key_has_its_expiry(
    operations: Operations, project: CreatedProject
) -> None:
    made = await operations.api_keys.create_key(
        project.project.id, label="trial", expires_in_days=1, actor=NADIA
    )

    (entry,) = await entries(operations)
    assert (
        entry["details"]["expires_at"]
        == responses.KeyWithText.of(made).to_json()["expires_at"]
        is not None
    )


async def test_second_halves_leave_their_entries_too(
    operations: Operations, project: CreatedProject
) -> None:
    project_id = project.project.id
    await operations.signing_secrets.rotate_signing_secret(project_id, actor=NADIA)
    await operations.signing_secrets.finish_rotation(project_id, actor=NADIA)
    await operations.api_keys.revoke_key(project_id, project.key.id, actor=NADIA)

    recorded = [
        (entry["action"], entry["subject_id"]) for entry in await entries(operations, project_id)
    ]
    assert recorded[1:] == [
        ("signing_secret_rotation_finished", project_id),
        ("key_revoked", project.key.id),
    ]


async def test_actions_on_incidents_and_receipts_are_recorded(
    operations: Operations, story: Story, project: CreatedProject
) -> None:
    waiting = await story.receipt()
    event_id, incident_id = await story.opened()

    await operations.events.expire(None, waiting, actor=NADIA)
    for _ in range(2):
        await operations.runs.restart(None, waiting, actor=NADIA)
    await operations.triage.acknowledge(None, incident_id, actor=NADIA)
    replay_id = await operations.incidents.reprocess(None, incident_id, actor=NADIA)
    await operations.incidents.reprocess(None, incident_id, actor=NADIA)
    await operations.incidents.resolve(None, incident_id, "Nadia Sample was refunded", actor=NADIA)

    log = await entries(operations, project.project.id)
    of_repair = {"event_id": event_id, "replay_id": replay_id}
    assert [(entry["action"], entry["subject_id"], entry["details"]) for entry in log] == [
        ("receipt_expired", waiting, {}),
        ("run_restarted", waiting, {}),
        ("incident_acknowledged", incident_id, {"event_id": event_id}),
        ("reprocess_requested", incident_id, of_repair),
        ("reprocess_requested", incident_id, of_repair | {"adopted": True}),
        ("incident_resolved", incident_id, {"event_id": event_id}),
    ]


async def test_key_that_acts_over_rest_is_named_with_its_address_and_request(
    caller: Caller, project: CreatedProject
) -> None:
    event_id, waiting = await caller.accept(), await caller.accept()
    incident_id = await caller.incident_of(event_id)
    answers = [
        await caller.ask("POST", f"/incidents/{incident_id}/acknowledge"),
        await caller.ask("POST", f"/incidents/{incident_id}/reprocess"),
        await caller.ask("POST", f"/incidents/{incident_id}/resolve", json={"reason": "done"}),
        await caller.ask("POST", f"/events/{waiting}/expire"),
        await caller.ask("PATCH", "/project", json={"late_result": "note"}),
    ]
    refused = await caller.ask("POST", f"/incidents/{incident_id}/acknowledge")

    log = (await caller.ask("GET", "/audit")).json()["data"]

    assert refused.status_code == 409
    assert [entry["request_id"] for entry in reversed(log)] == [
        answer.headers["request-id"] for answer in answers
    ]
    assert {(entry["actor"], entry["address"]) for entry in log} == {(project.key.id, "127.0.0.1")}
    assert log[0]["details"] == {"fields": ["late_result"]}


async def test_act_whose_entry_cannot_be_written_does_not_happen(
    caller: Caller,
    operations: Operations,
    database: Database,
    project: CreatedProject,
    unwritable_log: Unwritable,
) -> None:
    incident_id = await caller.incident_of(await caller.accept())
    before = await rows_of(database)
    project_id = project.project.id
    acts: list[Callable[[], Awaitable[object]]] = [
        *(lambda act=act: act(operations, project_id) for act, *_ in ACTS.values()),
        lambda: operations.api_keys.revoke_key(project_id, project.key.id, actor=NADIA),
        lambda: operations.triage.acknowledge(None, incident_id, actor=NADIA),
        lambda: operations.incidents.reprocess(None, incident_id, actor=NADIA),
        lambda: operations.incidents.resolve(None, incident_id, "done", actor=NADIA),
        lambda: operations.audit.export_audit(AuditFilters(project_id=None), actor=NADIA),
    ]

    async with unwritable_log():
        for act in acts:
            with pytest.raises(DBAPIError):
                await act()
        assert await rows_of(database) == before
        accepted = await caller.accept()

    # ingest does not need the log
    assert (await caller.ask("GET", f"/events/{accepted}")).status_code == 200


async def test_log_is_paged_narrowed_and_for_this_project_alone(
    caller: Caller, operations: Operations, project: CreatedProject, live_project: CreatedProject
) -> None:
    for number in range(3):
        await operations.projects.change_project(
            project.project.id, {"timeout_minutes": number + 1}, actor=NADIA
        )
        await operations.projects.change_project(
            live_project.project.id, {"timeout_minutes": number + 1}, actor=NADIA
        )
    await operations.projects.set_suspended(
        project.project.id, suspended=False, actor=Actor("cli:zoë")
    )

    first = (await caller.ask("GET", "/audit", params={"limit": 2})).json()
    second = (
        await caller.ask("GET", "/audit", params={"limit": 2, "cursor": first["next_cursor"]})
    ).json()
    of_cli = (await caller.ask("GET", "/audit", params={"actor": "cli"})).json()["data"]
    resumed = (await caller.ask("GET", "/audit", params={"action": "project_resumed"})).json()[
        "data"
    ]
    later = (
        await caller.ask("GET", "/audit", params={"created_after": first["data"][0]["at"]})
    ).json()["data"]
    (theirs, *_) = await entries(operations, live_project.project.id)

    assert [len(first["data"]), len(second["data"]), second["has_more"]] == [2, 2, False]
    assert {entry["project_id"] for entry in (*first["data"], *second["data"])} == {
        project.project.id
    }
    assert of_cli == resumed == first["data"][:1]
    assert later == []
    for refused in (
        {"cursor": theirs["hash"]},
        {"cursor": "x"},
        {"action": "made_up"},
        {"limit": 0},
    ):
        assert (await caller.ask("GET", "/audit", params=refused)).status_code == 422, refused
    # Consecutive numbers would reveal how much other projects do.
    assert not {"sequence", "previous_hash"} & set(first["data"][0])


@pytest.mark.parametrize("scope", ["ingest", "read", "operate"])
async def test_log_needs_the_scope_admin(
    caller: Caller, operations: Operations, project: CreatedProject, scope: str
) -> None:
    made = await operations.api_keys.create_key(
        project.project.id, label="x", scopes=[scope], actor=NADIA
    )

    answer = await caller.with_key(made.api_key).ask("GET", "/audit")

    assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")


async def test_export_is_an_entry_of_its_own_and_the_last_line(
    operations: Operations, project: CreatedProject
) -> None:
    await operations.projects.set_suspended(project.project.id, suspended=True, actor=NADIA)
    filters = AuditFilters(
        project_id=project.project.id,
        actor="usr_nadia",
        created_after=datetime(2020, 1, 1, tzinfo=UTC),
    )

    lines = await exported(operations, filters)

    entries = [json.loads(line) for line in lines.splitlines()]
    assert [line["action"] for line in entries] == ["project_suspended", "audit_exported"]
    assert entries[1]["details"] == {"filters": ["actor", "created_after", "project"]}
    assert entries[1]["previous_hash"] == entries[0]["hash"]
    assert (await operations.audit.verify_audit(expect=entries[1]["hash"])).problem is None


async def test_export_is_one_ascii_line_for_each_entry_whatever_is_in_it(
    operations: Operations, database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    odd = "a\nb\u2028c\x9b\u202e half \ud83d"
    async with database.transaction() as session:
        await record(
            session,
            sealer,
            NADIA,
            AuditAction.PROJECT_CHANGED,
            subject=Subject(SubjectType.PROJECT, project.project.id),
            project_id=project.project.id,
            details={"reason": odd},
            now=await database.now(session),
        )

    written = await exported(operations, AuditFilters(project_id=None))

    lines = [json.loads(line) for line in written.decode("ascii").splitlines()]
    assert [line["action"] for line in lines] == ["project_changed", "audit_exported"]
    assert lines[0]["details"]["reason"] == odd
