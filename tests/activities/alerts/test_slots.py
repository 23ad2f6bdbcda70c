"""Slots of mail: a free one is used at once, no project has all, and no mail is sent again."""

import asyncio
from collections import Counter
from datetime import datetime, timedelta
from typing import Any

import pytest

import activities.alerts.delivery
import activities.alerts.send
from activities.alerts.channels import AlertNotDelivered
from activities.alerts.email_format import OutgoingMail
from activities.alerts.email_smtp import SmtpMailer, parse_mail_server
from activities.alerts.in_flight import TimedOutDestinations
from activities.messages import AlertsSent, SendAlerts
from domain.errors import Unavailable
from domain.ids import EventId, IncidentId
from domain.projects import ProjectChanges
from store.alerts.due import AlertDue
from store.crypto.encryption import Sealer
from store.db.database import Clock, Database
from store.projects.projects import change_project
from tests.activities.alerts.by_mail import alerts_by_mail
from tests.store.alerts.test_claims import other_project
from tests.support.given import Story, keep_incidents_apart
from tests.support.waiting import wait_until_async

# Long enough for a loop that breaks the limit to do so.
POLLS_WAITED = 5


@pytest.fixture(autouse=True)
def _short_polls(monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop polls every 0.1 s, so that tests of what it must not do end soon."""
    monkeypatch.setattr(activities.alerts.send, "POLL_SECONDS", 0.1)


class MailServer:
    """Accepts every mail at once, but hangs for the recipients of some domains."""

    def __init__(self, *silent: str) -> None:
        self.silent = silent
        self.taken: list[str] = []
        self.held: Counter[str] = Counter()

    async def __call__(self, mail: OutgoingMail) -> None:
        domain = mail.recipient.partition("@")[2]
        if domain in self.silent:
            self.held[domain] += 1
            try:
                await asyncio.Event().wait()
            finally:
                self.held[domain] -= 1
        self.taken.append(mail.recipient)

    async def has_taken(self, count: int) -> bool:
        return len(self.taken) >= count


class GoingClock(Clock):
    """The clock of a store that becomes unavailable."""

    def __init__(self) -> None:
        super().__init__()
        self.is_away = False

    async def now(self, statements: Any) -> datetime:  # Any: what the store's clock is given
        if self.is_away:
            raise Unavailable
        return await super().now(statements)


async def opened(story: Story, count: int, *, to: str | tuple[str, ...]) -> list[SendAlerts]:
    """`count` incidents, each with one due alert for each address."""
    await story.do(keep_incidents_apart, story.project.id)
    addresses = (to,) if isinstance(to, str) else to
    async with story.database.transaction() as session:
        await change_project(
            session, story.project.id, changes=ProjectChanges(alert_emails=addresses)
        )
    orders = [SendAlerts(*await story.opened()) for _ in range(count)]
    story.database.clock.skew = timedelta(days=1)
    return orders


@pytest.fixture
async def other(story: Story, sealer: Sealer) -> Story:
    return await other_project(story, sealer)


async def test_one_silent_recipient_uses_one_slot_and_delays_no_mail(
    database: Database, story: Story, other: Story
) -> None:
    await opened(story, 1, to="ops@silent.example")
    await opened(other, 20, to="ops@other.example")
    server = MailServer("silent.example")
    sending = asyncio.create_task(alerts_by_mail(database, server).deliver())

    await wait_until_async(
        lambda: server.has_taken(20), seconds=8, what="every mail to the other project"
    )

    assert server.held["silent.example"] == 1
    await end(sending)


async def test_project_with_silent_recipients_uses_half_of_the_slots(
    database: Database, story: Story, other: Story
) -> None:
    await opened(story, 20, to="ops@silent.example")
    server = MailServer("silent.example")
    sending = asyncio.create_task(alerts_by_mail(database, server).deliver())
    await wait_until_async(lambda: is_held(server, 4), what="half of the slots are in use")
    await opened(other, 6, to="ops@other.example")

    await wait_until_async(lambda: server.has_taken(6), seconds=8, what="the other project's mail")

    assert server.held["silent.example"] == 4
    await end(sending)


async def test_address_that_timed_out_has_one_slot_until_a_mail_is_accepted(
    database: Database, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.alerts.delivery, "SEND_SECONDS", 0.2)
    orders = await opened(story, 12, to="ops@silent.example")
    server = MailServer("silent.example")
    alerts = alerts_by_mail(database, server)
    assert await alerts.send_alerts(orders[0]) == AlertsSent(sent=0, failed=1)
    monkeypatch.setattr(activities.alerts.delivery, "SEND_SECONDS", 30)
    sending = asyncio.create_task(alerts.deliver())
    await wait_until_async(lambda: is_held(server, 1), what="a slot is in use")

    # Without the limit, others would be in use by now.
    await asyncio.sleep(POLLS_WAITED * activities.alerts.send.POLL_SECONDS)

    assert server.held["silent.example"] == 1
    await end(sending)


async def test_addresses_that_timed_out_share_one_slot_and_delay_no_others_of_their_project(
    database: Database, story: Story, other: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.alerts.delivery, "SEND_SECONDS", 0.2)
    orders = await opened(
        story, 25, to=("a@silent.example", "b@silent.example", "fine@shop.example")
    )
    server = MailServer("silent.example")
    alerts = alerts_by_mail(database, server)
    for order in orders[:2]:
        await alerts.send_alerts(order)
    monkeypatch.setattr(activities.alerts.delivery, "SEND_SECONDS", 30)
    sending = asyncio.create_task(alerts.deliver())
    await wait_until_async(lambda: is_held(server, 1), what="a slot is in use")
    await opened(other, 10, to="ops@other.example")

    await wait_until_async(
        lambda: server.has_taken(35), seconds=8, what="every mail to the addresses that answer"
    )

    assert server.held["silent.example"] == 1
    await end(sending)


async def test_address_that_answers_again_gets_more_slots(
    database: Database, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.alerts.delivery, "SEND_SECONDS", 0.2)
    orders = await opened(story, 25, to="ops@silent.example")
    server = MailServer("silent.example")
    alerts = alerts_by_mail(database, server)
    assert await alerts.send_alerts(orders[0]) == AlertsSent(sent=0, failed=1)
    server.silent = ()
    assert await alerts.send_alerts(orders[1]) == AlertsSent(sent=1, failed=0)
    server.silent = ("silent.example",)
    monkeypatch.setattr(activities.alerts.delivery, "SEND_SECONDS", 30)

    sending = asyncio.create_task(alerts.deliver())

    await wait_until_async(lambda: is_held(server, 4), what="half of the slots are in use")
    await end(sending)


async def test_mail_that_is_under_way_longer_than_its_lease_is_not_claimed_again(
    database: Database, story: Story
) -> None:
    await opened(story, 1, to="ops@silent.example")
    server = MailServer("silent.example")
    sending = asyncio.create_task(alerts_by_mail(database, server).deliver())
    await wait_until_async(lambda: is_held(server, 1), what="the mail is under way")
    database.clock.skew += timedelta(seconds=activities.alerts.send.LEASE_SECONDS + 1)

    # The loop polls several times.
    await asyncio.sleep(POLLS_WAITED * activities.alerts.send.POLL_SECONDS)

    assert server.held["silent.example"] == 1
    await end(sending)


def test_silent_address_is_forgotten_after_a_while() -> None:
    alert = AlertDue(
        alert_id=1,
        kind="incident_opened",
        channel="email",
        destination="ops@silent.example",
        event_id=EventId("evt_1"),
        incident_id=IncidentId("inc_1"),
        replay_id=None,
        about=None,
        tries=0,
        failing_since=None,
        project_id="prj_1",
    )
    forgetful, patient = (
        TimedOutDestinations(forget_seconds=-1),
        TimedOutDestinations(forget_seconds=60),
    )
    for addresses in (forgetful, patient):
        addresses.note(alert, is_silent=True)

    assert forgetful.by_project() == {}
    assert patient.by_project() == {"prj_1": frozenset({"ops@silent.example"})}


@pytest.mark.parametrize(
    "greeting", [b"", b"220 mail.example ESMTP\r\n"], ids=["no greeting", "no answer to EHLO"]
)
async def test_server_that_does_not_answer_is_silent_and_one_that_refuses_is_not(
    greeting: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.alerts.email_smtp, "STEP_SECONDS", 0.2)

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(greeting)
        await reader.read()
        writer.close()

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"421 too busy\r\n")
        writer.close()

    found = []
    for serve in (hang, refuse):
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            mailer = SmtpMailer(parse_mail_server(f"smtp://127.0.0.1:{port}?starttls=never"))
            with pytest.raises(AlertNotDelivered) as refused:
                await mailer(
                    OutgoingMail(
                        sender="makegood@example.com", recipient="ops@shop.example", content=b"\r\n"
                    )
                )
            found.append(refused.value.is_silent)

    assert found == [True, False]


async def test_workflows_of_a_project_with_silent_recipients_leave_slots_to_others(
    database: Database, story: Story, other: Story
) -> None:
    orders = await opened(story, 12, to="ops@silent.example")
    server = MailServer("silent.example")
    alerts = alerts_by_mail(database, server)
    sending = [asyncio.create_task(alerts.send_alerts(order)) for order in orders]
    await wait_until_async(lambda: is_held(server, 4), what="half of the slots are in use")
    (order,) = await opened(other, 1, to="ops@other.example")

    sent = await alerts.send_alerts(order)

    assert sent == AlertsSent(sent=1, failed=0)
    assert server.held["silent.example"] == 4
    await end(*sending)


async def test_mail_sent_during_a_store_outage_is_recorded_afterwards_and_not_sent_again(
    database: Database, story: Story, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(activities.alerts.send, "RECORD_SECONDS", 0.5)
    (order,) = await opened(story, 1, to="ops@shop.example")
    clock = GoingClock()
    clock.skew = timedelta(days=1)
    store = Database.open(database.url, clock=clock)
    server = MailServer()

    async def mailer(mail: OutgoingMail) -> None:
        await server(mail)
        clock.is_away = True

    alerts = alerts_by_mail(store, mailer)
    with pytest.raises(Unavailable):
        await alerts.send_alerts(order)
    with pytest.raises(Unavailable):
        await alerts.deliver()
    clock.skew += timedelta(seconds=activities.alerts.send.LEASE_SECONDS + 1)
    clock.is_away = False

    again = await alerts.deliver()

    assert again == AlertsSent(sent=0, failed=0)
    assert server.taken == ["ops@shop.example"]
    (row,) = await story.rows("alerts", order.event_id)
    assert row["sent_at"] is not None
    await store.close()


async def is_held(server: MailServer, count: int) -> bool:
    return server.held["silent.example"] >= count


async def end(*tasks: asyncio.Task[AlertsSent]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
