"""Undeliverable alerts end visibly. One bad alert, address or server does not affect the others."""

import asyncio
import time
from datetime import timedelta
from typing import Any

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from sqlalchemy import text

from activities.alerts.channels import AlertMessage
from activities.alerts.email_format import OutgoingMail
from activities.alerts.email_message import MailWriter
from activities.alerts.email_smtp import SmtpMailer, parse_mail_server
from activities.alerts.send import ALERTS_AT_ONCE, AlertActivities
from activities.messages import AlertsSent, SendAlerts
from domain.ids import EventId
from domain.projects import ProjectChanges
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.projects import change_project, create_project
from tests.activities.alerts.by_mail import alerts_by_mail
from tests.activities.alerts.smtp_server import Server, serving
from tests.activities.read_mails import read_by_hand
from tests.store.alerts.test_claims import other_project
from tests.support.given import Story, keep_incidents_apart
from tests.support.waiting import wait_until_async


def activities(database: Database, url: str) -> AlertActivities:
    return alerts_by_mail(database, SmtpMailer(parse_mail_server(url)))


async def opened_for(story: Story, *destinations: str, **changes: Any) -> SendAlerts:
    await save(story, *destinations)
    event_id, incident_id = await story.opened(**changes)
    story.database.clock.skew = timedelta(hours=1)
    return SendAlerts(event_id, incident_id)


async def save(story: Story, *destinations: str) -> None:
    async with story.database.transaction() as session:
        await change_project(
            session, story.project.id, changes=ProjectChanges(alert_emails=destinations)
        )


async def entries(story: Story, order: SendAlerts, kind: str) -> list[dict[str, Any]]:
    rows = await story.rows("timeline", EventId(order.event_id))
    return [row["fields"] for row in rows if row["kind"] == kind]


@pytest.mark.parametrize(
    ("step", "answer", "error"),
    [
        ("rcpt", "550 5.1.1 no such user", "SMTPRecipientsRefused 550"),
        ("mail", "550 5.1.8 bad sender", "SMTPSenderRefused 550"),
        ("data", "554 5.6.0 not this", "SMTPDataError 554"),
    ],
)
async def test_permanent_refusal_ends_the_alert_visibly(
    database: Database, story: Story, step: str, answer: str, error: str
) -> None:
    order = await opened_for(story, "gone@shop.example")

    with serving(Server(**{step: {"": answer}})) as url:
        outcome = await activities(database, url).send_alerts(order)
        story.database.clock.skew += timedelta(days=2)
        again = await activities(database, url).deliver()

    assert (outcome, again) == (AlertsSent(0, 1), AlertsSent(0, 0))
    assert await entries(story, order, "alert_failed") == [
        {
            "alert_kind": "incident_opened",
            "destination": "gone@shop.example",
            "tries": 1,
            "error": error,
            "final": True,
            "reason": "refused",
        }
    ]


async def test_other_destinations_are_notified_once_a_day_of_one_that_is_refused(
    database: Database, story: Story
) -> None:
    await story.do(keep_incidents_apart, story.project.id)
    order = await opened_for(story, "gone@shop.example", "ops@shop.example")
    server = Server(rcpt={"gone@shop.example": "550 5.1.1 no"})

    with serving(server) as url:
        alerts = activities(database, url)
        await alerts.send_alerts(order)
        await alerts.deliver()
        second, incident_id = await story.opened()
        await alerts.send_alerts(SendAlerts(second, incident_id))
        await alerts.deliver()

    subjects = sorted(read_by_hand(content)["Subject"] for content in server.taken)
    assert server.recipients == ["ops@shop.example"] * 3
    assert (
        len(
            [
                row
                for row in await story.rows("alerts", EventId(order.event_id))
                if row["kind"] == "destination_failing"
            ]
        )
        == 1
    )
    assert await story.alerts(second) == [
        ("incident_opened", "", "gone@shop.example"),
        ("incident_opened", "", "ops@shop.example"),
    ]
    assert len(set(subjects)) == 3
    notice = next(content for content in server.taken if b"Not reached" in content)
    assert b"gone@shop.example" in notice
    assert read_by_hand(notice)["In-Reply-To"].startswith(f"<{order.incident_id}.incident_opened.")


