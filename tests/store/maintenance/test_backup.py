"""A whole store in a backup and back:

from either database into either, in one snapshot, all of it or nothing.
"""

import asyncio
import shutil
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update

from domain.audit import Actor, AuditAction
from domain.lifecycle import LifecycleState
from domain.projects import CreatedProject
from store.audit.log import record
from store.audit.verify import verify_audit
from store.crypto.encryption import Sealer
from store.crypto.root_secret import SECRET_FACT
from store.db.database import Database, dialect_of
from store.db.sql import Dialect, SessionStatements
from store.ingest.connection import open_ingest_connection
from store.ingest.group_commit import Committer
from store.maintenance.backup import LEFT_OUT, RESTORED, TABLES, back_up, check_fits, restore
from store.maintenance.backup_file import BackupError, BackupReader, BackupWriter, written_whole
from store.migrate import revisions
from store.projects.api_keys import find_key
from store.receipts.search_index import index_batch, projects_behind
from store.status import heartbeats
from store.status.heartbeats import INGEST
from tests.support.given import Story
from tests.support.postgres import Postgres
from worker.loops.outage_credit import credit_all

REVISION = revisions()[0]
OPERATOR = Actor("cli:nadia", address="desk")
# A backup, and a restore, are entries of their own.
AUDITED = {"audit_log", "audit_head"}
Rows = dict[str, list[dict[str, Any]]]


