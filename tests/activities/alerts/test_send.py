"""Mail about incidents over real SMTP: same Message-ID for copies, threads, recorded outcomes."""

import asyncio
from datetime import timedelta
from email import message_from_bytes
from email.message import EmailMessage, Message
from email.policy import compat32

import pytest

from activities.alerts.email_format import OutgoingMail
from activities.alerts.email_smtp import SmtpMailer, parse_mail_server
from activities.alerts.send import AlertActivities
from activities.messages import AlertsSent, SendAlerts
from domain.alerts import AlertChannel, alert_retry_seconds
from domain.ids import EventId
from domain.incidents import RepairCause
from domain.lifecycle import LifecycleState
from domain.projects import ProjectChanges
from store.db.database import Database
from store.projects.projects import change_project
from tests.activities.alerts.by_mail import alerts_by_mail
from tests.activities.read_mails import read_by_hand
from tests.support.given import Story
from tests.support.waiting import wait_until_async
from tests.workflows.smtp_server import running_mail_server


def activities(database: Database, smtp_url: str) -> AlertActivities:
    mailer = SmtpMailer(parse_mail_server(smtp_url))
    return alerts_by_mail(database, mailer)


def text_of(mail: EmailMessage, subtype: str) -> str:
    part = mail.get_body((subtype,))
    assert part is not None
    content = part.get_content()
    assert isinstance(content, str)
    return content


async def test_opened_incident_is_mailed_in_text_and_html_with_a_link(
    database: Database, story: Story
) -> None:
    event_id, incident_id = await story.opened(internal_reference="order <1001>")
    story.database.clock.skew = timedelta(hours=1)

    with running_mail_server() as (post, url):
        sent = await activities(database, url).send_alerts(SendAlerts(event_id, incident_id))

    assert sent == AlertsSent(sent=1, failed=0)
    mail = post.mails[0]
    assert mail["Subject"] == "[shop, test] Access not confirmed: order <1001> (no result)"
    assert mail["To"] == "ops@shop.example"
    for subtype in ("plain", "html"):
        assert f"https://makegood.example.com/events/{event_id}" in text_of(mail, subtype)
        assert "No result before the deadline" in text_of(mail, subtype)
    assert "order &lt;1001&gt;" in text_of(mail, "html")
    assert (await story.timeline(event_id))[-1] == "alert_sent"


async def test_second_run_sends_nothing_more(database: Database, story: Story) -> None:
    event_id, incident_id = await story.opened()
    story.database.clock.skew = timedelta(hours=1)

    with running_mail_server() as (post, url):
        await activities(database, url).send_alerts(SendAlerts(event_id, incident_id))
        again = await activities(database, url).send_alerts(SendAlerts(event_id, incident_id))

    assert again == AlertsSent(sent=0, failed=0)
    assert len(post.mails) == 1


async def test_copy_has_the_same_message_id_and_later_mails_are_its_thread(
    database: Database, story: Story
) -> None:
    event_id, _ = await story.reach(LifecycleState.OPEN)
    story.database.clock.skew = timedelta(hours=2)
    incident_id = await story.incident_id(event_id)

    with running_mail_server() as (post, url):
        await activities(database, url).send_alerts(SendAlerts(event_id, incident_id))

    opened, failed = sorted(post.mails, key=is_answer)
    assert opened["Message-ID"] != failed["Message-ID"]
    assert failed["In-Reply-To"] == failed["References"] == opened["Message-ID"]
    assert "rejected" in text_of(failed, "plain")
    assert RepairCause.REJECTED in text_of(failed, "html")


def is_answer(mail: Message) -> bool:
    """Alerts that are due together are sent concurrently, and arrive in any order."""
    return "In-Reply-To" in mail


async def test_thread_headers_on_the_wire_are_readable_by_mail_programs(
    database: Database, story: Story
) -> None:
    event_id, _ = await story.reach(LifecycleState.OPEN)
    story.database.clock.skew = timedelta(hours=2)
    incident_id = await story.incident_id(event_id)

    with running_mail_server() as (post, url):
        await activities(database, url).send_alerts(SendAlerts(event_id, incident_id))

    opened, failed = sorted(
        (message_from_bytes(raw, policy=compat32) for raw in post.raw), key=is_answer
    )
    message_id = opened["Message-ID"].strip()
    assert message_id.startswith(f"<{incident_id}.incident_opened.")
    assert failed["In-Reply-To"].strip() == failed["References"].strip() == message_id


async def test_refused_mail_is_recorded_without_the_address_and_due_again(
    database: Database, story: Story
) -> None:
    event_id, incident_id = await story.opened()
    story.database.clock.skew = timedelta(hours=1)

    with running_mail_server() as (post, url):
        post.is_refusing = True
        failed = await activities(database, url).send_alerts(SendAlerts(event_id, incident_id))
        post.is_refusing = False
        story.database.clock.skew += timedelta(seconds=5)
        sent = await activities(database, url).deliver()

    assert (failed, sent) == (AlertsSent(0, 1), AlertsSent(1, 0))
    row = next(
        row for row in await story.rows("timeline", event_id) if row["kind"] == "alert_failed"
    )
    assert row["fields"]["error"] == "SMTPDataError 451"


