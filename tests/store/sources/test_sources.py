"""Sources of a project: added, read, changed, paused, removed, found by hooks."""

import json
from dataclasses import asdict, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from domain.errors import NotFound, ValidationFailed
from domain.ids import ProjectId, SourceId
from domain.projects import CreatedProject
from domain.sources.changes import SourceChanges
from domain.sources.source import (
    MAXIMUM_SOURCES,
    Expects,
    ShopifyIdentity,
    Source,
    SourceKind,
    SourceState,
)
from store.crypto.encryption import SealBroken, Sealer
from store.crypto.tokens import new_source_id
from store.db.database import Database
from store.projects.projects import create_project, set_suspended
from store.schema.tables import SOURCES
from store.sources import sources
from tests.support.given import START
from tests.support.sources import EXPECTS_STRIPE, SECRET, new_source, stored_source

LATER = START + timedelta(minutes=1)
MISSING = SourceId("src_missing")
EVERY_KIND = list(SourceKind)


async def change(
    database: Database, sealer: Sealer, source: Source, changes: SourceChanges
) -> Source:
    async with database.transaction() as session:
        return await sources.change_source(
            session,
            sealer,
            project_id=source.project_id,
            source_id=source.id,
            changes=changes,
            now=LATER,
        )


async def row_of(database: Database, source_id: str) -> dict[str, Any]:
    async with database.reading() as session:
        row = (await session.execute(select(SOURCES).where(SOURCES.c.id == source_id))).one()
    return dict(row._mapping)


async def other_project(database: Database, sealer: Sealer) -> ProjectId:
    async with database.transaction() as session:
        created = await create_project(session, sealer, name="other", livemode=False, now=START)
    return created.project.id


@pytest.mark.parametrize("kind", EVERY_KIND)
async def test_source_is_read_as_it_was_added(
    database: Database, sealer: Sealer, project: CreatedProject, kind: SourceKind
) -> None:
    project_id = project.project.id
    worst = replace(EXPECTS_STRIPE, reference="/a~1b/é😀", within_minutes=0.01)

    added = await stored_source(
        database,
        sealer,
        project_id,
        kind,
        name="Ünïcode 😀 'quotes' \"and\" \\",
        expects=(EXPECTS_STRIPE, worst),
        silent_after_minutes=60,
        identity=ShopifyIdentity.EVENT_ID,
    )

    async with database.reading() as session:
        assert await sources.read_source(session, project_id, added.id) == added
        assert await sources.list_sources(session, project_id) == [added]
        assert await sources.read_secret(session, sealer, added) == SECRET
    assert (added.kind, added.expects) == (kind, (EXPECTS_STRIPE, worst))
    assert (added.state, added.created_at) == (SourceState.NEW, START - timedelta(hours=1))
    assert (added.silent_after_minutes, added.identity) == (60, ShopifyIdentity.EVENT_ID)


