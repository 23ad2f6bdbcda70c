"""What pages and lists show: whole events, pages in order, filters, counts, what is overdue."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.errors import ValidationFailed
from domain.ids import EventId, IncidentId, ProjectId
from domain.incidents import IncidentState, RepairCause, RepairState, Resolution
from domain.lifecycle import LifecycleState
from domain.receipts import EffectType, EventType, Provider, ReceiptState
from store.db.paging import Page
from store.receipts import queries as reading
from store.receipts.queries import Counts, EventFull, EventRow, IncidentRow, ListFilters
from store.receipts.reconcile.queries import open_receipts
from tests.support.given import START, Story


async def events(
    story: Story, *, limit: int = 100, cursor: str | None = None, **filters: Any
) -> Page[EventRow]:
    async with story.database.reading() as session:
        return await reading.list_events(
            session, ListFilters(**{"project_id": None, **filters}), limit=limit, cursor=cursor
        )


async def incidents(
    story: Story, *, limit: int = 100, cursor: str | None = None, **filters: Any
) -> Page[IncidentRow]:
    async with story.database.reading() as session:
        return await reading.list_incidents(
            session, ListFilters(**{"project_id": None, **filters}), limit=limit, cursor=cursor
        )


async def event(story: Story, event_id: EventId) -> EventFull:
    async with story.database.reading() as session:
        found = await reading.read_event(session, story.project.id, event_id)
    assert found is not None
    return found


def ids(page: Page[EventRow]) -> list[EventId]:
    return [row.receipt.event_id for row in page.rows]


async def test_a_waiting_event_is_its_receipt_alone(story: Story) -> None:
    event_id = await story.receipt()

    found = await event(story, event_id)

    assert (found.receipt.state, found.incident, found.repairs) == (ReceiptState.WAITING, None, ())
    assert found.receipt.deadline_at == found.receipt.timeout_at == START + timedelta(minutes=30)
    assert [entry.kind for entry in found.timeline] == ["receipt_accepted"]
    assert found.timeline[0].fields == {
        "timeout_at": START + timedelta(minutes=30),
        "request_id": found.receipt.request_id,
    }


async def test_timeline_of_a_recovered_receipt_has_every_step_in_order(story: Story) -> None:
    event_id, replay_id = await story.reach(LifecycleState.RECOVERED)

    found = await event(story, event_id)

    opening = ["receipt_accepted", "deadline_passed", "incident_opened"]
    repair = ["reprocess_requested", "attempt", "result_received", "incident_resolved"]
    assert [entry.kind for entry in found.timeline] == opening + repair
    assert found.incident is not None
    assert (found.incident.resolution, found.incident.resolving_replay_id) == (
        Resolution.REPAIRED,
        replay_id,
    )
    assert [(repair.replay_id, repair.state) for repair in found.repairs] == [
        (replay_id, RepairState.SUCCEEDED)
    ]
    assert [(attempt.number, attempt.status) for attempt in found.repairs[0].attempts] == [(1, 200)]
    attempt = next(entry for entry in found.timeline if entry.kind == "attempt")
    assert attempt.fields == {
        "replay_id": replay_id,
        "number": 1,
        "status": 200,
        "duration_ms": 12,
        "error_class": None,
    }


async def test_timeline_entry_of_a_result_has_its_contents(story: Story) -> None:
    event_id = await story.receipt()
    await story.result(event_id, "failed", error_code="no_seat", error_message="None left")

    found = await event(story, event_id)

    received = next(entry for entry in found.timeline if entry.kind == "result_received")
    assert received.fields == {
        "status": "failed",
        "error_code": "no_seat",
        "error_message": "None left",
        "request_id": "req_result",
    }
    assert [entry.kind for entry in found.timeline] == [
        "receipt_accepted",
        "result_received",
        "incident_opened",
    ]


async def test_a_failed_repair_names_its_cause_and_the_active_one_is_known(story: Story) -> None:
    rejected, _ = await story.reach(LifecycleState.OPEN)
    calling, replay_id = await story.reach(LifecycleState.CALLING)

    failed, active = await event(story, rejected), await event(story, calling)

    assert failed.repairs[0].cause is RepairCause.REJECTED
    assert failed.incident is not None
    assert failed.incident.active_replay_id is None
    assert active.incident is not None
    assert (active.incident.state, active.incident.active_replay_id) == (
        IncidentState.REPAIRING,
        replay_id,
    )


async def test_another_projects_things_are_not_there(story: Story) -> None:
    event_id, incident_id = await story.opened()
    other = ProjectId("prj_other")

    async with story.database.reading() as session:
        assert await reading.read_event(session, other, event_id) is None
        assert await reading.read_incident(session, other, incident_id) is None
        assert await reading.read_event(session, None, EventId("evt_none")) is None
        assert await reading.read_incident(session, None, IncidentId("inc_none")) is None
        assert await reading.read_event(session, None, event_id) is not None
        found = await reading.read_incident(session, None, incident_id)
    assert found is not None
    assert (found.incident.id, found.receipt.event_id) == (incident_id, event_id)
    assert (
        (await events(story, project_id=other)).rows
        == (await incidents(story, project_id=other)).rows
        == ()
    )


async def test_pages_hold_every_event_once_newest_first(story: Story) -> None:
    made = [await story.receipt() for _ in range(7)]

    seen: list[EventId] = []
    cursor: str | None = None
    sizes = []
    while True:
        page = await events(story, limit=3, cursor=cursor)
        seen += ids(page)
        sizes.append(len(page.rows))
        await story.receipt()  # what comes meanwhile does not move the pages
        cursor = page.next_cursor
        if cursor is None:
            break

    assert (seen, sizes) == (made[::-1], [3, 3, 1])


async def test_a_page_that_is_just_full_is_the_last(story: Story) -> None:
    for _ in range(2):
        await story.opened()

    assert (await events(story, limit=2)).next_cursor is None
    assert (await incidents(story, limit=2)).next_cursor is None


async def test_pages_of_incidents_go_on_where_they_ended(story: Story) -> None:
    made = [(await story.opened())[1] for _ in range(3)]

    first = await incidents(story, limit=2)
    second = await incidents(story, limit=2, cursor=first.next_cursor)

    assert [row.incident.id for row in (*first.rows, *second.rows)] == made[::-1]
    assert all(row.receipt.event_id == row.incident.event_id for row in first.rows)


@pytest.mark.parametrize("cursor", ["", "x", "é", "ZXZ0XzEy", "' OR 1=1", "A" * 5_000])
async def test_a_made_up_cursor_is_refused(story: Story, cursor: str) -> None:
    with pytest.raises(ValidationFailed) as refused:
        await events(story, cursor=cursor)

    assert [error.pointer for error in refused.value.errors] == ["/cursor"]


async def test_each_filter_narrows_the_list(story: Story) -> None:
    shopify = await story.receipt(
        provider=Provider.SHOPIFY,
        provider_event_id="820982911946154508",
        stripe_event_id=None,
        event_type=EventType.ORDERS_PAID,
        effect_type=EffectType.CREDIT_GRANT,
        internal_reference="Order_100%",
        shopify_shop_domain="a.myshopify.com",
    )
    story.later(hours=1)
    stripe = await story.receipt(internal_reference="Order 1000")
    await story.result(stripe)

    async def found(**filters: Any) -> list[EventId]:
        return ids(await events(story, **filters))

    assert await found(provider="shopify") == [shopify]
    assert await found(event_type="orders/paid") == [shopify]
    assert await found(effect_type="access_unlock") == [stripe]
    assert await found(internal_reference="Order 1000") == [stripe]
    assert await found(states=("applied",)) == [stripe]
    assert await found(states=("applied", "waiting")) == [stripe, shopify]
    assert await found(states=("closed",)) == []
    assert await found(created_after=START) == [stripe]
    assert await found(created_before=START + timedelta(hours=1)) == [shopify]
    within_the_millisecond = START + timedelta(microseconds=500)
    assert await found(created_before=within_the_millisecond) == [shopify]
    assert await found(created_after=within_the_millisecond) == [stripe]
    assert await found(created_before=datetime.max.replace(tzinfo=UTC)) == [stripe, shopify]
    assert await found(created_before=datetime.min.replace(tzinfo=UTC)) == []
    assert await found(project_id=story.project.id) == [stripe, shopify]
    assert await found(q="order_100%") == [shopify]
    assert await found(q=" ORDER ") == [stripe, shopify]
    assert await found(q="946154") == [shopify]
    assert await found(q=stripe) == [stripe]
    assert await found(q=" ") == [stripe, shopify]


async def test_incidents_are_narrowed_by_their_own_state_and_their_receipts_traits(
    story: Story,
) -> None:
    event_id, open_id = await story.opened(internal_reference="seat 7")
    await story.reach(LifecycleState.CALLING)

    async def found(**filters: Any) -> list[IncidentId]:
        return [row.incident.id for row in (await incidents(story, **filters)).rows]

    assert await found(states=("open",)) == await found(internal_reference="seat 7") == [open_id]
    assert await found(q=open_id) == await found(q=event_id) == [open_id]
    assert len(await found(states=("open", "repairing"), provider="stripe")) == 2
    assert await found(created_before=START + timedelta(minutes=30)) == []


async def test_list_shows_the_incident_and_its_active_repair(story: Story) -> None:
    await story.receipt()
    event_id, replay_id = await story.reach(LifecycleState.CALLING)

    page = await events(story)

    by_id = {row.receipt.event_id: row.incident for row in page.rows}
    incident = by_id.pop(event_id)
    assert incident is not None
    assert incident.active_replay_id == replay_id
    assert list(by_id.values()) == [None]


async def test_all_effects_of_one_provider_event_are_found(story: Story) -> None:
    named = {"provider_event_id": "evt_1Pq", "stripe_event_id": "evt_1Pq"}
    first = await story.receipt(**named)
    second = await story.receipt(**named, effect_type=EffectType.CREDIT_GRANT)

    page = await events(story, q="evt_1Pq", provider="stripe")

    assert [row.receipt.event_id for row in page.rows] == [second, first]


async def test_counts_hold_waiting_open_and_recovered_receipts(story: Story) -> None:
    for state in LifecycleState:
        await story.reach(state)

    async def counted(project_id: ProjectId | None, **later: float) -> Counts:
        async with story.database.reading() as session:
            return await reading.counts(session, project_id, story.at + timedelta(**later))

    expected = Counts(waiting=1, open=1, repairing=3, repaired_this_week=1)
    assert await counted(None) == await counted(story.project.id) == expected
    assert (await counted(None, days=8)).repaired_this_week == 0
    assert await counted(ProjectId("prj_other")) == Counts(0, 0, 0, 0)


async def test_open_receipts_are_listed_in_order(story: Story) -> None:
    reached = [(await story.reach(state))[0] for state in LifecycleState]

    async with story.database.reading() as session:
        first = await open_receipts(session, after=None, limit=2)
        rest = await open_receipts(session, after=first[-1][0], limit=10)

    expected = [(reached[0], ReceiptState.EXPECTED), (reached[1], ReceiptState.WAITING)]
    expected += [(reached[number], ReceiptState.INCIDENT) for number in (3, 4, 5, 6)]
    assert [*first, *rest] == expected
