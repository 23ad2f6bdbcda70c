"""What a source saw: one receipt of each event, one row of each source, whatever comes twice."""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from domain.projects import CreatedProject
from domain.sources.changes import SourceChanges
from domain.sources.events import ProviderEvent, sightings_of
from domain.sources.source import Source, SourceKind
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.schema.tables import RECEIPTS, SOURCE_EVENTS, SOURCES
from store.sources.sightings import Recorded, record_received, record_sightings, record_sightings_of
from store.sources.sources import change_source, read_source, remove_source
from tests.support.given import START, Story
from tests.support.sources import EXPECTS_STRIPE, provider_event, stored_source


@pytest.fixture
async def source(database: Database, sealer: Sealer, project: CreatedProject) -> Source:
    return await stored_source(database, sealer, project.project.id)


async def see(
    database: Database, source: Source, *events: ProviderEvent, now: datetime = START
) -> Recorded:
    async with database.transaction() as session:
        st = SessionStatements(session)
        return await record_sightings(st, source, sightings_of(source, events), now)


async def seen(database: Database) -> Sequence[Any]:
    async with database.reading() as session:
        rows = await session.execute(select(SOURCE_EVENTS).order_by(SOURCE_EVENTS.c.id))
        return rows.all()


async def receipts(database: Database) -> Sequence[Any]:
    async with database.reading() as session:
        return (await session.execute(select(RECEIPTS))).all()


async def reread(database: Database, source: Source) -> Source:
    async with database.reading() as session:
        return await read_source(session, source.project_id, source.id)


async def test_event_is_an_expected_receipt_and_a_row_of_the_source(
    database: Database, source: Source
) -> None:
    event = provider_event()

    recorded = await see(database, source, event)

    assert recorded == Recorded(new=1)
    (receipt,), (row,) = await receipts(database), await seen(database)
    assert (receipt.state, receipt.provider_event_id) == ("expected", event.id)
    assert (row.source_id, row.project_id) == (source.id, source.project_id)
    assert (row.event_id, row.provider_event_id) == (receipt.event_id, event.id)
    assert (row.event_type, row.effect_type) == ("invoice.paid", "access_unlock")
    assert (row.occurred_at, row.seen_at) == (event.occurred_at, START)
    assert (row.amount, row.currency) == (4_900, "USD")
    assert (await reread(database, source)).last_event_at == START


async def test_event_seen_again_changes_nothing(database: Database, source: Source) -> None:
    event, other = provider_event(), provider_event()
    await see(database, source, event)

    again = await see(database, source, event, other, event, now=START + timedelta(minutes=1))

    assert again == Recorded(new=1)
    assert [row.seen_at for row in await seen(database)] == [START, START + timedelta(minutes=1)]
    assert len(await receipts(database)) == 2


async def test_two_sources_see_one_event(
    database: Database, sealer: Sealer, source: Source
) -> None:
    second = await stored_source(database, sealer, source.project_id, SourceKind.STRIPE_API)
    event = provider_event()

    recorded = [await see(database, one, event) for one in (source, second)]

    assert recorded == [Recorded(new=1)] * 2
    (receipt,), rows = await receipts(database), await seen(database)
    assert receipt.source_id == source.id
    assert [(row.source_id, row.event_id) for row in rows] == [
        (source.id, receipt.event_id),
        (second.id, receipt.event_id),
    ]


async def test_sources_of_one_transaction_are_recorded_together(
    database: Database, sealer: Sealer, source: Source
) -> None:
    second = await stored_source(database, sealer, source.project_id)
    shared, own = provider_event(), provider_event()
    seen_by = {
        second.id: sightings_of(second, [shared, own]),
        source.id: sightings_of(source, [shared]),
    }

    async with database.transaction() as session:
        recorded = await record_sightings_of(SessionStatements(session), seen_by, START)

    assert recorded == Recorded(new=3)
    assert len(await receipts(database)) == 2
    assert sorted(row.source_id for row in await seen(database)) == [source.id, *[second.id] * 2]


