"""Acknowledgements and snoozes end once, and the alerts of an open incident go out again."""

import asyncio
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

import pytest

from domain.ids import EventId, IncidentId
from domain.lifecycle import LifecycleState
from domain.projects import ProjectChanges
from domain.values.timestamps import to_unix_ms
from store.alerts.claims import claim_alerts
from store.alerts.delivery import hold_alert
from store.db.sql import SessionStatements
from store.projects.projects import change_project
from store.receipts.operator_actions import acknowledge, resolve_manually, snooze, unacknowledge
from store.receipts.repairs import request_repair
from store.receipts.triage.quiet_times import (
    DUE_ENDS,
    PROJECTS_WITH_DUE_ENDS,
    due_ends,
    end_quiet_times,
    projects_with_due_ends,
)
from tests.support.given import OPERATOR, Story

OPENED, FAILED, RESOLVED = "incident_opened", "repair_failed", "incident_resolved"


@pytest.fixture(autouse=True)
async def alerted(story: Story) -> None:
    """The project has one destination."""
    async with story.database.transaction() as session:
        changes = ProjectChanges(alert_emails=("ops@shop.example",), acknowledge_minutes=90)
        await change_project(session, story.project.id, changes=changes)


async def acknowledged(story: Story, incident_id: IncidentId, **changes: Any) -> None:
    await story.do(acknowledge, incident_id, requested_by=OPERATOR, **changes)


async def snoozed(story: Story, incident_id: IncidentId, **span: float) -> datetime:
    until = story.at + timedelta(**span)
    await story.do(snooze, incident_id, until=until, requested_by=OPERATOR)
    return until


async def end_due(story: Story) -> list[IncidentId]:
    """One turn of the worker's loop."""
    async with story.database.reading() as session:
        st = SessionStatements(session)
        page = await projects_with_due_ends(st, story.at, after=None, limit=10)
        due = [one for of in page.due for one in await due_ends(st, of, story.at, limit=10)]
    for incident_id in due:
        assert await story.do(end_quiet_times, incident_id)
    return due


async def kinds(story: Story, event_id: EventId) -> list[str]:
    return [kind for kind, _, _ in await story.alerts(event_id)]


async def sent(story: Story, event_id: EventId) -> None:
    """All alerts of the receipt were sent."""
    async with story.database.transaction() as session:
        st = SessionStatements(session)
        mark = "UPDATE alerts SET sent_at = $1 WHERE event_id = $2 RETURNING id"
        await st.fetch(mark, to_unix_ms(story.at), event_id)


async def test_acknowledgement_ends_after_the_projects_minutes_and_alerts_once(
    story: Story,
) -> None:
    event_id, incident_id = await story.opened()
    await sent(story, event_id)
    await acknowledged(story, incident_id)
    (stored,) = await story.rows("incidents", event_id)

    story.later(minutes=89)
    assert await end_due(story) == []
    story.later(minutes=1)
    assert await end_due(story) == [incident_id]
    assert await end_due(story) == []

    (ended,) = await story.rows("incidents", event_id)
    assert (stored["acknowledged_by"], stored["acknowledged_until"]) == (
        OPERATOR,
        to_unix_ms(story.at),
    )
    assert [ended[name] for name in ("acknowledged_at", "acknowledged_by")] == [None, None]
    assert ended["acknowledged_until"] is None
    assert await kinds(story, event_id) == [OPENED, OPENED]
    assert (await story.timeline(event_id))[-1] == "incident_unacknowledged"


async def test_many_workers_end_it_once(story: Story) -> None:
    event_id, incident_id = await story.opened()
    await sent(story, event_id)
    await acknowledged(story, incident_id)
    story.later(hours=2)

    ended = await asyncio.gather(*(story.do(end_quiet_times, incident_id) for _ in range(8)))

    assert sum(ended) == 1
    assert await kinds(story, event_id) == [OPENED, OPENED]


async def test_transaction_that_is_lost_is_repeated_whole(story: Story) -> None:
    event_id, incident_id = await story.opened()
    await sent(story, event_id)
    await acknowledged(story, incident_id)
    story.later(hours=2)
    await _end_and_die(story, incident_id)

    assert await kinds(story, event_id) == [OPENED]
    assert await end_due(story) == [incident_id]
    assert await kinds(story, event_id) == [OPENED, OPENED]


@pytest.mark.parametrize("state", [LifecycleState.CALLING, LifecycleState.AWAITING_RESULT])
async def test_nobody_is_alerted_while_a_repair_runs(story: Story, state: LifecycleState) -> None:
    event_id, _ = await story.reach(state)
    await sent(story, event_id)
    await acknowledged(story, await story.incident_id(event_id), until=story.at + timedelta(1))
    story.later(days=1)

    await end_due(story)

    assert await kinds(story, event_id) == [OPENED]
    (ended,) = await story.rows("incidents", event_id)
    assert ended["acknowledged_at"] is None