async def test_unreachable_server_is_an_ordinary_failure(database: Database, story: Story) -> None:
    event_id, incident_id = await story.opened()
    story.database.clock.skew = timedelta(hours=1)

    outcome = await activities(database, "smtp://127.0.0.1:1").send_alerts(
        SendAlerts(event_id, incident_id)
    )

    assert outcome == AlertsSent(sent=0, failed=1)


class Courier:
    """A mailer that accepts a mail, or does what the destination's name says."""

    def __init__(self) -> None:
        self.tries: list[str] = []
        self.both_tried = asyncio.Event()

    async def __call__(self, mail: OutgoingMail) -> None:
        self.tries.append(mail.recipient)
        if len(self.tries) == 2:
            self.both_tried.set()
        if mail.recipient.startswith("silent"):
            await asyncio.Event().wait()
        if mail.recipient.startswith("broken"):
            raise LookupError("a bug")


async def opened_for(story: Story, *destinations: str) -> SendAlerts:
    async with story.database.transaction() as session:
        changes = ProjectChanges(alert_emails=destinations)
        await change_project(session, story.project.id, changes=changes)
    event_id, incident_id = await story.opened()
    story.database.clock.skew = timedelta(hours=1)
    return SendAlerts(event_id, incident_id)


async def test_cancelled_sending_records_what_was_sent(database: Database, story: Story) -> None:
    order = await opened_for(story, "ops@shop.example", "silent@shop.example")
    courier = Courier()
    alerts = alerts_by_mail(database, courier)

    sending = asyncio.create_task(alerts.send_alerts(order))
    await courier.both_tried.wait()
    await wait_until_async(
        lambda: is_sent(story, order.event_id, "ops@shop.example"),
        what="the record of the mail that was sent",
    )
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending

    assert not await is_sent(story, order.event_id, "silent@shop.example")


async def is_sent(story: Story, event_id: str, destination: str) -> bool:
    rows = await story.rows("alerts", EventId(event_id))
    return any(row["sent_at"] is not None for row in rows if row["destination"] == destination)


async def test_broken_mail_is_recorded_as_failed_and_delays_no_other(
    database: Database, story: Story
) -> None:
    order = await opened_for(story, "broken@shop.example", "ops@shop.example")
    alerts = alerts_by_mail(database, Courier())

    outcome = await alerts.send_alerts(order)

    rows = {row["destination"]: row for row in await story.rows("alerts", EventId(order.event_id))}
    assert outcome == AlertsSent(sent=1, failed=1)
    assert (rows["broken@shop.example"]["last_error"], rows["broken@shop.example"]["tries"]) == (
        "LookupError",
        1,
    )
    assert await is_sent(story, order.event_id, "ops@shop.example")


async def test_line_breaks_of_the_app_make_no_headers(database: Database, story: Story) -> None:
    event_id, incident_id = await story.opened(internal_reference="order\r\nBcc: all@example.com")
    story.database.clock.skew = timedelta(hours=1)

    with running_mail_server() as (post, url):
        await activities(database, url).send_alerts(SendAlerts(event_id, incident_id))

    assert post.mails[0]["Bcc"] is None
    assert "order Bcc: all@example.com" in post.mails[0]["Subject"]


@pytest.mark.parametrize(
    "reference",
    [
        "=?utf-8?q?a=0D=0ABcc:_x@example.net?=",
        "=?utf-8?q?a=0D=0ABcc:_x@example.net=0D=0A=0D=0A<b>paid</b>?=",
        "=?utf-8?B?YQ0KQmNjOiB4QGV4YW1wbGUubmV0?=",
        "a\u0085Bcc: x@example.net",
        "a\u2028Bcc: x@example.net",
        "a\x0bBcc: x@example.net\x1c",
        "=?",
    ],
)
async def test_reference_that_elsewhere_makes_a_header_is_sent_as_text(
    database: Database, story: Story, reference: str
) -> None:
    event_id, incident_id = await story.opened(internal_reference=reference)
    story.database.clock.skew = timedelta(hours=1)

    with running_mail_server() as (post, url):
        sent = await activities(database, url).send_alerts(SendAlerts(event_id, incident_id))

    assert sent == AlertsSent(sent=1, failed=0)
    wanted = [
        "Subject",
        "From",
        "To",
        "Date",
        "Message-ID",
        "List-Unsubscribe",
        "List-Unsubscribe-Post",
        "Auto-Submitted",
        "X-Auto-Response-Suppress",
        "MIME-Version",
    ]
    assert [*wanted, "Content-Type"] == read_by_hand(post.raw[0]).names
    assert event_id in text_of(post.mails[0], "plain")
    assert "<b>paid</b>" not in text_of(post.mails[0], "html")


@pytest.mark.parametrize(
    ("tries", "seconds"),
    [(0, 5), (1, 10), (6, 320), (7, 600), (500, 600)],
    ids=["first", "second", "7th", "8th", "500th"],
)
def test_retries_double_from_five_seconds_to_ten_minutes(tries: int, seconds: int) -> None:
    assert alert_retry_seconds(AlertChannel.EMAIL, tries) == seconds
