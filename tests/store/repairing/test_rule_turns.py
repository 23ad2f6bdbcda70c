"""Rules of automatic repair on SQLite and PostgreSQL: when they act, and when they do not."""

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from domain.ids import EventId, RuleId
from domain.repairing.rules import Rule, RuleSpec
from store.receipts.operator_actions import resolve_manually, snooze, stop_repair
from store.receipts.repairs import request_repair
from store.repairing.rule_turns import (
    due_turns,
    projects_with_turns,
    rules_with_open_repairs,
    settle_rule,
    take_turn,
)
from store.repairing.rules import arm_rule, read_rules, replace_rules
from tests.store.receipts.repair_setup import set_repair_url
from tests.support.given import OPERATOR, Story

RULE = RuleSpec(
    name="again",
    effect_type=None,
    event_type=None,
    reason=None,
    error_code=None,
    delay_seconds=60,
    max_repairs_per_incident=1,
    max_per_hour=100,
    disarm_after_failures=3,
)


async def set_rules(story: Story, *specs: RuleSpec, **changes: Any) -> list[Rule]:
    wanted = specs or (replace(RULE, **changes),)
    async with story.database.transaction() as session:
        return await replace_rules(session, story.project.id, wanted)


async def failed(story: Story, code: str | None = None) -> EventId:
    """A receipt whose incident opens now."""
    event_id = await story.receipt()
    await story.result(event_id, "failed", error_code=code)
    return event_id


async def turn(story: Story) -> int:
    """Judge what is due, as the worker's loop does; how many repairs were requested."""
    async with story.database.reading() as session:
        due = await due_turns(session, story.project.id, story.at, limit=100)
    requested = 0
    for one in due:
        async with story.database.transaction() as session:
            requested += await take_turn(session, one, story.at)
    return requested


async def settle(story: Story) -> None:
    async with story.database.reading() as session:
        rules = await rules_with_open_repairs(session, after=None, limit=100)
    for rule_id in rules:
        async with story.database.transaction() as session:
            await settle_rule(session, rule_id, story.at)


async def rule(story: Story) -> Rule:
    async with story.database.reading() as session:
        return (await read_rules(session, story.project.id))[0]


async def requesters(story: Story, event_id: EventId) -> list[str]:
    return [row["requested_by"] for row in await story.rows("repairs", event_id)]


async def answer(story: Story, event_id: EventId, status: str = "failed") -> None:
    """The app reports the newest repair."""
    newest = (await story.rows("repairs", event_id))[-1]
    await story.result(event_id, status, replay_id=newest["replay_id"])


async def turns_left(story: Story) -> int:
    async with story.database.reading() as session:
        return await session.scalar(text("SELECT count(*) FROM rule_turns")) or 0


async def disarmed_alerts(story: Story) -> int:
    counted = text("SELECT count(*) FROM alerts WHERE kind = 'rule_disarmed'")
    async with story.database.reading() as session:
        return await session.scalar(counted) or 0


async def test_rule_acts_after_its_delay_and_once(story: Story) -> None:
    await set_rules(story)
    event_id = await failed(story)

    at_once = await turn(story)
    story.later(seconds=59)
    early = await turn(story)
    story.later(seconds=1)
    due = await turn(story), await turn(story)

    assert (at_once, early, due) == (0, 0, (1, 0))
    assert await requesters(story, event_id) == ["rule:again"]
    assert [kind for kind, _ in await story.outbox(event_id)] == ["result", "reprocess"]
    assert await turns_left(story) == 0


async def test_first_rule_that_matches_acts_alone(story: Story) -> None:
    specs = [
        replace(RULE, name="never", effect_type="seat_update"),
        replace(RULE, name="by_code", error_code="db_*", delay_seconds=0),
        replace(RULE, name="others", delay_seconds=0),
    ]
    await set_rules(story, *specs)
    by_code, other = await failed(story, "db_timeout"), await failed(story, "card")

    assert await turn(story) == 2
    assert await requesters(story, by_code) == ["rule:by_code"]
    assert await requesters(story, other) == ["rule:others"]


async def test_project_without_rules_has_no_turns(story: Story) -> None:
    await failed(story)
    await set_rules(story)
    async with story.database.transaction() as session:
        await replace_rules(session, story.project.id, [])
    await failed(story)

    assert await turns_left(story) == 0


@pytest.mark.parametrize("most", [1, 3])
async def test_rule_repairs_an_incident_as_often_as_it_may(story: Story, most: int) -> None:
    await set_rules(story, max_repairs_per_incident=most, disarm_after_failures=10)
    event_id = await failed(story)

    for _ in range(5):
        story.later(seconds=61)
        if await turn(story):
            await answer(story, event_id)

    assert await requesters(story, event_id) == ["rule:again"] * most


async def test_rule_does_not_repair_again_what_a_person_repaired(story: Story) -> None:
    await set_rules(story)
    event_id = await failed(story)
    await story.do(request_repair, event_id, requested_by=OPERATOR)
    story.later(seconds=61)
    await turn(story)
    await answer(story, event_id)
    story.later(seconds=61)

    assert await turn(story) == 0
    assert await requesters(story, event_id) == [OPERATOR]


async def test_rule_waits_when_its_hour_is_full(story: Story) -> None:
    await set_rules(story, max_per_hour=2, delay_seconds=0)
    for _ in range(3):
        await failed(story)

    first = await turn(story)
    story.later(minutes=59)
    second = await turn(story)
    story.later(minutes=1, seconds=1)

    assert (first, second, await turn(story)) == (2, 0, 1)


