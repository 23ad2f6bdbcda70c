"""Counts of days: each fact once, equal to a recount in SQL, whoever counts and however often."""

from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from domain.lifecycle import LifecycleState
from domain.overview.counts import DAY, day_of
from domain.overview.durations import bucket_of
from domain.overview.summary import Counts, Overview
from domain.receipts import EffectType
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.overview import counting, figures
from store.overview.counting import count_batch, projects_to_count
from store.overview.figures import read_overview
from store.receipts.operator_actions import reopen, resolve_manually
from store.schema.tables import OF_COUNTS
from tests.store.alerts.test_claims import other_project
from tests.store.explained import faults_of, noted, plan_of
from tests.store.projects.delete_project import delete, rows_left
from tests.support.given import OPERATOR, Story

MINUTE = timedelta(minutes=1)
# What a person would ask the database. Every fact of these tests is of the last 30 days.
RECOUNT = {
    "accepted": "SELECT accepted_at, currency, amount FROM receipts WHERE NOT lacks_receipt",
    "applied": "SELECT ended_at, currency, amount FROM receipts WHERE state = 'applied'",
    "late": "SELECT resolved_at, currency, amount FROM incidents"
    " WHERE resolution IN ('late_result', 'already_applied')",
    "repaired": "SELECT resolved_at, currency, amount FROM incidents WHERE resolution = 'repaired'",
    "closed": "SELECT resolved_at, currency, amount FROM incidents WHERE resolution = 'manual'",
    "opened": "SELECT opened_at, currency, amount FROM incidents",
}


async def live_a_month(story: Story) -> None:
    """Receipts in every state on several days, with amounts of two currencies, and without."""
    story.at = day_of(story.at) - 20 * DAY + 50 * MINUTE
    for number in range(4):
        for state in LifecycleState:
            event_id, _ = await story.reach(state)
            await give_amount(story, event_id, number)
        late, _ = await story.opened(effect_type=EffectType.CREDIT_GRANT)
        story.later(minutes=7)
        await story.result(late)
        found, _ = await story.opened()
        await story.result(found, already_applied=True)
        story.later(hours=31)


async def give_amount(story: Story, event_id: str, number: int) -> None:
    """An amount, as if the receipt had come with it."""
    amount, currency = [(10**15, "EUR"), (999, "JPY"), (None, None)][number % 3]
    for table in ("receipts", "incidents"):
        sql = f"UPDATE {table} SET amount = :amount, currency = :currency WHERE event_id = :id"
        async with story.database.transaction() as session:
            await session.execute(
                text(sql), {"amount": amount, "currency": currency, "id": event_id}
            )


async def count_all(database: Database, now: datetime) -> int:
    """Count all projects to their end; returns the number of batches."""
    batches, after = 0, None
    while True:
        async with database.reading() as session:
            page = await projects_to_count(session, now, after=after, limit=1)
        for project_id in page.behind:
            has_more = True
            while has_more:
                async with database.transaction() as session:
                    has_more = await count_batch(session, project_id, now)
                batches += 1
        if (after := page.last) is None:
            return batches


async def overview_of(story: Story, now: datetime) -> Overview:
    async with story.database.reading() as session:
        return await read_overview(session, [story.project.id], now)


async def recount(database: Database) -> dict[datetime, Counts]:
    days: dict[datetime, Counter[str]] = {}
    async with database.reading() as session:
        for outcome, sql in RECOUNT.items():
            for at_ms, _, _ in await session.execute(text(sql)):
                day = day_of(datetime.fromtimestamp(at_ms / 1000, UTC))
                days.setdefault(day, Counter())[outcome] += 1
    return {day: Counts.of(counts) for day, counts in days.items()}


async def recounted_amounts(database: Database) -> dict[str, dict[str, int]]:
    sums: dict[str, Counter[str]] = {}
    async with database.reading() as session:
        for outcome, sql in RECOUNT.items():
            for _, currency, amount in await session.execute(text(sql)):
                if currency:
                    sums.setdefault(currency, Counter())[outcome] += amount
    return {currency: dict(found) for currency, found in sums.items()}


def counted_days(overview: Overview) -> dict[datetime, Counts]:
    return {one.day: one.counts for one in overview.days if one.counts != Counts()}


