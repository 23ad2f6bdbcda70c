"""Alerts of groups: the first at once, the others gathered; at most one more for each window."""

from datetime import datetime
from typing import Any

import pytest

from domain.alerts import AlertChannel
from domain.ids import EventId, IncidentId
from domain.values.timestamps import to_unix_ms
from store.alerts.destinations import add_secret_destination
from store.crypto.encryption import Sealer
from store.receipts.groups.windows import due_windows, end_window
from store.receipts.operator_actions import acknowledge, reopen, resolve_manually
from store.receipts.repairs import request_repair
from store.receipts.triage.quiet_times import end_quiet_times
from tests.store.receipts.groups.recount import rows_of
from tests.support.given import OPERATOR, Story

pytestmark = pytest.mark.both_stores

IN_2200_MS = 7_258_118_400_000
ALERTS = "SELECT incident_id, kind, replay_id FROM alerts ORDER BY id"


async def fail(story: Story) -> EventId:
    event_id = await story.receipt()
    await story.result(event_id, "failed", error_code="seat_limit")
    return event_id


async def end_windows(story: Story) -> int:
    """End the windows that are due; returns how many alerted."""
    async with story.database.transaction() as session:
        due = await due_windows(session, story.at, projects=10, of_each=10)
        return sum([await end_window(session, one, story.at) for one in due])


async def sent(story: Story) -> list[tuple[str, str, str]]:
    """Of each alert what it is about (an event or the group), its kind and its number."""
    return [
        (row["incident_id"][:3], row["kind"], row["replay_id"].rpartition("-")[2])
        for row in await rows_of(story.database, ALERTS)
    ]


async def test_first_incident_alerts_at_once_and_the_others_when_the_window_ends(
    story: Story,
) -> None:
    for _ in range(4):
        await fail(story)
        story.later(minutes=1)
    assert await sent(story) == [("inc", "incident_opened", "")]
    assert await end_windows(story) == 0

    story.later(minutes=1)

    assert await end_windows(story) == 1
    assert await end_windows(story) == 0
    assert await sent(story) == [("inc", "incident_opened", ""), ("grp", "group_grew", "3")]


async def test_next_window_begins_with_its_alert(story: Story) -> None:
    for _ in range(3):
        await fail(story)
    story.later(minutes=7)
    await end_windows(story)

    await fail(story)
    story.later(minutes=4, seconds=59)
    assert await end_windows(story) == 0
    story.later(seconds=1)
    assert await end_windows(story) == 1

    assert [number for *_, number in await sent(story)] == ["", "2", "1"]


async def test_incident_after_a_quiet_time_is_told_at_once(story: Story) -> None:
    await fail(story)
    story.later(minutes=30)
    await fail(story)
    await fail(story)

    assert await sent(story) == [("inc", "incident_opened", ""), ("grp", "group_grew", "1")]
    story.later(minutes=5)
    await end_windows(story)
    story.later(minutes=5)
    await end_windows(story)
    assert len(await sent(story)) == 3
    assert await rows_of(story.database, "SELECT kind FROM group_windows") == []


async def test_fourteen_resolved_incidents_are_one_alert(story: Story) -> None:
    events = [await fail(story) for _ in range(14)]

    for event_id in events:
        story.later(seconds=5)
        await story.result(event_id)

    assert (await sent(story))[1:] == [("grp", "incident_resolved", "14")]


async def test_resolved_incidents_of_an_unresolved_group_are_told_when_the_window_ends(
    story: Story,
) -> None:
    events = [await fail(story) for _ in range(3)]
    story.later(minutes=1)
    for event_id in events[:2]:
        await story.result(event_id)

    story.later(minutes=5)
    await end_windows(story)
    await story.result(events[2])

    alerts = [one for one in await sent(story) if one[1] == "incident_resolved"]
    assert alerts == [("grp", "incident_resolved", "2")]
    story.later(minutes=5)
    await end_windows(story)
    alerts = [one for one in await sent(story) if one[1] == "incident_resolved"]
    assert alerts == [("grp", "incident_resolved", "2"), ("grp", "incident_resolved", "1")]


