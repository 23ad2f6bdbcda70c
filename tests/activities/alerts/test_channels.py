"""The sender picks the channel that the alert names, and opens a secret target only to send."""

import json
from datetime import timedelta
from typing import Any

from sqlalchemy import text

from activities.alerts.channels import AlertMessage, Channels
from activities.alerts.email import EmailChannel
from activities.alerts.email_smtp import SmtpMailer, parse_mail_server
from activities.alerts.send import AlertActivities
from activities.messages import AlertsSent, SendAlerts
from domain.alerts import AlertChannel
from domain.ids import DestinationId, EventId
from store.alerts.destinations import add_secret_destination, remove_destination
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.activities.alerts.by_mail import PUBLIC_URL, WRITER, alerts_by_mail
from tests.activities.alerts.smtp_server import Server, serving
from tests.activities.read_mails import read_by_hand
from tests.support.given import Story, keep_incidents_apart

SECRET = "on-call+8f2c1b@shop.example"


class Recorder:
    """A channel that accepts everything."""

    def __init__(self) -> None:
        self.sent: list[tuple[AlertMessage, str]] = []

    async def send(self, message: AlertMessage, target: str) -> None:
        self.sent.append((message, target))


async def opened_with_secret(story: Story, sealer: Sealer) -> tuple[SendAlerts, DestinationId]:
    """An incident whose alerts go to the project's address, and to a secret one."""
    async with story.database.transaction() as session:
        destination_id = await add_secret_destination(
            session,
            sealer,
            project_id=story.project.id,
            channel=AlertChannel.EMAIL,
            target=SECRET,
        )
    event_id, incident_id = await story.opened()
    story.database.clock.skew = timedelta(hours=1)
    return SendAlerts(event_id, incident_id), destination_id


async def set_channel(story: Story, channel: str) -> None:
    async with story.database.transaction() as session:
        await session.execute(text("UPDATE alert_destinations SET channel = :to"), {"to": channel})


def activities(database: Database, sealer: Sealer, channels: Channels) -> AlertActivities:
    return AlertActivities(database, sealer=sealer, channels=channels, public_url=PUBLIC_URL)


async def entries(story: Story, event_id: str) -> list[dict[str, Any]]:
    rows = await story.rows("timeline", EventId(event_id))
    return [row["fields"] for row in rows if row["kind"] in {"alert_sent", "alert_failed"}]


async def test_secret_address_gets_its_mail_and_is_on_no_timeline(
    database: Database, story: Story, sealer: Sealer
) -> None:
    order, destination_id = await opened_with_secret(story, sealer)
    server = Server()

    with serving(server) as url:
        sent = await alerts_by_mail(database, SmtpMailer(parse_mail_server(url))).send_alerts(order)

    noted = await entries(story, order.event_id)
    assert sent == AlertsSent(sent=2, failed=0)
    assert sorted(server.recipients) == sorted(["ops@shop.example", SECRET])
    assert {fields["destination"] for fields in noted} == {"ops@shop.example", destination_id}
    assert SECRET not in json.dumps(noted)
    ids = {read_by_hand(mail)["Message-ID"] for mail in server.taken}
    assert len(ids) == 2


async def test_secret_destination_that_was_removed_gets_nothing(
    database: Database, story: Story, sealer: Sealer
) -> None:
    order, destination_id = await opened_with_secret(story, sealer)
    async with database.transaction() as session:
        await remove_destination(session, story.project.id, destination_id)
    server = Server()

    with serving(server) as url:
        await alerts_by_mail(database, SmtpMailer(parse_mail_server(url))).send_alerts(order)

    (ended,) = [fields for fields in await entries(story, order.event_id) if "final" in fields]
    assert server.recipients == ["ops@shop.example"]
    assert (ended["destination"], ended["reason"]) == (destination_id, "address_removed")


async def test_target_that_no_known_secret_opens_is_retried_and_delays_no_other(
    database: Database, story: Story, sealer: Sealer
) -> None:
    order, destination_id = await opened_with_secret(story, sealer)
    server = Server()

    with serving(server) as url:
        channel = EmailChannel(SmtpMailer(parse_mail_server(url)), WRITER)
        other_sealer = Sealer("a root secret that sealed nothing here")
        alerts = activities(database, other_sealer, {AlertChannel.EMAIL: channel})
        outcome = await alerts.send_alerts(order)

    (failed,) = [fields for fields in await entries(story, order.event_id) if "error" in fields]
    assert (outcome, server.recipients) == (AlertsSent(sent=1, failed=1), ["ops@shop.example"])
    assert (failed["destination"], failed["error"]) == (destination_id, "SealBroken")


async def test_alert_goes_to_the_channel_that_it_names(
    database: Database, story: Story, sealer: Sealer
) -> None:
    await story.do(keep_incidents_apart, story.project.id)
    first, _ = await story.opened()
    await set_channel(story, "pager")
    second, _ = await story.opened(internal_reference="order 7\r\nof Ada")
    story.database.clock.skew = timedelta(hours=1)
    pager, mail = Recorder(), Recorder()

    sent = await activities(database, sealer, {"pager": pager, "email": mail}).deliver()

    ((message, target),) = pager.sent
    assert (sent, mail.sent, target) == (AlertsSent(sent=1, failed=1), [], "ops@shop.example")
    assert (message.event_id, message.link) == (second, f"{PUBLIC_URL}/events/{second}")
    assert message.summary == "[shop, test] Access not confirmed: order 7 of Ada (no result)"
    assert dict(message.facts)["Reference"] == "order 7 of Ada"
    (ended,) = await entries(story, first)
    assert ended["reason"] == "address_removed", "no e-mail destination is left"


async def test_alert_says_how_much_is_at_risk_and_whose(
    database: Database, story: Story, sealer: Sealer
) -> None:
    await story.opened(amount=120_450, currency="EUR", customer_reference="customer 7\r\nof Ada")
    story.database.clock.skew = timedelta(hours=1)
    mail = Recorder()

    await activities(database, sealer, {"email": mail}).deliver()

    ((message, _),) = mail.sent
    facts = dict(message.facts)
    assert (facts["Amount"], facts["Customer"]) == ("EUR 1,204.50", "customer 7 of Ada")


async def test_alert_of_a_channel_of_a_newer_version_is_left_to_it(
    database: Database, story: Story, sealer: Sealer
) -> None:
    await set_channel(story, "pager")
    event_id, incident_id = await story.opened()
    story.database.clock.skew = timedelta(hours=1)

    outcome = await activities(database, sealer, {"email": Recorder()}).send_alerts(
        SendAlerts(event_id, incident_id)
    )

    (row,) = await story.rows("alerts", event_id)
    assert outcome == AlertsSent(sent=0, failed=1)
    assert (row["tries"], row["last_error"], row["ended_at"]) == (1, "unknown channel", None)


async def test_message_of_an_unknown_kind_is_plain(database: Database, story: Story) -> None:
    event_id, incident_id = await story.opened()
    story.database.clock.skew = timedelta(hours=1)
    async with database.transaction() as session:
        await session.execute(text("UPDATE alerts SET kind = 'of_later'"))
    server = Server()

    with serving(server) as url:
        alerts = alerts_by_mail(database, SmtpMailer(parse_mail_server(url)))
        sent = await alerts.send_alerts(SendAlerts(event_id, incident_id))

    assert sent == AlertsSent(sent=1, failed=0)
    assert read_by_hand(server.taken[0])["Subject"] == f"Incident update: {event_id}"
