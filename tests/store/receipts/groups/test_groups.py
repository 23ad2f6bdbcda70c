"""Groups: which incident joins which, their counts and amounts, and what opens in every way."""

import random
from datetime import timedelta
from typing import Any

import pytest

from domain.errors import IncidentAlreadyResolved
from domain.ids import EventId
from domain.lifecycle import LifecycleState
from store.receipts.deadlines import open_incident
from store.receipts.groups.adoption import adopt, ungrouped_incidents
from store.receipts.operator_actions import resolve_manually
from store.receipts.queries import IncidentRow, read_incident
from store.receipts.repairs import request_repair
from tests.store.receipts.groups.recount import rows_of, stored_and_counted
from tests.support.given import OPERATOR, Story

GROUPS = "SELECT * FROM incident_groups ORDER BY id"


async def fail(story: Story, code: str | None = "seat_limit", **receipt: Any) -> EventId:
    event_id = await story.receipt(**receipt)
    await story.result(event_id, "failed", error_code=code)
    return event_id


async def group_of(story: Story, event_id: EventId) -> str:
    (incident,) = await story.rows("incidents", event_id)
    return str(incident["group_id"])


@pytest.mark.both_stores
async def test_incident_joins_the_group_of_its_cause_within_the_window(story: Story) -> None:
    first = await fail(story)
    story.later(minutes=60)
    second = await fail(story)
    story.later(minutes=60)
    third = await fail(story)
    story.later(minutes=60, milliseconds=1)
    late = await fail(story)
    others = [
        await fail(story, None),
        await fail(story, "card_declined"),
        await fail(story, effect_type="credit_grant"),
    ]

    joined = {await group_of(story, one) for one in (first, second, third)}
    assert len(joined) == 1
    apart = {await group_of(story, one) for one in (late, *others)}
    assert len(apart) == 4
    assert not joined & apart
    (oldest, *_) = await rows_of(story.database, GROUPS)
    assert oldest["id"] in joined
    assert oldest["last_at"] - oldest["first_at"] == timedelta(hours=2) / timedelta(milliseconds=1)
    assert (oldest["takes_more"], oldest["open_count"]) == (0, 3)


@pytest.mark.both_stores
async def test_every_way_of_opening_gives_a_group(story: Story) -> None:
    failed = await fail(story)
    overdue, _ = await story.opened()
    expected = await story.expected()
    story.later(minutes=15)
    await story.do(open_incident, expected)

    groups = [await group_of(story, one) for one in (failed, overdue, expected)]
    assert len(set(groups)) == 3
    reasons = {row["id"]: row["reason"] for row in await rows_of(story.database, GROUPS)}
    assert [reasons[one] for one in groups] == [
        "failed_result",
        "missing_result",
        "missing_receipt",
    ]


async def test_window_of_zero_keeps_incidents_apart(story: Story) -> None:
    await story.do(set_windows, group=0)

    events = [await fail(story) for _ in range(3)]

    assert len({await group_of(story, one) for one in events}) == 3
    assert [len(await story.alerts(one)) for one in events] == [1, 1, 1]


@pytest.mark.both_stores
async def test_counts_and_amounts_equal_a_recount_after_any_moves(story: Story) -> None:
    chance = random.Random(22)
    events: list[EventId] = []
    for _ in range(150):
        story.later(seconds=chance.randrange(400))
        if len(events) < 4 or chance.random() < 0.25:
            amount = chance.choice([None, 1, 10**15])
            risk = {} if amount is None else {"amount": amount, "currency": "EUR"}
            events.append(await fail(story, chance.choice(["a", "b", None]), **risk))
            continue
        event_id = chance.choice(events)
        snapshot = await story.snapshot(event_id)
        move = chance.choice(["repair", "fail", "success", "resolve"])
        if move == "repair" and snapshot.state is LifecycleState.OPEN:
            await story.do(request_repair, event_id, requested_by=OPERATOR)
        elif move == "fail" and snapshot.active_replay_id is not None:
            await story.result(event_id, "failed", replay_id=snapshot.active_replay_id)
        elif move == "success":
            await story.result(event_id)
        elif move == "resolve":
            closing = {"reason": "refunded", "requested_by": OPERATOR}
            try:
                await story.do(resolve_manually, snapshot.incident, **closing)
            except IncidentAlreadyResolved:
                continue

    stored, counted = await stored_and_counted(story.database)
    assert stored == counted
    assert len(stored) > 3


@pytest.mark.both_stores
async def test_amount_of_a_late_receipt_replaces_the_one_before_it(story: Story) -> None:
    event_id = await story.expected(amount=500, currency="EUR")
    story.later(minutes=15)
    await story.do(open_incident, event_id)

    await story.accept(event_id, amount=700, currency="USD")

    stored, counted = await stored_and_counted(story.database)
    assert stored == counted
    assert stored[-1]["currency"] == "USD"


@pytest.mark.both_stores
async def test_incidents_of_an_earlier_version_get_a_group_and_no_alert(story: Story) -> None:
    events = [await fail(story, amount=5, currency="EUR") for _ in range(3)]
    await story.do(request_repair, events[0], requested_by=OPERATOR)
    await story.result(events[2])
    await story.do(forget_groups)
    before = [await story.alerts(one) for one in events]

    async with story.database.transaction() as session:
        found = await ungrouped_incidents(session, after=None, limit=10)
        for one in (*found, *found):
            await adopt(session, one)

    assert {one.event_id for one in found} == set(events[:2])
    (group,) = await rows_of(story.database, GROUPS)
    assert (group["open_count"], group["repairing_count"], group["resolved_count"]) == (1, 1, 0)
    assert [await story.alerts(one) for one in events] == before
    assert await rows_of(story.database, "SELECT kind FROM group_windows") == []


async def test_incident_names_its_group_and_whether_it_is_muted(story: Story) -> None:
    event_id = await fail(story)
    assert not (await read(story, event_id)).incident.muted

    await story.do(mute_until, 7_258_118_400_000)

    incident = (await read(story, event_id)).incident
    assert (incident.group_id, incident.muted) == (await group_of(story, event_id), True)


async def read(story: Story, event_id: EventId) -> IncidentRow:
    async with story.database.reading() as session:
        row = await read_incident(session, None, await story.incident_id(event_id))
    assert row is not None
    return row


async def set_windows(st: Any, _: Any, *, group: float) -> None:
    await st.fetch("UPDATE projects SET group_window_minutes = $1", group)


async def mute_until(st: Any, at_ms: int, _: Any) -> None:
    await st.fetch("UPDATE incident_groups SET muted_until = $1", at_ms)


async def forget_groups(st: Any, _: Any) -> None:
    for table in ("incident_groups", "group_amounts", "group_windows"):
        await st.fetch(f"DELETE FROM {table}")
    await st.fetch("UPDATE incidents SET group_id = NULL")
