"""The report of a source: its numbers are those of a recount, row by row."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import insert, select, text, update

from domain.ids import EventId
from domain.sources.events import sightings_of
from domain.sources.source import Source, SourceKind
from domain.values.timestamps import to_unix_ms
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.deadlines import open_incident
from store.schema.tables import INCIDENTS, RECEIPTS, RESULTS, SOURCE_EVENTS
from store.sources import report as reporting
from store.sources.report import (
    CurrencySum,
    DayReport,
    SourceReport,
    count_day,
    list_gaps,
    sees_more,
    source_report,
)
from store.sources.seen import seen_by
from store.sources.sightings import record_sightings
from store.sources.sources import remove_source
from tests.support.given import START, Story
from tests.support.sources import EXPECTS_STRIPE, add_gap, provider_event, stored_source

TODAY = START.date()


@pytest.fixture
async def source(story: Story, sealer: Sealer) -> Source:
    return await stored_source(story.database, sealer, story.project.id)


async def see(story: Story, source: Source, **changes: Any) -> EventId:
    """The source sees an event now; returns its receipt."""
    event = provider_event(**changes)
    sightings = sightings_of(source, [event])
    await story.do(lambda st, now: record_sightings(st, source, sightings, now))
    async with story.database.reading() as session:
        of_event = select(SOURCE_EVENTS.c.event_id).where(
            SOURCE_EVENTS.c.provider_event_id == event.id
        )
        return EventId(await session.scalar(of_event.limit(1)) or "")


async def read(story: Story, source: Source, day: date = TODAY) -> SourceReport:
    async with story.database.reading() as session:
        return await source_report(session, source, day, story.at)


async def recount(database: Database, source: Source, at: datetime) -> Mapping[str, int]:
    """The report of all days at that instant, counted in Python from the rows themselves."""
    counted: Counter[str] = Counter()
    async with database.reading() as session:

        async def rows(table: Any) -> Sequence[Any]:
            return (await session.execute(select(table))).all()

        receipts = {row.event_id: row for row in await rows(RECEIPTS)}
        with_result = {row.event_id for row in await rows(RESULTS)}
        incidents = {
            row.event_id for row in await rows(INCIDENTS) if row.reason == "missing_receipt"
        }
        seen = [row for row in await rows(SOURCE_EVENTS) if row.source_id == source.id]
    for row in seen:
        receipt = receipts[row.event_id]
        is_undecided = receipt.state in {"expected", "waiting"}
        is_late = receipt.state != "expected" and receipt.deadline_at <= at
        is_awaited = receipt.lacks_receipt and not is_late
        has_result = row.event_id in with_result
        counted["events"] += 1
        counted["receipts"] += not receipt.lacks_receipt
        counted["awaited_receipts"] += is_awaited
        counted["missing_receipts"] += receipt.lacks_receipt and not is_awaited
        counted["results"] += has_result
        counted["awaited_results"] += is_undecided and not has_result
        counted["missing_results"] += not is_undecided and not has_result
        counted["incidents"] += row.event_id in incidents
    return counted


def counts_of(report: DayReport) -> Mapping[str, int]:
    return {name: getattr(report, name) for name in DayReport.__slots__ if name != "day"}


async def lives(story: Story, source: Source) -> None:
    """An event of each kind: awaited, missing, late, received, with a result, and without."""
    missing, late, closed = [await see(story, source) for _ in range(3)]
    received, applied, failed = [await see(story, source) for _ in range(3)]
    for event_id in (received, applied, failed):
        await story.accept(event_id)
    await story.result(applied)
    await story.result(failed, "failed")
    unreceipted = await see(story, source)
    await story.result(unreceipted)
    story.later(minutes=15)
    for event_id in (missing, late, closed):
        await story.do(open_incident, event_id)
    await story.accept(late)
    await see(story, source)


async def test_numbers_of_a_day_are_those_of_a_recount(story: Story, source: Source) -> None:
    await lives(story, source)

    report = (await read(story, source)).counts

    assert report == DayReport(
        day=TODAY,
        events=8,
        receipts=4,
        awaited_receipts=1,
        missing_receipts=3,
        results=3,
        awaited_results=2,
        missing_results=3,
        incidents=3,
    )
    assert counts_of(report) == await recount(story.database, source, story.at)


async def test_receipt_is_awaited_after_its_result_until_the_time_is_over(
    story: Story, source: Source
) -> None:
    await story.result(await see(story, source))
    in_time = await read(story, source)
    story.later(minutes=15)
    too_late = await read(story, source)

    found = [
        (one.counts.awaited_receipts, one.counts.missing_receipts) for one in (in_time, too_late)
    ]
    assert found == [(1, 0), (0, 1)]
    assert [one.amounts[0].missing_receipts > 0 for one in (in_time, too_late)] == [False, True]
    assert in_time.counts.results == too_late.counts.results == 1


async def test_number_of_a_day_is_compared_without_counting_more(
    story: Story, source: Source
) -> None:
    for _ in range(3):
        await see(story, source)

    async with story.database.reading() as session:
        found = [await sees_more(session, source, TODAY, count) for count in (2, 3)]
        other_day = await sees_more(session, source, TODAY - timedelta(days=1), 0)

    assert (found, other_day) == ([True, False], False)


async def test_each_incident_of_a_missing_receipt_is_in_the_report(
    story: Story, source: Source
) -> None:
    await lives(story, source)

    async with story.database.reading() as session:
        stored = await session.execute(
            select(INCIDENTS.c.id).where(INCIDENTS.c.reason == "missing_receipt")
        )
        incidents = len(stored.all())

    assert (await read(story, source)).counts.incidents == incidents == 3


async def test_other_sources_and_receipts_without_one_are_not_counted(
    story: Story, sealer: Sealer, source: Source
) -> None:
    other = await stored_source(story.database, sealer, story.project.id)
    await see(story, other)
    await story.receipt()

    assert set(counts_of((await read(story, source)).counts).values()) == {0}


async def test_event_is_of_its_day_at_the_provider_in_utc(story: Story, sealer: Sealer) -> None:
    source = replace(
        await stored_source(story.database, sealer, story.project.id),
        created_at=START - timedelta(days=40),
    )
    midnight = START.replace(hour=0)
    for at in (
        midnight - timedelta(days=1),
        midnight - timedelta(milliseconds=1),
        midnight,
        midnight + timedelta(days=1) - timedelta(milliseconds=1),
        midnight + timedelta(days=1),
        START - timedelta(days=29),
        START - timedelta(days=30),
    ):
        await see(story, source, occurred_at=at)

    async with story.database.reading() as session:
        last_days = [TODAY - timedelta(days=back) for back in range(29, -1, -1)]
        found = [await count_day(session, source, day, story.at) for day in last_days]

    assert [one.day for one in found] == last_days
    assert [one.events for one in found] == [1, *[0] * 27, 2, 2]
    yesterday = await read(story, source, TODAY - timedelta(days=1))
    assert yesterday.counts == found[-2]


async def test_amounts_are_summed_per_currency_and_once_per_event(
    story: Story, sealer: Sealer
) -> None:
    expects = (EXPECTS_STRIPE, replace(EXPECTS_STRIPE, effect_type="credit_grant"))
    source = await stored_source(story.database, sealer, story.project.id, expects=expects)
    done = await see(story, source, amount=100, currency="USD")
    await see(story, source, amount=7, currency="USD")
    await see(story, source, amount=5_000, currency="JPY")
    await see(story, source, amount=None, currency=None)
    await story.accept(done)
    await story.result(done)
    awaited = (await read(story, source)).amounts
    story.later(minutes=15)
    async with story.database.reading() as session:
        open_ids = (
            await session.scalars(select(RECEIPTS.c.event_id).where(RECEIPTS.c.state == "expected"))
        ).all()
    for event_id in open_ids:
        await story.do(open_incident, EventId(event_id))

    report = await read(story, source)

    assert report.counts.events == 8
    assert awaited == (CurrencySum("JPY", 5_000, 0, 0), CurrencySum("USD", 107, 0, 0))
    # Of the first event, only one of two effects was reported.
    assert report.amounts == (
        CurrencySum("JPY", 5_000, 5_000, 5_000),
        CurrencySum("USD", 107, 107, 107),
    )


async def test_sum_beyond_64_bits_is_exact(story: Story, source: Source) -> None:
    largest = 9 * 10**18
    for _ in range(3):
        await see(story, source)
    async with story.database.transaction() as session:
        await session.execute(update(SOURCE_EVENTS).values(amount=largest))

    (summed,) = (await read(story, source)).amounts

    assert summed == CurrencySum("USD", 3 * largest, 0, 0)


async def test_gaps_of_a_day_are_those_that_overlap_it(story: Story, source: Source) -> None:
    def at(days: float) -> datetime:
        return START.replace(hour=0) + timedelta(days=days)

    spans = [(-3.0, -2.5), (-2.5, -0.5), (-1.0, 0.0), (0.0, 1.0)]
    for from_day, until_day in spans:
        await add_gap(story.database, source, at(from_day), at(until_day))

    report = await read(story, source, TODAY - timedelta(days=1))
    async with story.database.reading() as session:
        listed = await list_gaps(session, source)

    found = [(gap.from_at, gap.until_at) for gap in report.gaps]
    assert found == [(at(-1.0), at(0.0)), (at(-2.5), at(-0.5))]
    assert [gap.from_at for gap in listed] == [at(start) for start, _ in reversed(spans)]


async def test_sources_that_saw_an_event_are_named_in_their_order(
    story: Story, sealer: Sealer, source: Source
) -> None:
    second = await stored_source(
        story.database, sealer, story.project.id, SourceKind.STRIPE_API, name="Liste"
    )
    event = {"id": "evt_both"}
    event_id = await see(story, source, **event)
    story.later(minutes=1)
    await see(story, second, **event)
    async with story.database.transaction() as session:
        await remove_source(session, story.project.id, source.id, story.at)

    async with story.database.reading() as session:
        found = await seen_by(session, event_id)
        assert await seen_by(session, EventId("evt_unknown")) == ()

    assert [(seen.source_id, seen.name, seen.kind, seen.seen_at) for seen in found] == [
        (source.id, "Payments", SourceKind.STRIPE_WEBHOOK, START),
        (second.id, "Liste", SourceKind.STRIPE_API, START + timedelta(minutes=1)),
    ]


async def filled(story: Story, sealer: Sealer, source: Source) -> None:
    """60 days of events that two sources saw, 20 a day, each with its receipt."""
    other = await stored_source(story.database, sealer, story.project.id)
    await see(story, source)
    async with story.database.transaction() as session:
        receipt = dict((await session.execute(select(RECEIPTS))).one()._mapping)
        seen = dict((await session.execute(select(SOURCE_EVENTS))).one()._mapping)
        del seen["id"]
        receipts, events = [], []
        for number in range(1_200):
            ids = {"event_id": f"evt_{number}", "provider_event_id": f"evt_many_{number}"}
            at = START - timedelta(days=number % 60)
            receipts.append({**receipt, **ids})
            for one in (source, other):
                events.append({**seen, **ids, "source_id": one.id, "occurred_at": at})
        await session.execute(insert(RECEIPTS), receipts)
        await session.execute(insert(SOURCE_EVENTS), events)
    async with story.database.transaction() as session:
        await session.execute(text("ANALYZE"))


async def test_report_reads_the_rows_of_its_span_by_an_index(
    story: Story, sealer: Sealer, source: Source
) -> None:
    await filled(story, sealer, source)
    since, until = to_unix_ms(START.replace(hour=0)), to_unix_ms(START.replace(hour=23))
    explain = "EXPLAIN QUERY PLAN" if story.database.dialect == "sqlite" else "EXPLAIN"
    async with story.database.transaction() as session:
        st = SessionStatements(session)
        if st.dialect == "postgresql":  # the tables are too small for its indexes
            await st.fetch("SET LOCAL enable_seqscan = off")
        plans = [
            str(await st.fetch(f"{explain} {sql}", source.id, since, until, since))
            for sql in (reporting._COUNT, reporting._SUM, reporting._SEES_MORE)
        ]

    assert [plan for plan in plans if "source_events_by_time" not in plan] == []
    assert [plan for plan in plans if re.search(r"SCAN (e|r)\b", plan)] == []