@pytest.mark.parametrize("batch", [3, 500])
async def test_counts_equal_a_recount(
    story: Story, database: Database, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(counting, "BATCH", batch)
    await live_a_month(story)
    before = await overview_of(story, story.at)

    await count_all(database, story.at)
    overview = await overview_of(story, story.at)

    assert counted_days(overview) == await recount(database)
    amounts = {
        one.currency: {name: value for name in RECOUNT if (value := getattr(one.amounts, name))}
        for one in overview.currencies
    }
    assert amounts == await recounted_amounts(database)
    assert amounts["EUR"]["accepted"] == 2 * 7 * 10**15  # an expected event is no receipt
    # What is not counted yet is read from the receipts: nobody sees a difference.
    assert overview == before
    assert await count_all(database, story.at) == 0


async def test_durations_and_what_is_open(story: Story, database: Database) -> None:
    story.at = day_of(story.at) - 3 * DAY
    oldest, _ = await story.opened()
    late, _ = await story.opened()
    story.later(minutes=10)
    await story.result(late)
    applied = await story.receipt()
    story.later(seconds=4)
    await story.result(applied)
    story.later(days=1)
    await count_all(database, story.at)

    overview = await overview_of(story, story.at)

    assert overview.durations == {
        ("apply", "access_unlock"): {bucket_of(4): 1, bucket_of(2_400): 1},
        ("detect", "access_unlock"): {bucket_of(1_800): 2},
        ("recover", "access_unlock"): {bucket_of(600): 1},
    }
    assert (overview.open, overview.repairing, overview.oldest_event_id) == (1, 0, oldest)
    assert overview.oldest_open_at == day_of(story.at) - DAY + 30 * MINUTE


async def test_fact_of_the_last_minute_is_counted_once(story: Story, database: Database) -> None:
    now = story.at
    await story.result(await story.receipt())

    assert await count_all(database, now + 59 * timedelta(seconds=1)) == 0
    assert (await overview_of(story, now)).today == Counts(accepted=1, applied=1)
    assert await count_all(database, now + 2 * MINUTE) == 1
    assert (await overview_of(story, now + 2 * MINUTE)).today == Counts(accepted=1, applied=1)


async def test_receipt_of_an_expected_event_counts_when_it_comes(
    story: Story, database: Database
) -> None:
    event_id = await story.expected()
    story.later(minutes=5)
    await count_all(database, story.at)
    assert (await overview_of(story, story.at)).total == Counts()

    await story.accept(event_id)
    story.later(minutes=5)
    await count_all(database, story.at)

    assert (await overview_of(story, story.at)).total == Counts(accepted=1)


async def test_each_end_of_a_reopened_incident_counts(story: Story, database: Database) -> None:
    event_id, incident_id = await story.opened()
    by_hand = {"reason": "refunded", "requested_by": OPERATOR}
    await story.do(resolve_manually, incident_id, **by_hand)
    story.later(minutes=5)
    await count_all(database, story.at)
    await story.do(reopen, incident_id, **by_hand)
    story.later(minutes=5)
    await story.result(event_id)
    story.later(minutes=5)
    await count_all(database, story.at)

    total = (await overview_of(story, story.at)).total

    assert total == Counts(accepted=1, opened=1, closed=1, late=1)


async def test_page_says_until_when_it_counted(
    story: Story, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    await story.receipts(2)
    story.later(minutes=5)
    await count_all(database, story.at)
    counted_until = story.at - 5 * MINUTE
    await story.receipts(4)
    monkeypatch.setattr(figures, "MOST_UNCOUNTED", 3)

    overview = await overview_of(story, story.at)

    assert overview.total == Counts(accepted=2)
    assert overview.counted_until is not None
    assert overview.counted_until <= counted_until


async def test_endless_names_have_a_bounded_number_of_rows(
    story: Story, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(counting, "MOST_KEYS_OF_A_DAY", 3)
    monkeypatch.setattr(counting, "MOST_TYPES_OF_AN_HOUR", 2)
    names: dict[str, Any]
    for number in range(7):
        names = {"effect_type": f"effect_{number}", "event_type": f"type_{number}"}
        await story.receipt(provider=f"provider_{number}", **names)
    story.later(minutes=5)

    await count_all(database, story.at)

    async with database.reading() as session:
        counts = text("SELECT effect_type, receipts FROM day_counts ORDER BY effect_type")
        hours = text("SELECT event_type, receipts FROM receipt_hours ORDER BY event_type")
        found = [tuple(row) for row in await session.execute(counts)]
        of_hour = [tuple(row) for row in await session.execute(hours)]
    assert found == [("effect_0", 1), ("effect_1", 1), ("effect_2", 1), ("other", 4)]
    assert of_hour == [("other", 5), ("type_0", 1), ("type_1", 1)]
    assert (await overview_of(story, story.at)).total == Counts(accepted=7)


async def test_projects_are_counted_apart(story: Story, sealer: Sealer, database: Database) -> None:
    other = await other_project(story, sealer, "second")
    await story.receipts(2)
    await other.receipts(3)
    story.later(minutes=5)
    await count_all(database, story.at)

    own = await overview_of(story, story.at)
    async with database.reading() as session:
        both = await read_overview(session, [story.project.id, other.project.id], story.at)

    assert (own.total.accepted, both.total.accepted) == (2, 5)


async def test_deletion_of_a_project_deletes_its_counts(story: Story, database: Database) -> None:
    await story.result(await story.receipt())
    story.later(minutes=5)
    await count_all(database, story.at)

    await delete(story)
    async with database.transaction() as session:
        has_more = await count_batch(session, story.project.id, story.at)

    left = await rows_left(story, story.project.id, [])
    assert {name: left[name] for name in (table.name for table in OF_COUNTS)} == {
        table.name: 0 for table in OF_COUNTS
    }
    assert not has_more


async def test_nothing_is_read_to_its_end(story: Story, sealer: Sealer, database: Database) -> None:
    other = await other_project(story, sealer, "second")
    for each in (story, other):
        for event_id in (await each.receipts(300))[:20]:
            await each.result(event_id)
        await each.opened()
    if database.dialect == "postgresql":
        async with database.transaction() as session:
            await session.execute(text("ANALYZE"))

    async with database.reading() as session:
        with noted(session) as read:
            await read_overview(session, [story.project.id, other.project.id], story.at)
            await projects_to_count(session, story.at + 5 * MINUTE, after=None, limit=10)
        plans = {sql: await plan_of(session, sql, values) for sql, values in read}
    async with database.transaction() as session:
        with noted(session) as counted:
            await count_batch(session, story.project.id, story.at + 5 * MINUTE)
        plans |= {
            sql: await plan_of(session, sql, values)
            for sql, values in counted
            if sql.lstrip().startswith("SELECT")
        }

    assert len(read) <= 12
    # Sorted are days, kinds and a page of projects, never receipts.
    faults = {
        sql: faults_of(plan, sql, may_sort="day_counts" in sql or "FROM projects" in sql)
        for sql, plan in plans.items()
    }
    assert {sql: found for sql, found in faults.items() if found} == {}