async def test_temporary_refusal_is_tried_for_a_day_from_its_first_failure_and_ends(
    database: Database, story: Story
) -> None:
    order = await opened_for(story, "slow@shop.example")

    with serving(Server(rcpt={"": "451 4.7.1 greylisted"})) as url:
        alerts = activities(database, url)
        await alerts.send_alerts(order)
        story.database.clock.skew += timedelta(hours=23, minutes=59)
        within = await alerts.deliver()
        story.database.clock.skew += timedelta(minutes=2)
        at_the_end = await alerts.deliver()
        story.database.clock.skew += timedelta(days=1)
        after = await alerts.deliver()

    assert (within, at_the_end, after) == (AlertsSent(0, 1), AlertsSent(0, 1), AlertsSent(0, 0))
    (last,) = [
        fields for fields in await entries(story, order, "alert_failed") if "final" in fields
    ]
    assert (last["reason"], last["tries"], last["error"]) == (
        "timed_out",
        3,
        "SMTPRecipientsRefused 451",
    )


async def test_alert_that_waited_days_for_a_worker_is_still_tried(
    database: Database, story: Story
) -> None:
    order = await opened_for(story, "ops@shop.example")
    story.database.clock.skew += timedelta(days=3)
    server = Server()

    with serving(server) as url:
        outcome = await activities(database, url).send_alerts(order)

    assert (outcome, server.recipients) == (AlertsSent(1, 0), ["ops@shop.example"])


async def test_address_that_was_removed_gets_nothing_more(database: Database, story: Story) -> None:
    order = await opened_for(story, "left@shop.example", "ops@shop.example")
    await save(story, "ops@shop.example")
    server = Server()

    with serving(server) as url:
        await activities(database, url).send_alerts(order)

    assert server.recipients == ["ops@shop.example"]
    (last,) = await entries(story, order, "alert_failed")
    assert (last["destination"], last["final"], last["reason"]) == (
        "left@shop.example",
        True,
        "address_removed",
    )


async def test_opening_that_fails_for_long_ends_with_its_incident_whose_end_is_sent(
    database: Database, story: Story
) -> None:
    order = await opened_for(story, "ops@shop.example")
    with serving(Server(rcpt={"": "451 later"})) as url:
        await activities(database, url).send_alerts(order)
    await story.result(EventId(order.event_id))
    story.database.clock.skew += timedelta(minutes=10)
    server = Server()

    with serving(server) as url:
        await activities(database, url).deliver()

    assert [read_by_hand(content)["Message-ID"].split(".")[1] for content in server.taken] == [
        "incident_resolved"
    ]
    (last,) = [
        fields for fields in await entries(story, order, "alert_failed") if "final" in fields
    ]
    assert (last["alert_kind"], last["reason"]) == ("incident_opened", "incident_over")


async def test_opening_is_sent_although_its_incident_ended_a_moment_ago(
    database: Database, story: Story
) -> None:
    order = await opened_for(story, "ops@shop.example")
    await story.result(EventId(order.event_id))
    server = Server()

    with serving(server) as url:
        await activities(database, url).send_alerts(order)

    kinds = sorted(read_by_hand(content)["Message-ID"].split(".")[1] for content in server.taken)
    assert kinds == ["incident_opened", "incident_resolved"]


async def test_stored_address_that_no_server_accepts_ends_and_delays_no_other(
    database: Database, story: Story
) -> None:
    order = await opened_for(
        story, "jörg@shop.example", "a@b.example\r\nBcc: c@d.example", "ops@bücher.example"
    )
    server = Server()

    with serving(server) as url:
        outcome = await activities(database, url).send_alerts(order)

    assert (outcome, server.recipients) == (AlertsSent(1, 2), ["ops@xn--bcher-kva.example"])
    ends = await entries(story, order, "alert_failed")
    assert [fields["reason"] for fields in ends] == ["address_refused", "address_refused"]


@pytest.mark.parametrize(
    "damage",
    [
        "DELETE FROM incidents WHERE event_id = :id",
        "UPDATE receipts SET occurred_at = 9000000000000000000 WHERE event_id = :id",
    ],
)
async def test_alert_that_cannot_be_read_goes_out_with_its_ids_and_stops_no_batch(
    database: Database, story: Story, damage: str
) -> None:
    await story.do(keep_incidents_apart, story.project.id)
    broken = await opened_for(story, "ops@shop.example")
    whole, _ = await story.opened()
    async with database.transaction() as session:
        await session.execute(text(damage), {"id": broken.event_id})
    server = Server()

    with serving(server) as url:
        outcome = await activities(database, url).deliver()

    assert outcome == AlertsSent(sent=2, failed=0)
    plain, wanted = sorted(server.taken, key=len)
    assert read_by_hand(plain)["Subject"] == f"Incident: {broken.event_id}"
    assert whole.encode() in wanted


