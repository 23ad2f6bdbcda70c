"""A backup of either database is restored into either, whole and of one moment."""

import asyncio
from datetime import timedelta
from pathlib import Path

from sqlalchemy import select, update

from domain.projects import CreatedProject
from domain.sources.source import SourceKind
from store.audit.verify import verify_audit
from store.crypto.encryption import Sealer
from store.crypto.root_secret import SECRET_FACT
from store.db.database import Database
from store.db.sql import SessionStatements
from store.ingest.connection import open_ingest_connection
from store.ingest.group_commit import Committer
from store.maintenance.backup import LEFT_OUT, RESTORED, TABLES
from store.overview.counting import count_batch
from store.projects.api_keys import find_key
from store.receipts.lists.search_index import index_batch, projects_behind
from store.schema.tables import SOURCES
from store.sources.sources import read_secret
from store.status import heartbeats
from store.status.heartbeats import INGEST
from tests.store.maintenance.backup_setup import (
    AUDITED,
    backed_up,
    lived_in,
    restored,
    rows_of,
    without,
)
from tests.support.given import Story, keep_incidents_apart
from tests.support.sources import SECRET, stored_source
from worker.loops.outage_credit import credit_all


async def test_every_row_comes_back(
    story: Story, sealer: Sealer, empty_of_any_kind: Database, file: Path
) -> None:
    empty = empty_of_any_kind
    await lived_in(story, sealer)
    async with story.database.transaction() as session:
        st, later = SessionStatements(session), story.at + timedelta(minutes=2)
        for progress in await projects_behind(st, later):
            await index_batch(st, progress, later)
        await count_batch(session, story.project.id, later)
    before = await rows_of(story.database)
    assert [name for name, rows in before.items() if not rows] == []

    written = await backed_up(story.database, sealer, file)
    stored = await restored(empty, sealer, file)

    after = await rows_of(empty)
    counted = {name: len(rows) for name, rows in before.items() if name not in LEFT_OUT}
    # the backup itself is in the log
    assert stored == written == counted | {"heartbeats": 1, "audit_log": 2}
    changed = {"outbox", "alerts", "facts", "heartbeats", *AUDITED, *LEFT_OUT}
    assert without(after, changed) == without(before, changed)
    assert without(await rows_of(story.database), AUDITED) == without(before, AUDITED)


async def test_audit_log_is_restored_and_continues(
    story: Story, sealer: Sealer, empty_of_any_kind: Database, file: Path
) -> None:
    await lived_in(story, sealer)
    await backed_up(story.database, sealer, file)
    before = (await rows_of(story.database))["audit_log"]

    await restored(empty_of_any_kind, sealer, file)

    after = (await rows_of(empty_of_any_kind))["audit_log"]
    verdict = await verify_audit(empty_of_any_kind, sealer, expect=before[-1]["hash"])
    assert after[:-1] == before
    assert [row["action"] for row in after] == ["signed_in", "backup_started", "store_restored"]
    assert (verdict.entries, verdict.problem) == (3, None)


async def test_leased_and_postponed_rows_are_due(
    story: Story, sealer: Sealer, empty: Database, file: Path
) -> None:
    await lived_in(story, sealer)
    before = await rows_of(story.database)
    await backed_up(story.database, sealer, file)

    await restored(empty, sealer, file)

    after = await rows_of(empty)
    assert after["outbox"] == [row | {"claimed_until": None} for row in before["outbox"]]
    due = [
        row if row["sent_at"] else row | {"due_at": row["created_at"]} for row in before["alerts"]
    ]
    assert after["alerts"] == due
    assert len([row for row in due if row["sent_at"]]) == 1
    kept = {SECRET_FACT: sealer.current.fingerprint, "another": "fact"}
    assert {row["name"]: row["value"] for row in after["facts"]} == {
        heartbeats.NAMESPACE_FACT: RESTORED,
        **kept,
    }


async def test_restored_store_has_no_sessions_or_heartbeats(
    story: Story, sealer: Sealer, empty: Database, file: Path
) -> None:
    await lived_in(story, sealer)
    await backed_up(story.database, sealer, file)

    await restored(empty, sealer, file)

    after = await rows_of(empty)
    for name in ("sessions", "login_links", "invitations", "throttles", "passkey_challenges"):
        assert after[name] == []
    assert [row["process"] for row in after["heartbeats"]] == ["api_2"]


