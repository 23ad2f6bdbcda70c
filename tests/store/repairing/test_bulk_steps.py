"""Steps of bulk repairs on SQLite and PostgreSQL: what begins, what is skipped, and the end."""

import asyncio
from typing import Any

import pytest
from sqlalchemy import text

from domain.errors import ValidationFailed
from domain.ids import BulkId, EventId, IncidentId
from domain.repairing.bulk import (
    Begin,
    BulkItem,
    BulkRepair,
    BulkState,
    Counts,
    Finish,
    Over,
    Plan,
    Step,
    Stop,
)
from store.db.sql import SessionStatements
from store.receipts.lists.filters import ListFilters
from store.receipts.operator_actions import resolve_manually, stop_repair
from store.receipts.repairs import request_repair
from store.repairing.bulk_repairs import (
    MOST_UNDONE,
    NewBulkRepair,
    add_bulk_repair,
    list_bulk_repairs,
    list_items,
    read_bulk_repair,
    set_state,
)
from store.repairing.bulk_steps import (
    MOST_TRIES,
    begin_next,
    bulks_to_deliver,
    decide,
    mark_delivered,
    record_broken,
    settle_items,
    undone_bulks,
)
from store.repairing.estimate import estimate, members_in_search, members_of_ids
from tests.store.receipts.repair_setup import set_repair_url
from tests.support.given import OPERATOR, Story

AT_ONCE = Plan(first=100, then=0, per_minute=600, stop_at_failed_percent=100)
Members = list[tuple[IncidentId, EventId]]


async def opened(story: Story, count: int, **changes: Any) -> Members:
    members = []
    for _ in range(count):
        event_id, incident_id = await story.opened(**changes)
        members.append((incident_id, event_id))
    return members


async def start(story: Story, members: Members, plan: Plan = AT_ONCE, **changes: Any) -> BulkId:
    values: dict[str, Any] = {"include_superseded": False} | changes
    new = NewBulkRepair("outage", OPERATOR, plan, members=members, **values)
    async with story.database.transaction() as session:
        return await add_bulk_repair(session, story.project.id, new, story.at)


async def step(story: Story, bulk_id: BulkId) -> Step:
    """One step, as the activity takes it."""
    async with story.database.transaction() as session:
        await settle_items(session, bulk_id, story.at)
    async with story.database.transaction() as session:
        decision = await decide(session, bulk_id, story.at)
    if isinstance(decision, Begin):
        begun = 0
        while begun < decision.count:
            async with story.database.transaction() as session:
                has_begun = await begin_next(session, bulk_id, story.at)
            if has_begun is None:
                break
            begun += has_begun
    return decision


async def read(story: Story, bulk_id: BulkId) -> BulkRepair:
    async with story.database.reading() as session:
        return await read_bulk_repair(session, story.project.id, bulk_id)


async def items(story: Story, bulk_id: BulkId) -> list[BulkItem]:
    async with story.database.reading() as session:
        return list((await list_items(session, bulk_id, limit=100)).rows)


async def outcomes(story: Story, bulk_id: BulkId) -> list[str]:
    return [item.skipped_because or item.state for item in await items(story, bulk_id)]


async def report(story: Story, item: BulkItem, status: str = "success") -> None:
    await story.result(item.event_id, status, replay_id=item.replay_id)


async def change(story: Story, bulk_id: BulkId, to: BulkState) -> BulkRepair:
    async with story.database.transaction() as session:
        return (await set_state(session, story.project.id, bulk_id, to, story.at))[0]


async def alerts(story: Story, kind: str) -> int:
    async with story.database.reading() as session:
        found = text("SELECT count(*) FROM alerts WHERE kind = :kind")
        return await session.scalar(found, {"kind": kind}) or 0


async def test_each_repair_is_requested_by_the_bulk_repair(story: Story) -> None:
    members = await opened(story, 2)
    bulk_id = await start(story, members)

    await step(story, bulk_id)

    for item, (incident_id, event_id) in zip(await items(story, bulk_id), members, strict=True):
        (repair,) = await story.rows("repairs", event_id)
        assert (item.incident_id, item.replay_id) == (incident_id, repair["replay_id"])
        assert repair["requested_by"] == bulk_id
        assert len(await story.outbox(event_id)) == 1


async def test_incidents_that_were_settled_meanwhile_are_skipped_with_the_reason(
    story: Story,
) -> None:
    members = await opened(story, 5)
    bulk_id = await start(story, members)
    await story.result(members[0][1])
    await story.do(request_repair, members[1][1], requested_by=OPERATOR)
    closing = {"reason": "refunded", "requested_by": OPERATOR}
    await story.do(resolve_manually, members[2][0], **closing)
    await story.refund(members[3][1])

    await step(story, bulk_id)

    assert await outcomes(story, bulk_id) == [
        *("incident_resolved", "already_repairing", "incident_resolved", "superseded"),
        "repairing",
    ]