async def test_nothing_is_due_for_a_resolved_incident(story: Story) -> None:
    event_id, incident_id = await story.opened()
    await acknowledged(story, incident_id)
    await snoozed(story, incident_id, hours=1)
    await story.do(resolve_manually, incident_id, reason="refunded", requested_by=OPERATOR)
    story.later(days=2)

    assert await end_due(story) == []

    (ended,) = await story.rows("incidents", event_id)
    assert (ended["acknowledged_until"], ended["snoozed_until"]) == (None, None)
    assert ended["acknowledged_by"] == OPERATOR
    assert await kinds(story, event_id) == [OPENED, RESOLVED]


async def test_what_an_earlier_version_resolved_is_cleared_in_silence(story: Story) -> None:
    event_id, _ = await story.reach(LifecycleState.CLOSED)
    before = await kinds(story, event_id), await story.timeline(event_id)
    async with story.database.transaction() as session:
        st = SessionStatements(session)
        left = "UPDATE incidents SET snoozed_until = 1 WHERE event_id = $1 RETURNING id"
        await st.fetch(left, event_id)

    assert await end_due(story) == [await story.incident_id(event_id)]

    assert (await kinds(story, event_id), await story.timeline(event_id)) == before
    assert await end_due(story) == []


async def test_taking_an_acknowledgement_back_alerts_nobody(story: Story) -> None:
    event_id, incident_id = await story.opened()
    await acknowledged(story, incident_id)

    await story.do(unacknowledge, incident_id, requested_by=OPERATOR)
    await story.do(unacknowledge, incident_id, requested_by=OPERATOR)
    story.later(days=2)

    assert await end_due(story) == []
    assert (await story.timeline(event_id)).count("incident_unacknowledged") == 1
    assert await kinds(story, event_id) == [OPENED]


async def test_acknowledgement_that_ends_during_a_snooze_is_silent_until_the_snooze_ends(
    story: Story,
) -> None:
    event_id, incident_id = await story.opened()
    await sent(story, event_id)
    await acknowledged(story, incident_id)
    await snoozed(story, incident_id, days=1)

    story.later(hours=2)
    await end_due(story)
    during = await kinds(story, event_id)
    story.later(days=1)
    await end_due(story)

    assert during == [OPENED]
    assert await kinds(story, event_id) == [OPENED, OPENED]
    assert (await story.timeline(event_id))[-2:] == ["incident_unacknowledged", "snooze_ended"]


async def test_held_alert_is_the_new_round_of_its_destination(story: Story) -> None:
    event_id, incident_id = await story.opened()
    until = await snoozed(story, incident_id, hours=1)
    await _hold_all(story, event_id)
    story.later(minutes=59)
    assert await _claimed(story) == []

    story.later(minutes=1)
    await end_due(story)

    assert story.at == until
    assert await _claimed(story) == [OPENED]
    assert await kinds(story, event_id) == [OPENED]


async def test_failed_repair_ends_the_snooze_and_releases_what_is_held(story: Story) -> None:
    event_id, incident_id = await story.opened()
    await snoozed(story, incident_id, days=30)
    await _hold_all(story, event_id)
    replay_id = await _repairing(story, event_id)

    await story.attempt(event_id, replay_id, status=400, ending="rejected")

    (open_again,) = await story.rows("incidents", event_id)
    assert open_again["snoozed_until"] is None
    assert sorted(await _claimed(story)) == [OPENED, FAILED]
    assert (await story.timeline(event_id))[-2:] == ["repair_failed", "snooze_ended"]


async def test_alert_is_not_held_for_a_snooze_that_has_ended(story: Story) -> None:
    event_id, _ = await story.opened()

    await _hold_all(story, event_id)

    assert await _claimed(story) == [OPENED]


@pytest.mark.parametrize(
    ("sql", "values"), [(PROJECTS_WITH_DUE_ENDS, ("", 200, 0)), (DUE_ENDS, ("prj_1", 0, 20))]
)
async def test_loop_reads_both_partial_indexes(
    story: Story, sql: str, values: tuple[Any, ...]
) -> None:
    is_sqlite = story.database.dialect == "sqlite"
    async with story.database.transaction() as session:
        st = SessionStatements(session)
        if not is_sqlite:
            await st.fetch("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN QUERY PLAN" if is_sqlite else "EXPLAIN"
        plan = str(await st.fetch(f"{explain} {sql}", *values))

    assert "incidents_acknowledged" in plan
    assert "incidents_snoozed" in plan


async def _end_and_die(story: Story, incident_id: IncidentId) -> None:
    """A worker that is killed before it commits."""
    with suppress(ZeroDivisionError):
        async with story.database.transaction() as session:
            await end_quiet_times(SessionStatements(session), incident_id, story.at)
            raise ZeroDivisionError


async def _repairing(story: Story, event_id: EventId) -> Any:
    return (await story.do(request_repair, event_id, requested_by=OPERATOR)).replay_id


async def _hold_all(story: Story, event_id: EventId) -> None:
    """A sender finds the incident snoozed."""
    rows = await story.rows("alerts", event_id)
    async with story.database.transaction() as session:
        for row in rows:
            await hold_alert(session, row["id"], row["incident_id"])


async def _claimed(story: Story) -> list[str]:
    """The kinds of alerts that are due now. Nothing is leased for longer than a moment."""
    async with story.database.transaction() as session:
        due = await claim_alerts(session, story.at, limit=10, lease_seconds=0)
    return [str(alert.kind) for alert in due]
