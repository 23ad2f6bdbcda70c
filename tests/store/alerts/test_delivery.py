"""Alerts: claimed under a lease, recorded once, failures logged at the first and each doubling."""

import asyncio
from datetime import datetime, timedelta

from domain.alerts import AlertChannel
from domain.incidents import AlertKind, IncidentState, RepairCause
from domain.lifecycle import LifecycleState
from store.alerts import claims as alert_claims
from store.alerts import delivery as alerts
from store.alerts.due import AlertDue, AlertFacts
from store.alerts.facts import read_facts
from store.db.database import Database
from tests.support.given import START, Story, keep_incidents_apart


async def claim(story: Story, *, now: datetime | None = None, **narrowed: object) -> list[AlertDue]:
    async with story.database.transaction() as session:
        limited = {"limit": 100} | narrowed
        return await alert_claims.claim_alerts(session, now or story.at, **limited)  # type: ignore[arg-type]


async def facts_of(story: Story, alert: AlertDue) -> AlertFacts:
    async with story.database.reading() as session:
        facts = await read_facts(session, alert, story.at)
    assert isinstance(facts, AlertFacts)
    return facts


async def fail(story: Story, alert: AlertDue, *, retry_at: datetime) -> None:
    async with story.database.transaction() as session:
        await alerts.record_alert_failed(
            session, alert.alert_id, story.at, error="refused\0", retry_at=retry_at
        )


async def send(story: Story, alert: AlertDue) -> None:
    async with story.database.transaction() as session:
        await alerts.record_alert_sent(session, alert.alert_id, story.at)


async def test_a_claimed_alert_has_all_that_a_mail_needs(story: Story) -> None:
    event_id, incident_id = await story.opened()

    (alert,) = await claim(story)
    facts = await facts_of(story, alert)

    assert (alert.kind, alert.destination, facts.project_name) == (
        AlertKind.INCIDENT_OPENED,
        "ops@shop.example",
        "shop",
    )
    assert (alert.replay_id, facts.cause, alert.tries) == (None, None, 0)
    assert (facts.incident.id, facts.incident.state) == (incident_id, IncidentState.OPEN)
    (destination,) = facts.destinations
    assert (facts.receipt.event_id, destination.target) == (event_id, "ops@shop.example")
    assert (alert.channel, destination.channel) == (AlertChannel.EMAIL, AlertChannel.EMAIL)


async def test_an_alert_of_a_failed_repair_names_the_repair_and_its_cause(story: Story) -> None:
    _, replay_id = await story.reach(LifecycleState.OPEN)

    failed = [alert for alert in await claim(story) if alert.kind is AlertKind.REPAIR_FAILED]

    assert [(alert.replay_id, (await facts_of(story, alert)).cause) for alert in failed] == [
        (replay_id, RepairCause.REJECTED)
    ]


async def test_nobody_else_gets_a_claimed_alert_during_its_lease(story: Story) -> None:
    await story.opened()
    (alert,) = await claim(story)

    during = await claim(story, now=story.at + timedelta(seconds=29.9))
    after = await claim(story, now=story.at + timedelta(seconds=30))

    assert (during, [again.alert_id for again in after]) == ([], [alert.alert_id])


async def test_one_incidents_alerts_can_be_claimed_alone(story: Story) -> None:
    await story.do(keep_incidents_apart, story.project.id)
    _, first = await story.opened()
    _, second = await story.opened()

    claimed = await claim(story, incident_id=second)
    left = await claim(story, limit=1)

    assert [alert.incident_id for alert in claimed] == [second]
    assert [alert.incident_id for alert in left] == [first]


async def test_concurrent_claims_share_without_overlap(story: Story) -> None:
    await story.do(keep_incidents_apart, story.project.id)
    for _ in range(6):
        await story.opened()
    other = Story(Database.open(story.database.url), story.project)
    other.at = story.at

    claims = await asyncio.gather(*(claim(one, limit=2) for one in (story, other) * 3))

    await other.database.close()
    ids = [alert.alert_id for claimed in claims for alert in claimed]
    assert len(ids) == len(set(ids))
    assert len(ids) + len(await claim(story)) == 6


async def test_sent_alert_is_recorded_once_and_never_claimed_again(story: Story) -> None:
    event_id, _ = await story.opened()
    (alert,) = await claim(story)

    await send(story, alert)
    await send(story, alert)
    await fail(story, alert, retry_at=START)

    recorded = [
        row["fields"]
        for row in await story.rows("timeline", event_id)
        if row["kind"].startswith("alert")
    ]
    assert recorded == [{"alert_kind": "incident_opened", "destination": "ops@shop.example"}]
    assert await claim(story, now=story.at + timedelta(days=1)) == []


async def test_failed_alert_is_due_again_at_the_recorded_time(story: Story) -> None:
    await story.opened()
    (alert,) = await claim(story)

    await fail(story, alert, retry_at=story.at + timedelta(minutes=5))

    before = await claim(story, now=story.at + timedelta(minutes=4, seconds=59))
    (again,) = await claim(story, now=story.at + timedelta(minutes=5))
    assert (before, again.tries) == ([], 1)


async def test_first_failure_and_each_doubling_is_logged(story: Story) -> None:
    event_id, _ = await story.opened()
    (alert,) = await claim(story)

    for _ in range(9):
        await fail(story, alert, retry_at=story.at)

    logged = [
        row["fields"]
        for row in await story.rows("timeline", event_id)
        if row["kind"] == "alert_failed"
    ]
    assert [fields["tries"] for fields in logged] == [1, 2, 4, 8]
    assert {fields["error"] for fields in logged} == {"refused"}