async def test_first_failed_repair_alerts_and_further_ones_are_gathered(story: Story) -> None:
    events = [await fail(story) for _ in range(4)]
    for event_id in events:
        begun = await story.do(request_repair, event_id, requested_by=OPERATOR)
        await story.result(event_id, "failed", replay_id=begun.replay_id)
    failed = [one for one in await sent(story) if one[1] == "repair_failed"]
    assert [about for about, *_ in failed] == ["inc"]

    story.later(minutes=5)
    await end_windows(story)

    failed = [one for one in await sent(story) if one[1] == "repair_failed"]
    assert failed[1:] == [("grp", "repair_failed", "3")]


async def test_ended_acknowledgements_of_a_group_alert_once_and_the_others_are_gathered(
    story: Story,
) -> None:
    for _ in range(4):
        await fail(story)
    incidents = await incident_ids(story)
    await story.do(send_all)
    for incident_id in incidents:
        await story.do(acknowledge, incident_id, requested_by=OPERATOR)
    story.later(minutes=1)
    await resolved_and_reopened(story, incidents[0])
    story.later(hours=5)
    for incident_id in incidents[1:]:
        await story.do(end_quiet_times, incident_id)

    again = [one for one in await sent(story) if one[1] == "incident_opened"][1:]
    assert [about for about, *_ in again] == ["inc"]
    story.later(minutes=5)
    await end_windows(story)
    again = [one for one in await sent(story) if one[1] == "incident_opened"][1:]
    assert again[1:] == [("grp", "incident_opened", "3")]
    (group,) = await rows_of(story.database, "SELECT * FROM incident_groups")
    assert (group["open_count"], group["repairing_count"], group["resolved_count"]) == (4, 0, 0)


async def test_pager_is_told_when_all_of_the_group_are_acknowledged(
    story: Story, sealer: Sealer
) -> None:
    async with story.database.transaction() as session:
        await add_secret_destination(
            session,
            sealer,
            project_id=story.project.id,
            channel=AlertChannel.PAGERDUTY,
            target="0" * 32,
        )
    await fail(story)
    await fail(story)
    first, second = await incident_ids(story)

    told = []
    for incident_id in (first, second, second):
        await story.do(acknowledge, incident_id, requested_by=OPERATOR)
        told.append([kind for _, kind, _ in await sent(story)].count("incident_acknowledged"))

    assert told == [0, 1, 1]


async def test_single_incident_is_alerted_by_itself(story: Story) -> None:
    event_id = await fail(story)
    begun = await story.do(request_repair, event_id, requested_by=OPERATOR)
    await story.result(event_id, "failed", replay_id=begun.replay_id)
    await story.result(event_id)

    kinds = [(about, kind) for about, kind, _ in await sent(story)]
    expected = ["incident_opened", "repair_failed", "incident_resolved"]
    assert kinds == [("inc", kind) for kind in expected]


async def test_muted_group_alerts_nothing(story: Story) -> None:
    first, second = await fail(story), await fail(story)
    await story.do(mute)
    await fail(story)
    for event_id in (first, second):
        await story.result(event_id)
    story.later(minutes=10)

    assert await end_windows(story) == 0
    assert await sent(story) == [("inc", "incident_opened", "")]
    (group,) = await rows_of(story.database, "SELECT * FROM incident_groups")
    assert (group["open_count"], group["resolved_count"]) == (1, 2)


async def incident_ids(story: Story) -> list[IncidentId]:
    return [row["id"] for row in await rows_of(story.database, "SELECT id FROM incidents")]


async def send_all(st: Any, now: datetime) -> None:
    """An alert that waits to be sent takes the place of a new round."""
    await st.fetch("UPDATE alerts SET sent_at = $1", to_unix_ms(now))


async def resolved_and_reopened(story: Story, incident_id: IncidentId) -> None:
    await story.do(resolve_manually, incident_id, reason="done", requested_by=OPERATOR)
    await story.do(reopen, incident_id, reason="not done", requested_by=OPERATOR)


async def mute(st: Any, _: Any) -> None:
    await st.fetch("UPDATE incident_groups SET muted_until = $1", IN_2200_MS)
