"""Mail about an incident that somebody looks after: assigned, snoozed, alerted again."""

from datetime import timedelta
from typing import Any

import pytest

from activities.alerts.email_smtp import SmtpMailer, parse_mail_server
from activities.alerts.send import AlertActivities
from activities.messages import SendAlerts
from domain.ids import EventId, IncidentId, UserId
from domain.values.timestamps import to_unix_ms
from store.db.database import Database
from store.people import members, users
from store.receipts.operator_actions import acknowledge, assign, snooze
from store.receipts.triage.quiet_times import end_quiet_times
from tests.activities.alerts.by_mail import alerts_by_mail
from tests.support.given import OPERATOR, Story
from tests.workflows.smtp_server import running_mail_server

ADA = "ada@shop.example"


def activities(database: Database, url: str) -> AlertActivities:
    return alerts_by_mail(database, SmtpMailer(parse_mail_server(url)))


@pytest.fixture
async def opened(story: Story) -> SendAlerts:
    """An incident whose alert is due by the store's clock."""
    async with story.database.reading() as session:
        story.at = await story.database.now(session) - timedelta(hours=1)
    event_id, incident_id = await story.opened()
    return SendAlerts(event_id, incident_id)


async def rows(story: Story, order: SendAlerts) -> list[dict[str, Any]]:
    return await story.rows("alerts", EventId(order.event_id))


async def member(story: Story) -> UserId:
    async with story.database.transaction() as session:
        ada = await users.create_user(session, email=ADA, now=story.at)
        await members.promote(session, ada.user_id, now=story.at)
    return ada.user_id


async def assigned(story: Story, order: SendAlerts, assignee: UserId | None) -> None:
    given = {"assignee": assignee, "email": ADA, "requested_by": OPERATOR}
    await story.do(assign, IncidentId(order.incident_id), **given)


async def test_assignee_is_mailed_though_they_are_no_destination(
    database: Database, story: Story, opened: SendAlerts
) -> None:
    await assigned(story, opened, await member(story))

    with running_mail_server() as (post, url):
        await activities(database, url).send_alerts(opened)

    mails = {mail["To"]: mail for mail in post.mails}
    assert mails.keys() == {ADA, "ops@shop.example"}
    assert "Incident assigned to you" in mails[ADA]["Subject"]
    assert "was assigned to you" in str(mails[ADA].get_body(("plain",)))


async def test_mail_to_who_is_assignee_no_more_is_not_sent(
    database: Database, story: Story, opened: SendAlerts
) -> None:
    await assigned(story, opened, await member(story))
    await assigned(story, opened, None)

    with running_mail_server() as (post, url):
        await activities(database, url).send_alerts(opened)

    assert [mail["To"] for mail in post.mails] == ["ops@shop.example"]


async def test_snoozed_incident_is_silent_and_its_alert_waits_for_the_end(
    database: Database, story: Story, opened: SendAlerts
) -> None:
    until = story.at + timedelta(hours=5)
    incident_id = IncidentId(opened.incident_id)
    await story.do(snooze, incident_id, until=until, requested_by=OPERATOR)

    with running_mail_server() as (post, url):
        alerts = activities(database, url)
        await alerts.send_alerts(opened)
        await alerts.deliver()
        silent, held = list(post.mails), await rows(story, opened)
        database.clock.skew += timedelta(hours=6)
        story.at = until
        await story.do(end_quiet_times, incident_id)
        await alerts.deliver()

    assert silent == []
    assert [(row["due_at"], row["tries"]) for row in held] == [(to_unix_ms(until), 0)]
    assert len(post.mails) == 1


async def test_new_round_says_why_and_answers_the_first_mail(
    database: Database, story: Story, opened: SendAlerts
) -> None:
    incident_id = IncidentId(opened.incident_id)
    with running_mail_server() as (post, url):
        alerts = activities(database, url)
        await alerts.send_alerts(opened)
        await story.do(acknowledge, incident_id, requested_by=OPERATOR)
        story.later(hours=4)
        database.clock.skew += timedelta(hours=5)
        await story.do(end_quiet_times, incident_id)
        await alerts.deliver()

    first, again = post.mails
    assert again["Subject"] == first["Subject"]
    assert again["In-Reply-To"] == first["Message-ID"] != again["Message-ID"]
    text = str(again.get_body(("plain",)))
    assert "The acknowledgement of this incident has ended." in " ".join(text.split())
    assert "Repair ID" not in text
