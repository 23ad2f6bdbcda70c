"""Equal results that change nothing are counted; the timeline of an event is read a page at a time,
however long it is.
"""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import insert

from domain.errors import ValidationFailed
from domain.ids import EventId
from domain.incidents import TimelineEntry
from domain.lifecycle import LifecycleState
from domain.projects import ProjectChanges
from domain.receipts import Receipt, ReceiptState
from domain.results import LateResult
from store.projects.projects import change_project
from store.receipts import queries as reading
from store.receipts.timeline import TimelinePage, read_timeline
from store.schema.tables import RESULTS, TIMELINE
from tests.support.given import Story


async def entries(story: Story, event_id: EventId, kind: str) -> list[TimelineEntry]:
    async with story.database.reading() as session:
        found = await reading.read_event(session, None, event_id)
    assert found is not None
    return [entry for entry in found.timeline if entry.kind == kind]


async def receipt_of(story: Story, event_id: EventId) -> Receipt:
    async with story.database.reading() as session:
        row = await reading.read_event_row(session, None, event_id)
    assert row is not None
    return row.receipt


async def page(
    story: Story, event_id: EventId, limit: int, cursor: str | None = None
) -> TimelinePage:
    receipt = await receipt_of(story, event_id)
    async with story.database.reading() as session:
        return await read_timeline(session, receipt, limit=limit, cursor=cursor)


async def whole(story: Story, event_id: EventId, limit: int) -> list[TimelineEntry]:
    """Every entry, oldest first, read from the newest page on."""
    found: list[TimelineEntry] = []
    cursor: str | None = None
    while True:
        read = await page(story, event_id, limit, cursor)
        assert len(read.entries) <= limit
        found = [*read.entries, *found]
        if (cursor := read.next_cursor) is None:
            return found


async def test_equal_failures_of_an_open_incident_are_one_row_with_a_count(story: Story) -> None:
    event_id = await story.receipt()
    failed = {"error_code": "seat_limit", "error_message": "No seat was free."}

    for _ in range(1_000):
        story.later(seconds=1)
        applied = await story.result(event_id, "failed", **failed)

    assert applied.state is ReceiptState.INCIDENT
    (received,) = await entries(story, event_id, "result_received")
    assert received.fields["repeats"] == 999
    assert received.fields["repeated_at"] == datetime(2026, 11, 23, 12, 16, 40, tzinfo=UTC)
    assert await story.timeline(event_id) == ["incident_opened"]
    assert Counter(kind for kind, _ in await story.outbox(event_id))["result"] == 1


@pytest.mark.parametrize(
    "other", [{"error_code": "b"}, {"error_message": "b"}, {"error_code": None}], ids=repr
)
async def test_another_failure_is_no_repeat(story: Story, other: dict[str, str | None]) -> None:
    event_id = await story.receipt()
    said = {"error_code": "a", "error_message": "a"}
    await story.result(event_id, "failed", **said)

    await story.result(event_id, "failed", **said | other)

    assert [
        entry.fields.get("repeats") for entry in await entries(story, event_id, "result_received")
    ] == [None, None]
    assert (await story.timeline(event_id))[-1] == "noted"


async def test_failure_of_the_active_repair_counts_although_an_equal_one_came_before(
    story: Story,
) -> None:
    event_id, replay_id = await story.awaiting_result()

    first = await story.result(event_id, "failed", replay_id=replay_id)
    second = await story.result(event_id, "failed", replay_id=replay_id)

    assert (first.state, second.state) == (ReceiptState.INCIDENT, ReceiptState.INCIDENT)
    assert (await story.snapshot(event_id)).position is LifecycleState.OPEN
    assert (await story.timeline(event_id)).count("repair_failed") == 1
    (received,) = [
        entry
        for entry in await entries(story, event_id, "result_received")
        if "replay_id" in entry.fields
    ]
    assert received.fields["repeats"] == 1


async def test_success_that_was_noted_resolves_once_the_project_wants_that(story: Story) -> None:
    event_id, _ = await story.opened()
    async with story.database.transaction() as session:
        await change_project(
            session, story.project.id, changes=ProjectChanges(late_result=LateResult.NOTE)
        )
    noted = [await story.result(event_id) for _ in range(3)]
    async with story.database.transaction() as session:
        await change_project(
            session, story.project.id, changes=ProjectChanges(late_result=LateResult.RESOLVE)
        )

    resolved = await story.result(event_id)

    assert [one.state for one in (*noted, resolved)] == [ReceiptState.INCIDENT] * 3 + [
        ReceiptState.RECOVERED
    ]


async def test_rows_from_before_digests_were_kept_are_repeated_too(story: Story) -> None:
    event_id = await story.receipt()
    await story.result(event_id, "failed", error_code="a")
    async with story.database.transaction() as session:
        await session.execute(RESULTS.update().values(digest=""))

    await story.result(event_id, "failed", error_code="a")

    (received,) = await entries(story, event_id, "result_received")
    assert received.fields["repeats"] == 1


@pytest.mark.parametrize("limit", [1, 2, 3, 7, 100])
async def test_pages_of_a_timeline_join_to_the_whole(story: Story, limit: int) -> None:
    event_id, _ = await story.reach(LifecycleState.RECOVERED)
    for number in range(6):
        story.later(seconds=1)
        await story.result(event_id, "failed", error_code=f"late {number}")

    entries = await whole(story, event_id, limit)

    assert entries == await whole(story, event_id, 1_000)
    assert [entry.kind for entry in entries][:3] == [
        "receipt_accepted",
        "deadline_passed",
        "incident_opened",
    ]
    assert Counter(entry.kind for entry in entries)["result_received"] == 7
    assert [entry.at for entry in entries] == sorted(entry.at for entry in entries)


async def test_entries_of_one_millisecond_are_on_one_page_each(story: Story) -> None:
    event_id, _ = await story.opened()
    for number in range(20):
        await story.result(event_id, "failed", error_code=f"{number}")

    paged, at_once = [
        [(entry.kind, entry.fields) for entry in await whole(story, event_id, limit)]
        for limit in (3, 1_000)
    ]

    assert sorted(paged, key=repr) == sorted(at_once, key=repr)
    assert len(paged) == 1 + 2 + 40  # accepted; passed and opened; each result and its note


async def test_page_of_an_event_with_twenty_thousand_entries_is_bounded(story: Story) -> None:
    event_id, _ = await story.opened()
    last_at = (await receipt_of(story, event_id)).deadline_at + timedelta(hours=1)
    fields = '{"text":"' + "x" * 300 + '"}'
    rows = [
        {
            "event_id": event_id,
            "at": last_at + timedelta(milliseconds=number),
            "kind": "noted",
            "fields": fields,
        }
        for number in range(20_000)
    ]
    async with story.database.transaction() as session:
        await session.execute(insert(TIMELINE), rows)

    newest = await page(story, event_id, 100)
    older = await page(story, event_id, 100, newest.next_cursor)

    assert [entry.at for entry in newest.entries] == [row["at"] for row in rows[-100:]]
    assert [entry.at for entry in older.entries] == [row["at"] for row in rows[-200:-100]]


@pytest.mark.parametrize("cursor", ["", "x", "fHx8", "ZXZ0XzE", "é", "fA", "LTF8fA"], ids=repr)
async def test_cursor_of_something_else_is_refused(story: Story, cursor: str) -> None:
    event_id = await story.receipt()

    with pytest.raises(ValidationFailed):
        await page(story, event_id, 10, cursor)