async def test_rule_disarms_itself_after_failures_in_a_row(story: Story) -> None:
    await set_rules(story, delay_seconds=0, disarm_after_failures=2)
    events = [await failed(story) for _ in range(4)]
    await turn(story)
    await answer(story, events[0])
    await settle(story)
    await answer(story, events[1], "success")
    await settle(story)
    between = await rule(story)
    await answer(story, events[2])
    await answer(story, events[3])
    await settle(story)
    await failed(story)

    assert (between.failures, between.disarmed_at) == (0, None)
    assert (await rule(story)).disarmed_at == story.at
    assert await turn(story) == 0
    assert await disarmed_alerts(story) == 1


async def test_armed_rule_acts_again_on_what_opens_then(story: Story) -> None:
    await set_rules(story, delay_seconds=0, disarm_after_failures=1)
    await failed(story)
    await turn(story)
    await answer(story, await _newest(story))
    await settle(story)
    await set_rules(story, delay_seconds=0, disarm_after_failures=1)
    kept = await rule(story)
    async with story.database.transaction() as session:
        await arm_rule(session, story.project.id, "again")
    await failed(story)

    assert kept.disarmed_at is not None
    assert await turn(story) == 1


async def test_failure_is_counted_before_the_rule_acts_again(story: Story) -> None:
    await set_rules(story, delay_seconds=0, disarm_after_failures=1)
    event_id = await failed(story)
    await turn(story)
    await answer(story, event_id)
    await failed(story)

    assert await turn(story) == 0
    assert (await rule(story)).disarmed_at is not None


@pytest.mark.parametrize("ends", ["superseded", "closed", "stopped"])
async def test_what_people_or_the_app_ended_is_no_failure_of_the_rule(
    story: Story, ends: str
) -> None:
    await set_rules(story, delay_seconds=0, disarm_after_failures=1)
    event_id = await failed(story)
    await turn(story)
    if ends == "superseded":
        await story.result(event_id)
    elif ends == "stopped":
        await story.do(stop_repair, await story.incident_id(event_id), requested_by=OPERATOR)
    else:
        closing = {"reason": "refunded", "requested_by": OPERATOR}
        await story.do(resolve_manually, await story.incident_id(event_id), **closing)
    await settle(story)

    assert (await rule(story)).failures == 0
    async with story.database.reading() as session:
        assert await rules_with_open_repairs(session, after=None, limit=9) == []


async def test_rule_does_not_repair_again_what_a_person_stopped(story: Story) -> None:
    await set_rules(story, delay_seconds=0, max_repairs_per_incident=5)
    stopped, failing = await failed(story), await failed(story)
    await turn(story)
    await story.do(stop_repair, await story.incident_id(stopped), requested_by=OPERATOR)
    await answer(story, failing)

    await turn(story)

    assert await requesters(story, stopped) == ["rule:again"]
    assert await requesters(story, failing) == ["rule:again"] * 2


async def test_rule_never_repairs_what_is_flagged_or_superseded(story: Story) -> None:
    await set_rules(story, delay_seconds=0)
    flagged, superseded = await failed(story), await failed(story)
    await story.refund(superseded)
    async with story.database.transaction() as session:
        mark = text("UPDATE receipts SET flags = 'contradiction' WHERE event_id = :id")
        await session.execute(mark, {"id": flagged})

    assert await turn(story) == 0
    assert await turns_left(story) == 0
    assert "noted" in await story.timeline(flagged)
    assert "noted" in await story.timeline(superseded)


@pytest.mark.parametrize("why", ["hold", "snooze"])
async def test_rule_acts_once_the_hold_or_the_snooze_has_ended(story: Story, why: str) -> None:
    await set_rules(story, delay_seconds=0)
    event_id, until = await failed(story), story.at + timedelta(minutes=5)
    if why == "hold":
        await story.hold(until=until)
    else:
        incident_id = await story.incident_id(event_id)
        await story.do(snooze, incident_id, until=until, requested_by=OPERATOR)

    held = await turn(story), await turns_left(story)
    story.later(minutes=6)

    assert held == (0, 1)
    assert await turn(story) == 1
    assert await requesters(story, event_id) == ["rule:again"]


async def test_incident_that_ended_meanwhile_is_left(story: Story) -> None:
    await set_rules(story)
    event_id = await failed(story)
    await story.result(event_id)
    story.later(seconds=61)

    assert await turn(story) == 0
    assert await turns_left(story) == 0


async def test_project_without_a_repair_url_is_noted(story: Story) -> None:
    await set_rules(story, delay_seconds=0)
    event_id = await failed(story)
    await set_repair_url(story, None)

    assert await turn(story) == 0
    (note,) = [row for row in await story.rows("timeline", event_id) if row["kind"] == "noted"]
    assert "repair_url_missing" in note["fields"]["text"]


async def test_two_workers_repair_an_incident_once(story: Story) -> None:
    await set_rules(story, delay_seconds=0, max_repairs_per_incident=5, max_per_hour=1)
    events = [await failed(story) for _ in range(3)]

    counts = await asyncio.gather(*(turn(story) for _ in range(3)))

    assert sum(counts) == 1
    repairs = [len(await story.rows("repairs", event_id)) for event_id in events]
    assert sum(repairs) == 1
    assert await turns_left(story) == 2


async def test_projects_are_found_in_pages(story: Story) -> None:
    await set_rules(story)
    await failed(story)

    async with story.database.reading() as session:
        first = await projects_with_turns(session, after=None, limit=1)
        rest = await projects_with_turns(session, after=first[0], limit=1)
        none = await rules_with_open_repairs(session, after=RuleId(""), limit=1)

    assert (first, rest, none) == ([story.project.id], [], [])


async def _newest(story: Story) -> EventId:
    async with story.database.reading() as session:
        return EventId(await session.scalar(text("SELECT max(event_id) FROM repairs")) or "")