async def test_superseded_incidents_are_repaired_if_that_is_asked_for(story: Story) -> None:
    members = await opened(story, 1)
    bulk_id = await start(story, members, include_superseded=True)
    await story.refund(members[0][1])

    await step(story, bulk_id)

    assert await outcomes(story, bulk_id) == ["repairing"]


async def test_outcomes_follow_the_business_results(story: Story) -> None:
    bulk_id = await start(story, await opened(story, 6))
    await step(story, bulk_id)
    first, second, third, fourth, fifth, _ = await items(story, bulk_id)
    await report(story, first)
    await report(story, second, "failed")
    await story.result(third.event_id)  # without the repair: a late result
    closing = {"reason": "refunded", "requested_by": OPERATOR}
    await story.do(resolve_manually, fourth.incident_id, **closing)
    await story.do(stop_repair, fifth.incident_id, requested_by=OPERATOR)

    await step(story, bulk_id)

    assert await outcomes(story, bulk_id) == [
        *("succeeded", "failed", "succeeded", "closed", "stopped", "repairing")
    ]
    assert (await read(story, bulk_id)).counts == Counts(0, 1, 2, 1, 2)


async def test_bulk_repair_stops_itself_and_what_it_began_runs_on(story: Story) -> None:
    plan = Plan(first=2, then=3, per_minute=60, stop_at_failed_percent=50)
    bulk_id = await start(story, await opened(story, 8), plan)
    await step(story, bulk_id)
    for item, status in zip(await items(story, bulk_id), ("success", "failed"), strict=False):
        await report(story, item, status)

    stopped = await step(story, bulk_id), await step(story, bulk_id)

    bulk = await read(story, bulk_id)
    assert isinstance(stopped[0], Stop)
    assert isinstance(stopped[1], Over)
    assert (bulk.state, bulk.counts) == (BulkState.STOPPED, Counts(6, 0, 1, 1, 0))
    assert bulk.stopped_because == ("1 of 2 decided repairs failed (50 %). It stops at 50 %.")
    assert await alerts(story, "bulk_repair_ended") == 1


async def test_it_finishes_once_everything_is_decided_and_alerts_once(story: Story) -> None:
    bulk_id = await start(story, await opened(story, 2))
    await step(story, bulk_id)
    waits = await step(story, bulk_id)
    for item in await items(story, bulk_id):
        await report(story, item)

    ends = [await step(story, bulk_id) for _ in range(2)]

    bulk = await read(story, bulk_id)
    assert not isinstance(waits, Finish)
    assert (ends, bulk.state, bulk.ended_at) == ([Finish(), Over()], BulkState.FINISHED, story.at)
    assert await alerts(story, "bulk_repair_ended") == 1


async def test_paused_bulk_repair_begins_nothing_until_it_is_resumed(story: Story) -> None:
    bulk_id = await start(story, await opened(story, 2), Plan(first=1))
    await change(story, bulk_id, BulkState.PAUSED)
    await step(story, bulk_id)
    while_paused = await outcomes(story, bulk_id)
    await change(story, bulk_id, BulkState.RUNNING)
    await step(story, bulk_id)

    assert while_paused == ["waiting", "waiting"]
    assert await outcomes(story, bulk_id) == ["repairing", "waiting"]


async def test_pause_between_two_items_holds_at_once(story: Story) -> None:
    bulk_id = await start(story, await opened(story, 2))
    async with story.database.transaction() as session:
        assert await begin_next(session, bulk_id, story.at) is True
    await change(story, bulk_id, BulkState.PAUSED)

    async with story.database.transaction() as session:
        assert await begin_next(session, bulk_id, story.at) is None

    assert await outcomes(story, bulk_id) == ["repairing", "waiting"]


async def test_aborted_bulk_repair_stays_so_and_what_it_began_is_decided(story: Story) -> None:
    bulk_id = await start(story, await opened(story, 2), Plan(first=1))
    await step(story, bulk_id)
    await change(story, bulk_id, BulkState.ABORTED)
    resumed = await change(story, bulk_id, BulkState.RUNNING)
    await report(story, (await items(story, bulk_id))[0])
    over = await step(story, bulk_id)

    assert resumed.state == BulkState.ABORTED
    assert over == Over()
    assert await outcomes(story, bulk_id) == ["succeeded", "waiting"]


async def test_two_processes_that_take_a_step_at_once_begin_each_incident_once(
    story: Story,
) -> None:
    members = await opened(story, 6)
    bulk_id = await start(story, members)

    async def begin() -> None:
        async with story.database.transaction() as session:
            await begin_next(session, bulk_id, story.at)

    await asyncio.gather(*(begin() for _ in range(12)))

    assert (await read(story, bulk_id)).begun == 6
    assert [len(await story.rows("repairs", event_id)) for _, event_id in members] == [1] * 6


