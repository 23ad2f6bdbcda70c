"""The operations of the console and the command line beyond REST: projects, keys, secrets."""

from datetime import datetime, timedelta

import pytest

from domain.audit import Actor
from domain.errors import NotFound, ValidationFailed
from domain.projects import CreatedProject
from operations.composition import Operations
from operations.responses.events import EventList
from operations.responses.projects import CreatedProject as CreatedProjectResponse
from operations.responses.projects import KeyList, KeyWithText, Project, int_if_whole
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.signing_secrets import signing_secrets
from store.receipts.queries import Counts, ListFilters
from tests.api.serving import Caller, judge_shape, receipt

ACTOR = Actor("usr_operator", address="192.0.2.1", request_id="req_1")


@pytest.fixture
def operations(database: Database, sealer: Sealer) -> Operations:
    return Operations.build(database=database, sealer=sealer, judge_repair_url=judge_shape)


async def test_project_is_made_with_its_secrets_shown_once(operations: Operations) -> None:
    made = await operations.projects.create_project(
        name="new", mode="test", alert_emails=["a@b.example"], timeout_minutes=0.5, actor=ACTOR
    )
    read = await operations.projects.read_project(made.project.id)

    assert made.api_key.startswith("sk_test_")
    assert made.signing_secret.startswith("whsec_")
    assert read == made.project
    assert Project.of(read).to_json() == {
        name: value
        for name, value in CreatedProjectResponse.of(made).to_json().items()
        if name not in ("api_key", "signing_secret", "key_id")
    }
    assert await operations.projects.list_projects() == [read]


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        ({"name": ""}, "/name"),
        ({"mode": "prod"}, "/mode"),
        ({"scopes": ["everything"]}, "/scopes/0"),
        ({"scopes": []}, "/scopes"),
        ({"alert_emails": ["x"]}, "/alert_emails/0"),
        ({"mode": "live", "timeout_minutes": 0.5}, "/timeout_minutes"),
        ({"repair_url": "https://10.0.0.1/"}, "/repair_url"),
    ],
    ids=str,
)
async def test_wrong_project_is_refused(
    operations: Operations, fields: dict[str, object], pointer: str
) -> None:
    wanted: dict[str, object] = {"name": "new", "mode": "test", **fields}

    with pytest.raises(ValidationFailed) as refused:
        await operations.projects.create_project(**wanted, actor=ACTOR)  # type: ignore[arg-type]  # wrong on purpose

    assert [error.pointer for error in refused.value.errors] == [pointer]


async def test_key_is_made_listed_and_revoked(
    operations: Operations, project: CreatedProject
) -> None:
    project_id = project.project.id
    made = await operations.api_keys.create_key(
        project_id, label="cron", scopes=["read", "ingest"], actor=ACTOR
    )
    listed = await operations.api_keys.list_keys(project_id)
    revoked = await operations.api_keys.revoke_key(project_id, made.key.id, actor=ACTOR)

    assert KeyWithText.of(made).to_json()["scopes"] == ["ingest", "read"]
    assert [key.label for key in listed] == ["first key", "cron"]
    assert all("api_key" not in key for key in KeyList.of(listed).to_json()["data"])
    assert revoked.revoked_at is not None
    with pytest.raises(NotFound):
        await operations.api_keys.revoke_key(project_id, "key_unknown", actor=ACTOR)
    with pytest.raises(NotFound):
        await operations.api_keys.create_key("prj_unknown", label="x", actor=ACTOR)


async def test_signing_secret_is_rotated_with_an_overlap(
    operations: Operations, project: CreatedProject, database: Database, sealer: Sealer
) -> None:
    project_id = project.project.id
    rotation = await operations.signing_secrets.rotate_signing_secret(project_id, actor=ACTOR)
    async with database.reading() as session:
        during = await signing_secrets(session, sealer, project_id, await database.now(session))
    await operations.signing_secrets.finish_rotation(project_id, actor=ACTOR)
    async with database.reading() as session:
        after = await signing_secrets(session, sealer, project_id, await database.now(session))

    assert (during.current, during.next) == (project.signing_secret, rotation.signing_secret)
    assert (after.current, after.next) == (rotation.signing_secret, None)


async def test_change_takes_effect_at_once_in_the_process_that_made_it(caller: Caller) -> None:
    await caller.accept()
    await caller.ask("PATCH", "/project", json={"timeout_minutes": 2})

    event = (await caller.ask("GET", f"/events/{await caller.accept()}")).json()

    span = datetime.fromisoformat(event["timeout_at"]) - datetime.fromisoformat(
        event["accepted_at"]
    )
    assert span == timedelta(minutes=2)


async def test_counts_are_over_all_projects_or_one(
    caller: Caller, operations: Operations, project: CreatedProject, live_project: CreatedProject
) -> None:
    await caller.accept()
    await caller.incident_of(await caller.accept())
    await caller.with_key(live_project.api_key).accept()

    everywhere, here = (
        await operations.incidents.counts(None),
        await operations.incidents.counts(project.project.id),
    )

    assert everywhere == Counts(waiting=2, open=1, repairing=0, repaired_this_week=0)
    assert here == Counts(waiting=1, open=1, repairing=0, repaired_this_week=0)


async def test_list_can_be_filtered_by_several_states(
    caller: Caller, operations: Operations
) -> None:
    waiting = await caller.accept(**receipt())
    open_one = await caller.accept()
    await caller.incident_of(open_one)

    filters = ListFilters(project_id=None, states=("waiting", "incident"))
    page = await operations.events.list_events(filters)

    assert {event.receipt.event_id for event in page.rows} == {waiting, open_one}
    assert EventList.of(page).has_more is False


@pytest.mark.parametrize(("number", "serialized"), [(30.0, "30"), (0.5, "0.5")])
def test_whole_minutes_are_serialized_as_integers(number: float, serialized: str) -> None:
    assert str(int_if_whole(number)) == serialized