async def test_new_rows_are_numbered_after_the_restored_ones(
    story: Story, sealer: Sealer, empty: Database, file: Path
) -> None:
    await lived_in(story, sealer)
    await backed_up(story.database, sealer, file)
    await restored(empty, sealer, file)
    before = await rows_of(empty)

    there = Story(empty, story.project)
    await there.do(keep_incidents_apart, story.project.id)
    event_id, _ = await there.repairing()

    for table in ("timeline", "outbox", "alerts"):
        highest = max(row["id"] for row in before[table])
        new = [row["id"] for row in await there.rows(table, event_id)]
        assert new
        assert new[0] == highest + 1


async def test_keys_and_secrets_still_open(
    story: Story, project: CreatedProject, sealer: Sealer, empty: Database, file: Path
) -> None:
    await backed_up(story.database, sealer, file)

    await restored(empty, sealer, file)

    async with empty.reading() as session:
        found = await find_key(session, sealer.key_digest(project.api_key))
        data_key = await session.scalar(select(TABLES["projects"].c.data_key))
        row = (await session.execute(select(TABLES["signing_secrets"]))).one()
    assert found is not None
    assert found.project.id == story.project.id
    column = {
        "project_id": story.project.id,
        "table": "signing_secrets",
        "column": "sealed",
        "row": row.id,
    }
    assert sealer.open(data_key, **column, sealed=row.sealed).decode() == project.signing_secret


async def test_backup_during_writes_is_a_snapshot_of_one_moment(
    story: Story, sealer: Sealer, file: Path
) -> None:
    await story.do(keep_incidents_apart, story.project.id)
    for _ in range(20):
        await story.opened()

    async def live() -> int:
        for count in range(10_000):
            if done.is_set():
                return count
            await story.opened()
        return 0

    done = asyncio.Event()
    living = asyncio.create_task(live())
    for _ in range(3):
        written = await backed_up(story.database, sealer, file)

        assert written["receipts"] - written["incidents"] in {0, 1}  # one is on its way
        assert written["alerts"] == written["incidents"]
        assert written["timeline"] == 2 * written["incidents"]
    done.set()
    assert await living > 0


async def test_facts_of_a_new_store_are_replaced(
    story: Story, sealer: Sealer, empty: Database, file: Path
) -> None:
    await lived_in(story, sealer)
    await backed_up(story.database, sealer, file)
    async with empty.transaction() as session:
        long_ago = await empty.now(session) - timedelta(seconds=11)
        await heartbeats.write_heartbeat(
            session, process="api_9", role=INGEST, started_at=long_ago, now=long_ago, report={}
        )
        await heartbeats.write_fact(session, "another", "fact of the new one")

    await restored(empty, sealer, file)

    after = await rows_of(empty)
    assert [row["process"] for row in after["heartbeats"]] == ["api_2"]
    assert {"name": "another", "value": "fact"} in after["facts"]


async def test_time_since_the_backup_is_credited_to_open_deadlines(
    story: Story, sealer: Sealer, empty: Database, file: Path
) -> None:
    async with story.database.transaction() as session:
        now = await story.database.now(session)
        backed_up_at = now - timedelta(minutes=20)
        await heartbeats.write_heartbeat(
            session,
            process="api_1",
            role=INGEST,
            started_at=backed_up_at,
            now=backed_up_at,
            report={},
        )
    story.at = backed_up_at - timedelta(minutes=5)
    still_open = await story.receipt(timeout_minutes=10.0)
    overdue_then = await story.receipt(timeout_minutes=1.0)
    await backed_up(story.database, sealer, file)
    await restored(empty, sealer, file)
    there = Story(empty, story.project)
    committer = Committer(open_ingest_connection(empty.url), empty.clock)

    await committer.start(outage_seconds=60)
    await committer.stop()
    credited = await credit_all(empty)

    assert credited == 1
    (row,) = await there.rows("receipts", still_open)
    assert 20 * 60_000 <= row["deadline_at"] - row["timeout_at"] < 21 * 60_000
    (row,) = await there.rows("receipts", overdue_then)
    assert row["deadline_at"] == row["timeout_at"]


async def test_listings_of_a_restored_store_get_their_schedules_again(
    story: Story, sealer: Sealer, empty_of_any_kind: Database, file: Path
) -> None:
    project_id = story.project.id
    stored = {
        kind: await stored_source(story.database, sealer, project_id, kind) for kind in SourceKind
    }
    async with story.database.transaction() as session:
        await session.execute(update(SOURCES).values(scheduled_version=SOURCES.c.version))
    await backed_up(story.database, sealer, file)

    await restored(empty_of_any_kind, sealer, file)

    async with empty_of_any_kind.reading() as session:
        rows = await session.execute(select(SOURCES.c.kind, SOURCES.c.scheduled_version))
        assert {kind: version for kind, version in rows} == {
            kind: 1 if kind.is_webhook else 0 for kind in SourceKind
        }
        for source in stored.values():
            assert await read_secret(session, sealer, source) == SECRET