async def test_incident_that_cannot_begin_is_skipped_in_the_end(story: Story) -> None:
    bulk_id = await start(story, await opened(story, 2))

    for _ in range(MOST_TRIES):
        async with story.database.transaction() as session:
            await record_broken(session, bulk_id, story.at)

    assert await outcomes(story, bulk_id) == ["not_begun", "waiting"]


async def test_held_repairs_of_a_bulk_repair_are_undecided(story: Story) -> None:
    await story.hold()
    bulk_id = await start(story, await opened(story, 2))
    await step(story, bulk_id)
    await step(story, bulk_id)

    assert (await read(story, bulk_id)).counts == Counts(repairing=2)


async def test_workflows_are_signalled_until_the_change_is_delivered(story: Story) -> None:
    bulk_id = await start(story, await opened(story, 1))

    async def to_deliver() -> list[int]:
        async with story.database.reading() as session:
            found = await bulks_to_deliver(session, after="", limit=10)
            undone = await undone_bulks(session, after="", limit=10)
        assert [one.id for one in undone] == [bulk_id]
        async with story.database.transaction() as session:
            for one in found:
                await mark_delivered(session, one)
        return [one.version for one in found]

    first, second = await to_deliver(), await to_deliver()
    await change(story, bulk_id, BulkState.PAUSED)
    third = await to_deliver()

    assert (first, second, third) == ([1], [], [2])


async def test_project_has_a_limit_of_bulk_repairs_at_once(story: Story) -> None:
    members = await opened(story, 1)
    bulk_ids = [await start(story, members) for _ in range(MOST_UNDONE)]

    with pytest.raises(ValidationFailed):
        await start(story, members)
    await change(story, bulk_ids[0], BulkState.ABORTED)
    await step(story, bulk_ids[0])
    await start(story, members)


async def test_lists_are_paged(story: Story) -> None:
    members = await opened(story, 3)
    bulk_ids = [await start(story, members) for _ in range(3)]

    async with story.database.reading() as session:
        first = await list_bulk_repairs(session, [story.project.id], limit=2)
        second = await list_bulk_repairs(session, None, limit=2, cursor=first.next_cursor)
        of_none = await list_bulk_repairs(session, [], limit=2)
        page = await list_items(session, bulk_ids[0], limit=2)
        rest = await list_items(session, bulk_ids[0], limit=2, cursor=page.next_cursor)

    assert [one.id for one in (*first.rows, *second.rows)] == bulk_ids[::-1]
    assert (second.next_cursor, rest.next_cursor, of_none.rows) == (None, None, ())
    assert [item.position for item in (*page.rows, *rest.rows)] == [1, 2, 3]


async def test_estimate_counts_what_would_begin(story: Story) -> None:
    of_money = {"amount": 1_250, "currency": "EUR"}
    members = await opened(story, 2, **of_money)
    members += await opened(story, 1, internal_reference="seat 7", amount=500, currency="USD")
    (resolved,) = await opened(story, 1, **of_money)
    await story.result(resolved[1])
    (repairing,) = await opened(story, 1, **of_money)
    await story.do(request_repair, repairing[1], requested_by=OPERATOR)
    await story.hold(internal_reference="seat 7")
    (refunded,) = await opened(story, 1, amount=700, currency="EUR")
    await story.refund(refunded[1])
    every = [*members, resolved, repairing, refunded]

    async def found(include_superseded: bool = False) -> tuple[object, ...]:
        async with story.database.reading() as session:
            st, of = SessionStatements(session), {"include_superseded": include_superseded}
            one = await estimate(st, story.project.id, every, story.at, **of)
        counts = (one.matched, one.repairable, one.superseded, one.held, one.without_repair_url)
        return (*counts, one.amounts)

    before, with_superseded = await found(), await found(include_superseded=True)
    await set_repair_url(story, None)

    assert before == (6, 3, 1, 1, 0, {"EUR": 2_500, "USD": 500})
    assert with_superseded == (6, 4, 1, 1, 0, {"EUR": 3_200, "USD": 500})
    assert await found() == (6, 0, 1, 1, 4, {})


async def test_members_are_those_of_the_list_with_the_oldest_first(story: Story) -> None:
    members = await opened(story, 3)
    await story.result(members[1][1])
    filters = ListFilters(project_id=story.project.id, states=("open",))
    foreign = IncidentId("inc_" + "0" * 32)

    async with story.database.reading() as session:
        found = await members_in_search(session, filters, limit=100)
        named = await members_of_ids(
            SessionStatements(session), story.project.id, [members[2][0], foreign]
        )

    assert found == [members[0], members[2]]
    assert named == {members[2][0]: members[2][1]}