async def test_contents_that_a_server_refuses_go_out_in_their_plainest_form(
    database: Database, story: Story
) -> None:
    order = await opened_for(story, "ops@shop.example", internal_reference="cheap pills")

    class Choosy(Server):
        async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
            assert isinstance(envelope.content, bytes)
            is_refused = b"cheap pills" in envelope.content
            return (
                "554 5.7.1 spam"
                if is_refused
                else await super().handle_DATA(server, session, envelope)
            )

    server = Choosy()
    with serving(server) as url:
        outcome = await activities(database, url).send_alerts(order)

    assert outcome == AlertsSent(sent=1, failed=0)
    assert read_by_hand(server.taken[0])["Subject"] == f"Incident: {order.event_id}"


async def test_mail_that_cannot_be_written_goes_out_in_its_plainest_form(
    database: Database, story: Story
) -> None:
    order = await opened_for(story, "ops@shop.example")

    class Clumsy(MailWriter):
        def write(self, message: AlertMessage, address: str) -> OutgoingMail:
            if not message.is_plain:
                raise ValueError("a bug")
            return super().write(message, address)

    writer = Clumsy(mail_from="makegood@example.com")
    server = Server()
    with serving(server) as url:
        mailer = SmtpMailer(parse_mail_server(url))
        outcome = await alerts_by_mail(database, mailer, writer=writer).send_alerts(order)

    assert outcome == AlertsSent(sent=1, failed=0)
    assert order.incident_id.encode() in server.taken[0]


async def test_silent_server_uses_only_its_own_slots_and_blocks_no_activity_for_long(
    database: Database, story: Story, sealer: Sealer
) -> None:
    story.database.clock.skew = timedelta(days=1)
    # Of two projects: each has half of the slots.
    stories = [story, await other_project(story, sealer)]
    for one in stories:
        await one.do(keep_incidents_apart, one.project.id)
    orders = []
    for number in range(ALERTS_AT_ONCE + 1):
        event_id, incident_id = await stories[number % 2].opened()
        orders.append(SendAlerts(event_id, incident_id))
    under_way: list[OutgoingMail] = []

    async def silent(mail: OutgoingMail) -> None:
        under_way.append(mail)
        await asyncio.Event().wait()

    async def all_are() -> bool:
        return len(under_way) == ALERTS_AT_ONCE

    alerts = alerts_by_mail(database, silent)
    sending = [asyncio.create_task(alerts.send_alerts(order)) for order in orders[:-1]]
    await wait_until_async(all_are, what="every slot is in use")
    began = time.monotonic()

    left = await alerts.send_alerts(orders[-1])

    assert left == AlertsSent(sent=0, failed=0)
    assert time.monotonic() - began < 5
    assert len(under_way) == ALERTS_AT_ONCE
    for task in sending:
        task.cancel()
    await asyncio.gather(*sending, return_exceptions=True)
    async with asyncio.timeout(5):
        assert await alerts_by_mail(database, _taken).send_alerts(orders[-1]) == AlertsSent(
            sent=1, failed=0
        )


async def _taken(mail: OutgoingMail) -> None:
    """A server that accepts everything."""


async def test_alert_that_cannot_be_recorded_stops_no_other(
    sqlite_url: str, sealer: Sealer
) -> None:
    database = Database.open(sqlite_url)
    story = await story_on(database, sealer)
    order = await opened_for(story, "bad@shop.example", "ops@shop.example")
    async with database.transaction() as session:
        refusing = "BEGIN SELECT RAISE(ABORT, 'a broken row'); END"
        when = "WHEN NEW.destination = 'bad@shop.example'"
        await session.execute(
            text(f"CREATE TRIGGER broken BEFORE UPDATE OF sent_at ON alerts {when} {refusing}")
        )
    server = Server()

    with serving(server) as url:
        outcome = await activities(database, url).deliver()

    rows = {
        row["destination"]: row["sent_at"]
        for row in await story.rows("alerts", EventId(order.event_id))
    }
    await database.close()
    assert outcome == AlertsSent(sent=1, failed=1)
    assert rows["ops@shop.example"] is not None
    assert rows["bad@shop.example"] is None


async def story_on(database: Database, sealer: Sealer) -> Story:
    async with database.transaction() as session:
        created = await create_project(
            session, sealer, name="shop", livemode=False, now=await database.now(session)
        )
    return Story(database, created.project)