async def test_secret_is_stored_sealed_and_shown_nowhere(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    added = await stored_source(database, sealer, project.project.id)
    row = await row_of(database, added.id)

    async with database.reading() as session:
        hook = await sources.find_hook(session, added.id)
    changes = SourceChanges(secret=SECRET)

    assert SECRET.encode() not in row["sealed_secret"]
    shown = (added, hook, changes, new_source(), {**row, "sealed_secret": b""})
    assert not any(SECRET in repr(value) for value in shown)
    assert "sealed_secret" not in repr(hook)
    assert "data_key" not in repr(hook)


async def test_secret_sealed_for_another_source_does_not_open(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    first = await stored_source(database, sealer, project.project.id)
    second = await stored_source(database, sealer, project.project.id)
    async with database.reading() as session:
        hook = await sources.find_hook(session, first.id)
    assert hook is not None
    assert sources.open_secret(sealer, hook) == SECRET

    with pytest.raises(SealBroken):
        sources.open_secret(sealer, replace(hook, source=second))
    with pytest.raises(SealBroken):
        sources.open_secret(Sealer("another root secret, long enough"), hook)


async def test_source_of_another_project_does_not_exist(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    added = await stored_source(database, sealer, project.project.id)
    other = await other_project(database, sealer)
    foreign = replace(added, project_id=other)

    async with database.reading() as session:
        assert await sources.list_sources(session, other) == []
        with pytest.raises(NotFound):
            await sources.read_source(session, other, added.id)
        with pytest.raises(NotFound):
            await sources.read_secret(session, sealer, foreign)
    for act in (sources.remove_source, sources.request_check):
        with pytest.raises(NotFound):
            async with database.transaction() as session:
                await act(session, other, added.id, LATER)
    with pytest.raises(NotFound):
        await change(database, sealer, foreign, SourceChanges(name="taken"))

    async with database.reading() as session:
        assert await sources.read_source(session, project.project.id, added.id) == added


async def test_only_given_fields_change(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    added = await stored_source(database, sealer, project.project.id, SourceKind.STRIPE_API)
    expects = (replace(EXPECTS_STRIPE, event_type="charge.refunded"),)
    changes = SourceChanges(
        name="Refunds",
        expects=expects,
        every_minutes=60,
        silent_after_minutes=90,
        identity=ShopifyIdentity.EVENT_ID,
    )

    changed = await change(database, sealer, added, changes)
    unchanged = await change(database, sealer, added, SourceChanges())
    without = await change(database, sealer, added, SourceChanges(silent_after_minutes=None))

    assert changed == unchanged
    assert changed == replace(
        added,
        name="Refunds",
        expects=(replace(expects[0], since=LATER),),
        every_minutes=60,
        silent_after_minutes=90,
        identity=ShopifyIdentity.EVENT_ID,
    )
    assert without == replace(changed, silent_after_minutes=None)


async def test_changed_secret_replaces_the_old_one(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    added = await stored_source(database, sealer, project.project.id)

    await change(database, sealer, added, SourceChanges(secret="whsec_nëw"))

    async with database.reading() as session:
        assert await sources.read_secret(session, sealer, added) == "whsec_nëw"


@pytest.mark.parametrize("kind", EVERY_KIND)
async def test_each_change_is_a_version_that_a_schedule_follows(
    database: Database, sealer: Sealer, project: CreatedProject, kind: SourceKind
) -> None:
    project_id = project.project.id
    added = await stored_source(database, sealer, project_id, kind)
    seen = [await row_of(database, added.id)]
    await change(database, sealer, added, SourceChanges(name="b"))
    seen.append(await row_of(database, added.id))
    for act in (sources.request_check, sources.remove_source):
        async with database.transaction() as session:
            await act(session, project_id, added.id, LATER)
        seen.append(await row_of(database, added.id))

    versions = [(row["version"], row["scheduled_version"]) for row in seen]
    expected = [1, 2, 3, 4] if kind.is_webhook else [0, 0, 0, 0]
    assert versions == list(zip([1, 2, 3, 4], expected, strict=True))
    assert [row["check_requested_at"] for row in seen] == [None, None, LATER, LATER]


async def test_pause_keeps_its_time_and_resuming_ends_silence(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    added = await stored_source(database, sealer, project.project.id)
    async with database.transaction() as session:
        await session.execute(SOURCES.update().values(silent_since=START))

    paused = await change(database, sealer, added, SourceChanges(is_paused=True))
    async with database.transaction() as session:
        again = await sources.change_source(
            session,
            sealer,
            project_id=added.project_id,
            source_id=added.id,
            changes=SourceChanges(is_paused=True),
            now=LATER + timedelta(hours=1),
        )
    resumed = await change(database, sealer, added, SourceChanges(is_paused=False))

    assert (paused.state, paused.paused_at) == (SourceState.PAUSED, LATER)
    assert again == paused
    assert (resumed.paused_at, resumed.silent_since, resumed.resumed_at) == (None, None, LATER)


async def test_new_pair_of_types_is_expected_from_its_change_on(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    added = await stored_source(database, sealer, project.project.id)
    other_effect = replace(EXPECTS_STRIPE, effect_type="credit_grant")
    other_type = replace(EXPECTS_STRIPE, event_type="charge.refunded")
    longer = replace(EXPECTS_STRIPE, within_minutes=60.0)

    async def expecting(*expects: Expects, at: datetime) -> list[datetime | None]:
        """When each was added, after a change at this time."""
        async with database.transaction() as session:
            changed = await sources.change_source(
                session,
                sealer,
                project_id=added.project_id,
                source_id=added.id,
                changes=SourceChanges(expects=expects),
                now=at,
            )
            read = await sources.read_source(session, added.project_id, added.id)
        assert read == changed
        return [one.since for one in read.expects]

    later = LATER + timedelta(hours=1)
    assert [one.since for one in added.expects] == [None]
    assert await expecting(longer, other_effect, at=LATER) == [None, LATER]
    assert await expecting(other_type, other_effect, longer, at=later) == [later, LATER, None]
    assert await expecting(other_effect, at=later) == [LATER]
    assert await expecting(longer, at=later) == [later]


async def test_row_without_the_time_of_an_expectation_is_read(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    added = await stored_source(database, sealer, project.project.id)
    old = json.dumps([{k: v for k, v in asdict(EXPECTS_STRIPE).items() if k != "since"}])
    async with database.transaction() as session:
        await session.execute(SOURCES.update().values(expects=old))

    async with database.reading() as session:
        read = await sources.read_source(session, added.project_id, added.id)

    assert read == added
    assert read.expected_since(read.expects[0]) == added.created_at


async def test_removed_source_is_gone_and_has_no_secret(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    project_id = project.project.id
    added = await stored_source(database, sealer, project_id)

    async with database.transaction() as session:
        await sources.remove_source(session, project_id, added.id, LATER)

    row = await row_of(database, added.id)
    assert (row["deleted_at"], row["sealed_secret"]) == (LATER, b"")
    async with database.reading() as session:
        assert await sources.list_sources(session, project_id) == []
        assert await sources.find_hook(session, added.id) is None
        with pytest.raises(NotFound):
            await sources.read_source(session, project_id, added.id)
        with pytest.raises(NotFound):
            await sources.read_secret(session, sealer, added)
    with pytest.raises(NotFound):
        async with database.transaction() as session:
            await sources.remove_source(session, project_id, added.id, LATER)


@pytest.mark.parametrize("kind", EVERY_KIND)
async def test_only_webhooks_are_found_by_hooks(
    database: Database, sealer: Sealer, project: CreatedProject, kind: SourceKind
) -> None:
    added = await stored_source(database, sealer, project.project.id, kind)

    async with database.reading() as session:
        hook = await sources.find_hook(session, added.id)
        unknown = await sources.find_hook(session, MISSING)

    assert unknown is None
    assert (hook is not None) == kind.is_webhook
    if hook is not None:
        assert (hook.source, hook.is_suspended) == (added, False)


async def test_hook_knows_that_the_project_is_suspended(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    added = await stored_source(database, sealer, project.project.id)
    async with database.transaction() as session:
        await set_suspended(session, project.project.id, suspended=True, now=LATER)

    async with database.reading() as session:
        hook = await sources.find_hook(session, added.id)

    assert hook is not None
    assert hook.is_suspended


@pytest.mark.parametrize("newer", [{"kind": "paddle_webhook"}, {"identity": "order_name"}])
async def test_source_of_a_newer_version_is_not_read(
    database: Database, sealer: Sealer, project: CreatedProject, newer: dict[str, str]
) -> None:
    project_id = project.project.id
    added = await stored_source(database, sealer, project_id)
    async with database.transaction() as session:
        await session.execute(SOURCES.update().values(newer))

    async with database.reading() as session:
        assert await sources.list_sources(session, project_id) == []
        assert await sources.find_hook(session, added.id) is None
        with pytest.raises(NotFound):
            await sources.read_source(session, project_id, added.id)


async def test_project_has_a_bounded_number_of_sources(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    project_id = project.project.id
    first = await stored_source(database, sealer, project_id)
    row = await row_of(database, first.id)
    async with database.transaction() as session:
        for _ in range(MAXIMUM_SOURCES - 1):
            await session.execute(SOURCES.insert().values({**row, "id": new_source_id()}))

    with pytest.raises(ValidationFailed) as refused:
        await stored_source(database, sealer, project_id)
    async with database.transaction() as session:
        await sources.remove_source(session, project_id, first.id, LATER)
    await stored_source(database, sealer, project_id)

    assert [error.code for error in refused.value.errors] == ["too_many"]


async def test_source_of_no_project_is_refused(database: Database, sealer: Sealer) -> None:
    with pytest.raises(NotFound):
        await stored_source(database, sealer, ProjectId("prj_missing"))


def test_stored_expectations_have_the_fields_of_the_value() -> None:
    assert Expects(**asdict(EXPECTS_STRIPE)) == EXPECTS_STRIPE