async def test_each_effect_of_an_event_is_a_row(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    expects = (EXPECTS_STRIPE, replace(EXPECTS_STRIPE, effect_type="credit_grant"))
    source = await stored_source(database, sealer, project.project.id, expects=expects)

    recorded = await see(database, source, provider_event())

    assert recorded == Recorded(new=2)
    assert [row.effect_type for row in await seen(database)] == ["access_unlock", "credit_grant"]


async def test_event_of_a_receipt_is_a_row_beside_it(story: Story, sealer: Sealer) -> None:
    source = await stored_source(story.database, sealer, story.project.id)
    event_id = await story.receipt()
    (stored,) = await story.rows("receipts", event_id)

    await see(story.database, source, provider_event(id=stored["provider_event_id"]))

    assert [row.event_id for row in await seen(story.database)] == [event_id]
    assert [row.state for row in await receipts(story.database)] == ["waiting"]


async def test_event_from_before_its_expectation_was_added_makes_nothing_of_it(
    database: Database, sealer: Sealer, source: Source
) -> None:
    added = replace(EXPECTS_STRIPE, effect_type="credit_grant")
    async with database.transaction() as session:
        changed = await change_source(
            session,
            sealer,
            project_id=source.project_id,
            source_id=source.id,
            changes=SourceChanges(expects=(EXPECTS_STRIPE, added)),
            now=START,
        )
    before = provider_event(occurred_at=START - timedelta(seconds=1))
    after = provider_event(occurred_at=START)

    await see(database, changed, before, after)

    assert sorted((row.provider_event_id, row.effect_type) for row in await receipts(database)) == [
        (before.id, "access_unlock"),
        (after.id, "access_unlock"),
        (after.id, "credit_grant"),
    ]


async def test_the_same_events_in_many_transactions_at_once_are_stored_once(
    database: Database, sealer: Sealer, source: Source
) -> None:
    second = await stored_source(database, sealer, source.project_id)
    events = [provider_event() for _ in range(20)]

    async def record(first: Source, then: Source, order: Sequence[ProviderEvent]) -> Recorded:
        both = {one.id: sightings_of(one, order) for one in (first, then)}
        async with database.transaction() as session:
            return await record_sightings_of(SessionStatements(session), both, START)

    recorded = await asyncio.gather(
        *(record(source, second, events) for _ in range(4)),
        *(record(second, source, events[::-1]) for _ in range(4)),
    )

    assert sum(one.new for one in recorded) == 40
    assert len(await seen(database)) == 40
    assert len(await receipts(database)) == 20


async def test_source_that_received_an_event_is_not_silent(
    database: Database, source: Source
) -> None:
    silence = {"silent_since": START, "alerted_at": START, "last_event_at": START}
    async with database.transaction() as session:
        await session.execute(update(SOURCES).values(silence))

    await see(database, source, provider_event())

    async with database.reading() as session:
        columns = (SOURCES.c.silent_since, SOURCES.c.alerted_at, SOURCES.c.last_event_at)
        assert (await session.execute(select(*columns))).one() == (None, None, START)


async def test_event_that_is_listed_again_is_not_received_again(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    listed, called = [
        await stored_source(database, sealer, project.project.id, kind)
        for kind in (SourceKind.STRIPE_API, SourceKind.STRIPE_WEBHOOK)
    ]
    old, later = provider_event(), START + timedelta(minutes=30)
    for source in (listed, called):
        await see(database, source, old)

    for source in (listed, called):
        await see(database, source, old, now=later)

    assert (await reread(database, listed)).last_event_at == START
    assert (await reread(database, called)).last_event_at == later
    await see(database, listed, old, provider_event(), now=later)
    assert (await reread(database, listed)).last_event_at == later


async def test_alert_about_a_problem_is_not_forgotten_by_an_event(
    database: Database, source: Source
) -> None:
    async with database.transaction() as session:
        await session.execute(update(SOURCES).values(problem="throttled", alerted_at=START))

    await see(database, source, provider_event())

    async with database.reading() as session:
        assert await session.scalar(select(SOURCES.c.alerted_at)) == START


async def test_last_event_goes_forward_only_and_is_written_seldom(
    database: Database, source: Source
) -> None:
    last_events = []
    for seconds in (0, 9, 10, -60):
        async with database.transaction() as session:
            await record_received(
                SessionStatements(session),
                [source.id],
                START + timedelta(seconds=seconds),
                every=timedelta(seconds=10),
            )
        last_events.append((await reread(database, source)).last_event_at)

    then = START + timedelta(seconds=10)
    assert last_events == [START, START, then, then]


async def test_nothing_seen_is_nothing_received(database: Database, source: Source) -> None:
    assert await see(database, source) == Recorded(new=0)
    assert (await reread(database, source)).last_event_at is None


async def test_removed_source_records_nothing(database: Database, source: Source) -> None:
    async with database.transaction() as session:
        await remove_source(session, source.project_id, source.id, START)

    assert await see(database, source, provider_event()) == Recorded(new=0)
    assert (len(await receipts(database)), len(await seen(database))) == (0, 0)


async def test_removal_waits_for_sightings_that_are_being_stored(
    database: Database, source: Source
) -> None:
    async def remove() -> None:
        async with database.transaction() as session:
            await remove_source(session, source.project_id, source.id, START)

    async with database.transaction() as session:
        st = SessionStatements(session)
        removal = asyncio.ensure_future(remove())
        recorded = await record_sightings(
            st, source, sightings_of(source, [provider_event()]), START
        )
    await removal

    after = await see(database, source, provider_event())
    assert (recorded, after) == (Recorded(new=1), Recorded(new=0))


@pytest.mark.parametrize(
    "worst", ["", "a\0b", "\ud800", "x" * 256], ids=["empty", "nul", "surrogate", "long"]
)
async def test_event_whose_id_no_receipt_can_have_is_left_out(
    database: Database, source: Source, worst: str
) -> None:
    good = provider_event()

    recorded = await see(database, source, provider_event(id=worst), good)

    assert recorded == Recorded(new=1)
    assert [row.provider_event_id for row in await seen(database)] == [good.id]


@pytest.mark.parametrize(
    ("amount", "currency", "stored"),
    [
        (0, "usd", (0, "USD")),
        (10**15, "JPY", (10**15, "JPY")),
        (10**15 + 1, "USD", (None, None)),
        (10**40, "USD", (None, None)),
        (-1, "USD", (None, None)),
        (5, None, (None, None)),
        (None, "USD", (None, None)),
        (5, "U\0D", (None, None)),
        (5, "ÜSD", (None, None)),
        (5, "EURO", (None, None)),
    ],
)
async def test_amount_is_stored_with_its_currency_or_not_at_all(
    database: Database,
    source: Source,
    amount: int | None,
    currency: str | None,
    stored: tuple[int | None, str | None],
) -> None:
    await see(database, source, provider_event(amount=amount, currency=currency))

    (row,) = await seen(database)
    assert (row.amount, row.currency) == stored


async def test_worst_texts_and_instants_of_an_event_are_stored(
    database: Database, source: Source
) -> None:
    event = provider_event(
        id="'\"\\;--é😀",
        references={None: "a\0b\ud800" * 300},
        occurred_at=datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC),
    )

    assert await see(database, source, event) == Recorded(new=1)

    (receipt,), (row,) = await receipts(database), await seen(database)
    assert row.provider_event_id == receipt.provider_event_id == event.id
    assert row.occurred_at == event.occurred_at
    assert len(receipt.internal_reference) == 255
