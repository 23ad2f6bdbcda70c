"""Mails, callbacks and starts go out for rows of a later version, with its own names."""

import json
from datetime import timedelta
from email import message_from_bytes, policy

import pytest

from activities.alerts.email_smtp import SmtpMailer, parse_mail_server
from activities.callback.payload import callback_body
from activities.messages import AlertsSent, SendAlerts
from store.db.database import Database
from store.receipts import outbox
from store.receipts.queries import read_repair
from tests.activities.alerts.by_mail import alerts_by_mail
from tests.activities.alerts.smtp_server import Server, serving
from tests.support.given import Story
from tests.support.later_version import OF_RECEIPT, plant
from worker.temporal.search_attributes import Registered
from worker.temporal.workflow_labels import search_attributes_of
from workflows.search_attributes import MG_EVENT_TYPE


@pytest.mark.parametrize(("column", "value"), OF_RECEIPT.items(), ids=list(OF_RECEIPT))
async def test_mail_has_its_facts_with_a_value_of_a_later_version(
    database: Database, story: Story, column: str, value: str
) -> None:
    event_id, incident_id = await story.opened(internal_reference="order 7")
    story.database.clock.skew = timedelta(hours=1)
    await plant(database, column, value)
    server = Server()

    with serving(server) as url:
        alerts = alerts_by_mail(database, SmtpMailer(parse_mail_server(url)))
        sent = await alerts.send_alerts(SendAlerts(event_id, incident_id))

    assert sent == AlertsSent(sent=1, failed=0)
    mail = message_from_bytes(server.taken[0], policy=policy.default)
    assert "order 7" in mail["Subject"]


@pytest.mark.parametrize("name", ["provider", "event_type", "effect_type", "reason"])
async def test_callback_has_the_value_of_a_later_version(story: Story, name: str) -> None:
    event_id, replay_id = await story.repairing()
    column = f"{'incidents' if name == 'reason' else 'receipts'}.{name}"
    await plant(story.database, column, OF_RECEIPT[column])

    async with story.database.reading() as session:
        found = await read_repair(session, event_id, replay_id)

    assert found is not None
    body = json.loads(callback_body(found.receipt, found.incident, found.repair))
    assert body[name] == OF_RECEIPT[column]


async def test_start_of_a_receipt_of_a_later_version_is_sent(story: Story) -> None:
    event_id = await story.receipt()
    async with story.database.transaction() as session:
        await outbox.enqueue_start_again(session, event_id, story.at)
    await plant(story.database, "receipts.event_type", "invoice.voided")

    async with story.database.transaction() as session:
        (batch,) = await outbox.claim(session, story.at, limit=10)

    labels = search_attributes_of(batch.receipt, Registered(frozenset({MG_EVENT_TYPE.name})))
    assert (batch.event_id, labels[MG_EVENT_TYPE]) == (event_id, "invoice.voided")
