"""Items that cannot be purged or erased are backed off and logged, and stop no other."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.values.timestamps import to_unix_ms
from store.db.database import Database
from store.projects import deletion
from tests.support.given import Story
from tests.support.waiting import wait_until_async
from worker.loops import retention

pytestmark = pytest.mark.both_stores


@asynccontextmanager
async def broken(
    database: Database, table: str, change: str, condition: str
) -> AsyncIterator[None]:
    """Make the table refuse such changes during the block, as a damaged page would."""
    is_sqlite = database.dialect == "sqlite"
    body = "BEGIN RAISE EXCEPTION 'a broken row'; END"
    function = f"CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $body$ {body} $body$"
    refusing = "BEGIN SELECT RAISE(ABORT, 'a broken row'); END"
    on = f"CREATE TRIGGER broken BEFORE {change} ON {table} FOR EACH ROW WHEN ({condition})"
    making = [f"{on} {refusing}"] if is_sqlite else [function, f"{on} EXECUTE FUNCTION broken()"]
    await run(database, *making)
    try:
        yield
    finally:
        await run(database, "DROP TRIGGER broken" if is_sqlite else "DROP FUNCTION broken CASCADE")


async def run(database: Database, *statements: str, **values: object) -> None:
    async with database.transaction() as session:
        for statement in statements:
            await session.execute(text(statement), values)


async def insert_expired(database: Database) -> None:
    """Insert an expired stored response and an expired sign-in link."""
    async with database.reading() as session:
        at = to_unix_ms(await database.now(session) - timedelta(days=2))
    columns = "INSERT INTO idempotency (project_id, endpoint, key, fingerprint, status, created_at)"
    await run(database, f"{columns} VALUES ('prj_1', 'receipt', 'key', 'f', 202, :at)", at=at)
    await run(
        database,
        "INSERT INTO login_links (digest, user_id, expires_at) VALUES ('d', NULL, :at)",
        at=at,
    )


async def count_rows(database: Database, table: str) -> int:
    async with database.reading() as session:
        return int(await session.scalar(text(f"SELECT count(*) FROM {table}")) or 0)


async def test_kind_that_cannot_be_purged_does_not_stop_the_others_and_is_retried(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "EVERY_SECONDS", 0.05)
    await insert_expired(database)

    async def links_are_gone() -> bool:
        return await count_rows(database, "login_links") == 0

    async def responses_are_gone() -> bool:
        return await count_rows(database, "idempotency") == 0

    with capture_logs() as logs:
        async with broken(database, "idempotency", "DELETE", "OLD.key = 'key'"):
            purging = asyncio.create_task(retention.retention_loop(database))
            await wait_until_async(links_are_gone, what="the links are purged")
            await wait_until_async(lambda: count(logs, "purge_failed") >= 2, what="a second pass")
        await wait_until_async(responses_are_gone, what="the responses are purged")

    assert not purging.done()
    assert {line["what"] for line in logs if line["event"] == "purge_failed"} == {"answers"}
    await end(purging)


async def test_receipt_of_a_deleted_project_that_cannot_be_closed_is_backed_off_and_stops_no_other(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ERASE_EVERY_SECONDS", 0.05)
    bad, good = await story.receipt(), await story.receipt()
    await delete(story)

    with capture_logs() as logs:
        async with broken(story.database, "receipts", "UPDATE", f"OLD.event_id = '{bad}'"):
            erasing = asyncio.create_task(retention.erasure_loop(story.database))
            await wait_until_async(
                lambda: has_ended(story, good), what="the other receipt is closed"
            )
            later = await story.receipt()  # another process accepted it a moment ago
            await wait_until_async(
                lambda: has_ended(story, later), what="the later receipt is closed"
            )

    assert not erasing.done()
    assert Counter(line["event_id"] for line in logs if line["event"] == "purge_failed") == {bad: 1}
    assert not await has_ended(story, bad)
    await end(erasing)


async def test_erasure_continues_after_passes_that_fail_as_a_whole(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ERASE_EVERY_SECONDS", 0.05)
    event_id = await story.receipt()
    await delete(story)
    await run(story.database, "ALTER TABLE projects RENAME TO hidden")

    with capture_logs() as logs:
        erasing = asyncio.create_task(retention.erasure_loop(story.database))
        try:
            await wait_until_async(
                lambda: count(logs, "purge_failed") >= 2, what="two passes that failed"
            )
        finally:
            await run(story.database, "ALTER TABLE hidden RENAME TO projects")
        await wait_until_async(lambda: has_ended(story, event_id), what="the receipt is closed")

    assert not erasing.done()
    assert {line["what"] for line in logs if line["event"] == "purge_failed"} == {"erase"}
    await end(erasing)


async def test_purge_ends_although_rows_keep_expiring(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 3)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)
    await insert_expired_responses(database, 7)
    batches: list[int] = []
    purge_batch = retention._purge_batch

    async def while_more_expires(
        database: Database, kind: str, limit: int, skip: int | None
    ) -> int:
        purged = await purge_batch(database, kind, limit, skip)
        if kind == "answers":
            batches.append(purged)
            assert len(batches) < 10
            await insert_expired_responses(database, 1)
        return purged

    monkeypatch.setattr(retention, "_purge_batch", while_more_expires)

    await retention.purge_all(database)

    assert batches == [3, 3, 3, 1]
    assert await count_rows(database, "idempotency") == 1


async def test_kind_that_cannot_be_erased_does_not_stop_the_others(story: Story) -> None:
    await delete(story)
    await insert_expired_responses(story.database, 3, of=story.project.id)
    await story.reach(LifecycleState.APPLIED)
    await run(story.database, "DELETE FROM outbox")

    with capture_logs() as logs:
        async with broken(story.database, "receipts", "DELETE", "true"):
            await retention.erase_all(story.database, retention.erasure_backoffs())

    assert await count_rows(story.database, "idempotency") == 0
    assert {line["what"] for line in logs if line["event"] == "purge_failed"} == {"receipts"}
    assert await count_rows(story.database, "receipts") == 1
    await retention.erase_all(story.database, retention.erasure_backoffs())
    assert await count_rows(story.database, "receipts") == 0


async def test_row_that_cannot_be_erased_keeps_no_other(
    story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)
    await delete(story)
    event_ids = [(await story.reach(LifecycleState.APPLIED))[0] for _ in range(12)]
    await run(story.database, "DELETE FROM outbox")
    bad = sorted(event_ids)[3]

    with capture_logs() as logs:
        async with broken(story.database, "receipts", "DELETE", f"OLD.event_id = '{bad}'"):
            await retention.erase_all(story.database, retention.erasure_backoffs())
            assert await count_rows(story.database, "receipts") == 1
    await retention.erase_all(story.database, retention.erasure_backoffs())

    assert [line["what"] for line in logs if line["event"] == "purge_failed"] == ["receipts"]
    assert await count_rows(story.database, "receipts") == 0


async def test_row_that_cannot_be_purged_keeps_no_other(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "BATCH", 10)
    monkeypatch.setattr(retention, "PAUSE_SECONDS", 0)
    await insert_expired_responses(database, 25)
    await insert_expired(database)

    with capture_logs() as logs:
        async with broken(database, "idempotency", "DELETE", "OLD.key = 'key'"):
            await retention.purge_all(database)

    assert [line["what"] for line in logs if line["event"] == "purge_failed"] == ["answers"]
    assert await count_rows(database, "idempotency") == 1
    await retention.purge_all(database)
    assert await count_rows(database, "idempotency") == 0


async def insert_expired_responses(database: Database, count: int, *, of: str = "prj_1") -> None:
    """Insert so many expired stored responses."""
    columns = "INSERT INTO idempotency (project_id, endpoint, key, fingerprint, status, created_at)"
    for _ in range(count):
        await run(
            database,
            f"{columns} VALUES (:of, 'receipt', :key, 'f', 202, 1)",
            of=of,
            key=uuid4().hex,
        )


async def delete(story: Story) -> None:
    async with story.database.transaction() as session:
        await deletion.delete_project(
            session, story.project.id, end_open=True, now=await story.database.now(session)
        )


async def has_ended(story: Story, event_id: EventId) -> bool:
    return (await story.snapshot(event_id)).state is LifecycleState.CLOSED


def count(logs: Sequence[Mapping[str, object]], event: str) -> int:
    return len([line for line in logs if line["event"] == event])


async def end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
