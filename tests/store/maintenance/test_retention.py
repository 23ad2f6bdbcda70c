"""Expired data is deleted in batches; all other data is kept."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import text

from domain.lifecycle import LifecycleState
from domain.values.timestamps import to_unix_ms
from store.maintenance.retention import Purged, purge
from store.people import sessions, users
from tests.support.given import START, Story


async def run(story: Story, sql: str, **values: object) -> None:
    async with story.database.transaction() as session:
        await session.execute(text(sql), values)


async def purged(story: Story, *, limit: int = 1_000, **after: float) -> Purged:
    async with story.database.transaction() as session:
        return await purge(session, START + timedelta(**after), limit=limit)


async def keep_answers(story: Story, count: int) -> None:
    for number in range(count):
        await run(
            story,
            "INSERT INTO idempotency (project_id, endpoint, key, fingerprint, status, created_at) "
            "VALUES ('prj_1', 'receipt', :key, 'f', 202, :at)",
            key=f"key {number}",
            at=to_unix_ms(START),
        )


@pytest.mark.parametrize(("hours", "expected"), [(23.99, 0), (24, 3)])
async def test_stored_responses_are_deleted_after_24_hours(
    story: Story, hours: float, expected: int
) -> None:
    await keep_answers(story, 3)

    assert (await purged(story, hours=hours)).answers == expected


async def test_batch_deletes_at_most_its_limit(story: Story) -> None:
    await keep_answers(story, 5)

    batches = [(await purged(story, limit=2, hours=24)).total for _ in range(4)]

    assert batches == [2, 2, 1, 0]


@pytest.mark.parametrize(("days", "expected"), [(29.99, 0), (30, 1)])
async def test_payloads_are_deleted_after_30_days_and_their_receipts_are_kept(
    story: Story, days: float, expected: int
) -> None:
    event_id = await story.receipt()
    await story.receipt()
    await run(
        story,
        "UPDATE receipts SET payload = :payload WHERE event_id = :id",
        payload=b"sealed",
        id=event_id,
    )

    first, second = await purged(story, days=days), await purged(story, days=days)

    (row,) = await story.rows("receipts", event_id)
    assert (first.payloads, second.payloads) == (expected, 0)
    assert (row["payload"] is None) == bool(expected)


async def test_receipts_that_ended_are_kept(story: Story) -> None:
    event_id, _ = await story.reach(LifecycleState.RECOVERED)

    await purged(story, days=3_650)

    for table in ("receipts", "incidents", "results", "repairs", "attempts", "timeline", "alerts"):
        assert await story.rows(table, event_id)


async def test_used_links_and_old_sessions_are_deleted(story: Story) -> None:
    async with story.database.transaction() as session:
        used = await users.create_login_link(session, now=START)
        user = await users.redeem_login_link(session, token=used, now=START)
        assert user is not None
        waiting = await users.create_login_link(session, now=START)
        token = await sessions.open_session(session, user_id=user.user_id, now=START)

    soon = await purged(story, hours=1)
    late = await purged(story, days=14)

    assert (soon.login_links, soon.sessions) == (1, 0)
    assert (late.login_links, late.sessions) == (1, 1)
    async with story.database.transaction() as session:
        assert await users.redeem_login_link(session, token=waiting, now=START) is None
        assert await sessions.read_session(session, token=token, now=START) is None


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_retention_does_not_wait_for_locked_rows(story: Story) -> None:
    await keep_answers(story, 3)

    async with story.database.transaction() as holder:
        await holder.execute(text("SELECT 1 FROM idempotency WHERE key = 'key 1' FOR UPDATE"))
        beside = await asyncio.wait_for(purged(story, hours=24), 5)
    after = await purged(story, hours=24)

    assert (beside.answers, after.answers) == (2, 1)