@contextmanager
def another(dialect: Dialect, request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of another database, empty and migrated."""
    if dialect == "sqlite":
        path = request.getfixturevalue("tmp_path") / "empty.db"
        shutil.copyfile(request.getfixturevalue("sqlite_template"), path)
        yield f"sqlite:///{path}"
        return
    postgres: Postgres = request.getfixturevalue("postgres")
    name = postgres.borrow()
    yield postgres.url(name)
    postgres.give_back(name)


@pytest.fixture(params=["same", "other"])
def any_url(request: pytest.FixtureRequest, database_url: str) -> Iterator[str]:
    """A database of the same kind, and one of the other."""
    is_sqlite = (dialect_of(database_url) == "sqlite") is (request.param == "same")
    with another("sqlite" if is_sqlite else "postgresql", request) as url:
        yield url


@pytest.fixture
def same_url(request: pytest.FixtureRequest, database_url: str) -> Iterator[str]:
    with another(dialect_of(database_url), request) as url:
        yield url


@pytest.fixture
async def empty(same_url: str) -> AsyncIterator[Database]:
    """Another store of the same kind, empty."""
    database = Database.open(same_url)
    yield database
    await database.close()


@pytest.fixture
async def empty_of_any_kind(any_url: str) -> AsyncIterator[Database]:
    """Another store, empty, of the same kind and of the other."""
    database = Database.open(any_url)
    yield database
    await database.close()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "backup.jsonl.gz"


async def lived_in(story: Story, sealer: Sealer) -> None:
    """A row in every table and a receipt in every state; each instant, blob and flag is used."""
    for position in LifecycleState:
        await story.reach(position)
    event_id = await story.receipt()
    now = story.at
    later = now + timedelta(seconds=30)
    async with story.database.transaction() as session:
        receipts, alerts = TABLES["receipts"], TABLES["alerts"]
        await session.execute(
            update(receipts)
            .where(receipts.c.event_id == event_id)
            .values(payload=bytes(range(256)))
        )
        first = await session.scalar(select(alerts.c.id).order_by(alerts.c.id).limit(1))
        await session.execute(update(alerts).where(alerts.c.id == first).values(sent_at=now))
        await session.execute(
            update(alerts)
            .where(alerts.c.id != first)
            .values(due_at=later, tries=3, last_error="451")
        )
        await session.execute(
            insert(TABLES["outbox"]),
            {"event_id": event_id, "kind": "start", "fields": "{}", "created_at": now},
        )
        await session.execute(update(TABLES["outbox"]).values(claimed_until=later))
        run = {
            "event_id": event_id,
            "project_id": story.project.id,
            "suspected_at": now,
            "look_at": later,
        }
        found = {
            "found_at": later,
            "cause": "task_fails",
            "looks": 1,
            "restarts": 2,
            "restarted_at": later,
        }
        await session.execute(insert(TABLES["stuck_runs"]), run | found)
        answer = {
            "project_id": story.project.id,
            "endpoint": "result",
            "key": "k",
            "fingerprint": "f",
            "status": 422,
            "body": b"{}",
        }
        await session.execute(insert(TABLES["idempotency"]), answer | {"created_at": now})
        await session.execute(
            insert(TABLES["users"]), {"id": "usr_1", "email": "a@b.example", "created_at": now}
        )
        await session.execute(insert(TABLES["administrators"]), {"user_id": "usr_1", "since": now})
        member = {"project_id": story.project.id, "user_id": "usr_1"}
        await session.execute(insert(TABLES["members"]), {**member, "role": "owner", "since": now})
        outage = {
            "down_from": now,
            "up_at": later,
            "accepted_until": later,
            "cursor": event_id,
            "done_at": later,
        }
        await session.execute(insert(TABLES["outages"]), {**outage, "has_skipped": True})
        invited = {
            "id": "inv_1",
            "project_id": story.project.id,
            "email": "b@b.example",
            "role": "owner",
            "invited_by": "usr_1",
        }
        await session.execute(
            insert(TABLES["invitations"]), {"digest": "invitation", **invited, "expires_at": later}
        )
        await session.execute(
            insert(TABLES["login_links"]), {"digest": "link", "expires_at": later}
        )
        times = {"created_at": now, "seen_at": now, "expires_at": later}
        origin = {"address": "192.0.2.1", "user_agent": "a browser"}
        await session.execute(
            insert(TABLES["sessions"]), {"digest": "session", "user_id": "usr_1", **times, **origin}
        )
        of_user = {"user_id": "usr_1", "created_at": now}
        await session.execute(
            insert(TABLES["totp_factors"]),
            {"data_key": b"\x01", "sealed": b"\x02", "last_step": 1, **of_user},
        )
        await session.execute(insert(TABLES["recovery_codes"]), {"digest": "code", **of_user})
        await session.execute(
            insert(TABLES["identities"]),
            {"issuer": "https://id.example", "subject": "1", **of_user},
        )
        await session.execute(
            insert(TABLES["throttles"]),
            {"name": "n", "failures": 1, "open_at": now, "forgotten_at": later},
        )
        await heartbeats.write_fact(
            session, heartbeats.NAMESPACE_FACT, "the namespace of the old instance"
        )
        await heartbeats.write_fact(session, "another", "fact")
        for process, role, age in (
            ("api_1", INGEST, 9),
            ("api_2", INGEST, 4),
            ("api_3", "api", 1),
            ("worker-1", "worker", 1),
        ):
            at = now - timedelta(seconds=age)
            await heartbeats.beat(
                session, process=process, role=role, started_at=at, now=at, report={"accepted": 1}
            )
        await record(session, sealer, Actor("usr_1"), AuditAction.SIGNED_IN, now=now)


async def rows_of(database: Database) -> Rows:
    """Every row of every table, in an order that does not depend on the database."""
    async with database.reading() as session:
        found = {
            name: (await session.execute(select(table))).mappings().all()
            for name, table in TABLES.items()
        }
    return {name: sorted((dict(row) for row in rows), key=repr) for name, rows in found.items()}


def without(rows: Rows, names: set[str]) -> Rows:
    return {name: found for name, found in rows.items() if name not in names}


async def backed_up(database: Database, sealer: Sealer, file: Path) -> dict[str, int]:
    with written_whole(file) as opened:
        writer = BackupWriter(opened)
        await back_up(
            database,
            writer,
            sealer=sealer,
            actor=OPERATOR,
            made_by="0.1.0",
            revision=REVISION,
            progress=lambda rows: None,
        )
    return writer.rows


async def restored(database: Database, sealer: Sealer, file: Path) -> dict[str, int]:
    with BackupReader.open(file) as opened:
        return await restore(
            database, opened, sealer=sealer, actor=OPERATOR, progress=lambda rows: None
        )


async def test_every_row_comes_back(
    story: Story, sealer: Sealer, empty_of_any_kind: Database, file: Path
) -> None:
    empty = empty_of_any_kind
    await lived_in(story, sealer)
    async with story.database.transaction() as session:
        st, later = SessionStatements(session), story.at + timedelta(minutes=2)
        for progress in await projects_behind(st, later):
            await index_batch(st, progress, later)
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
    for name in ("sessions", "login_links", "invitations", "throttles"):
        assert after[name] == []
    assert [row["process"] for row in after["heartbeats"]] == ["api_2"]


async def test_new_rows_are_numbered_after_the_restored_ones(
    story: Story, sealer: Sealer, empty: Database, file: Path
) -> None:
    await lived_in(story, sealer)
    await backed_up(story.database, sealer, file)
    await restored(empty, sealer, file)
    before = await rows_of(empty)

    event_id, _ = await (there := Story(empty, story.project)).repairing()

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
    place = {
        "project_id": story.project.id,
        "table": "signing_secrets",
        "column": "sealed",
        "row": row.id,
    }
    assert sealer.open(data_key, **place, sealed=row.sealed).decode() == project.signing_secret


async def test_backup_is_of_one_moment_while_the_store_is_written_to(
    story: Story, sealer: Sealer, file: Path
) -> None:
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


@pytest.mark.parametrize("broken", ["end", "middle"])
async def test_damaged_backup_changes_nothing(
    story: Story, sealer: Sealer, empty: Database, file: Path, broken: str
) -> None:
    await lived_in(story, sealer)
    await backed_up(story.database, sealer, file)
    before = await rows_of(empty)
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] if broken == "end" else whole[: len(whole) // 2])

    with pytest.raises(BackupError, match="is damaged"):
        await restored(empty, sealer, file)

    assert await rows_of(empty) == before


@pytest.mark.parametrize("left", ["projects", "users", "receipts", "audit_log"])
async def test_store_that_is_not_empty_is_refused(
    story: Story, sealer: Sealer, empty: Database, file: Path, left: str
) -> None:
    await lived_in(story, sealer)
    await backed_up(story.database, sealer, file)
    async with empty.transaction() as session:
        await session.execute(insert(TABLES[left]), (await rows_of(story.database))[left][:1])
    before = await rows_of(empty)

    with pytest.raises(BackupError, match=f"is not empty, it has {left}: "):
        await restored(empty, sealer, file)

    assert await rows_of(empty) == before


async def test_store_with_a_running_process_is_refused(
    story: Story, sealer: Sealer, empty: Database, file: Path
) -> None:
    await backed_up(story.database, sealer, file)
    async with empty.transaction() as session:
        now = await empty.now(session)
        await heartbeats.beat(
            session, process="api_9", role="api", started_at=now, now=now, report={}
        )

    with pytest.raises(BackupError, match="an API or a worker is at work on this store"):
        await restored(empty, sealer, file)

    assert (await rows_of(empty))["projects"] == []


async def test_facts_of_a_new_store_are_replaced(
    story: Story, sealer: Sealer, empty: Database, file: Path
) -> None:
    await lived_in(story, sealer)
    await backed_up(story.database, sealer, file)
    async with empty.transaction() as session:
        long_ago = await empty.now(session) - timedelta(seconds=11)
        await heartbeats.beat(
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
        await heartbeats.beat(
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


async def test_other_secret_key_is_refused(story: Story, sealer: Sealer, file: Path) -> None:
    await backed_up(story.database, sealer, file)

    with (
        BackupReader.open(file) as backup,
        pytest.raises(BackupError, match="made under another secret key"),
    ):
        check_fits(
            backup,
            key=Sealer("another root secret, which is long enough").current.backup_key,
            revision=REVISION,
        )


async def test_tables_of_another_version_are_refused(
    story: Story, sealer: Sealer, file: Path
) -> None:
    await backed_up(story.database, sealer, file)

    with (
        BackupReader.open(file) as backup,
        pytest.raises(BackupError, match=r"at 9999: restore it with the version .* 0\.1\.0"),
    ):
        check_fits(backup, key=sealer.current.backup_key, revision="9999")


async def test_store_of_another_version_is_not_backed_up(
    story: Story, sealer: Sealer, file: Path
) -> None:
    async with story.database.transaction() as session:
        await session.execute(text("UPDATE alembic_version SET version_num = 'older'"))

    try:
        with pytest.raises(
            BackupError,
            match=f"at older, this version needs {REVISION}: run `makegood migrate` first",
        ):
            await backed_up(story.database, sealer, file)
    finally:
        # PostgreSQL's database is lent again.
        async with story.database.transaction() as session:
            await session.execute(text(f"UPDATE alembic_version SET version_num = '{REVISION}'"))
    assert not file.exists()
