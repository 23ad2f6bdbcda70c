"""Alerts through the store to real receivers: retried with the same id, judged, and shown."""

import base64
import hashlib
import hmac
import json
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from activities.alerts.all_channels import build_channels
from activities.alerts.send import AlertActivities
from domain.alerts import AlertChannel, AlertDestination, WebhookTarget
from domain.ids import DestinationId
from domain.incidents import AlertKind
from store.alerts.destinations import (
    DestinationChanges,
    add_secret_destination,
    change_destination,
    read_destination,
)
from store.crypto.encryption import Sealer
from store.crypto.tokens import new_signing_secret
from store.receipts.operator_actions import acknowledge
from store.schema.tables import ALERTS
from tests.activities.alerts.by_mail import PUBLIC_URL
from tests.activities.alerts.http.receiver import LOOPBACK, Receiver, receiving
from tests.support.given import OPERATOR, Story, keep_incidents_apart

HOUR, DAY = 3_600, 86_400


def senders(story: Story, sealer: Sealer, receiver: Receiver) -> AlertActivities:
    channels = build_channels(
        # No mail server listens there.
        smtp_url="smtp://127.0.0.1:1",
        mail_from="makegood@example.com",
        egress_allow=LOOPBACK,
        pagerduty_url=receiver.url,
    )
    return AlertActivities(story.database, sealer=sealer, channels=channels, public_url=PUBLIC_URL)


async def add(
    story: Story,
    sealer: Sealer,
    channel: AlertChannel,
    target: str,
    events: frozenset[str] | None = None,
) -> DestinationId:
    async with story.database.transaction() as session:
        return await add_secret_destination(
            session,
            sealer,
            project_id=story.project.id,
            channel=channel,
            target=target,
            events=events,
        )


async def read(story: Story, destination_id: DestinationId) -> AlertDestination:
    async with story.database.reading() as session:
        return await read_destination(session, story.project.id, destination_id)


async def alert_rows(story: Story, destination: str) -> list[Any]:
    async with story.database.reading() as session:
        of = select(ALERTS).where(ALERTS.c.destination == destination)
        return list(await session.execute(of.order_by(ALERTS.c.id)))


async def clock_of(story: Story) -> datetime:
    async with story.database.reading() as session:
        return await story.database.now(session)


async def set_clock(story: Story, at: datetime) -> None:
    """Make the store's clock say `at` now."""
    story.database.clock.skew += at - await clock_of(story)


@pytest.mark.parametrize(
    ("channel", "status", "content"),
    [
        (AlertChannel.SLACK, 200, b"ok"),
        (AlertChannel.TEAMS, 202, b""),
        (AlertChannel.PAGERDUTY, 202, b'{"status": "success"}'),
        (AlertChannel.WEBHOOK, 204, b""),
    ],
)
async def test_alert_arrives_by_each_channel_and_its_destination_says_so(
    story: Story, sealer: Sealer, channel: AlertChannel, status: int, content: bytes
) -> None:
    async with receiving() as receiver:
        receiver.statuses, receiver.content = [status], content
        target = f"{receiver.url}/hook"
        if channel is AlertChannel.PAGERDUTY:
            target = "0123456789abcdef0123456789abcdef"
        if channel is AlertChannel.WEBHOOK:
            target = WebhookTarget(target, new_signing_secret()).to_text()
        destination_id = await add(story, sealer, channel, target)
        event_id, _ = await story.opened()
        story.database.clock.skew = timedelta(hours=1)

        await senders(story, sealer, receiver).deliver()

    (got,) = receiver.got
    assert got.path == ("/v2/enqueue" if channel is AlertChannel.PAGERDUTY else "/hook")
    destination = await read(story, destination_id)
    assert destination.last_sent_at is not None
    assert (destination.last_error, destination.state) == (None, "active")
    sent = [row["fields"] for row in await story.rows("timeline", event_id)]
    assert {"destination": destination_id, "channel": channel.value} == {
        name: fields[name]
        for fields in sent
        if fields.get("destination") == destination_id
        for name in ("destination", "channel")
    }


async def test_webhook_is_signed_as_standard_webhooks_says(story: Story, sealer: Sealer) -> None:
    secret = new_signing_secret()
    async with receiving() as receiver:
        await add(
            story, sealer, AlertChannel.WEBHOOK, WebhookTarget(receiver.url, secret).to_text()
        )
        await story.opened()
        story.database.clock.skew = timedelta(hours=1)

        await senders(story, sealer, receiver).deliver()

    (got,) = receiver.got
    signed = f"{got.headers['webhook-id']}.{got.headers['webhook-timestamp']}.".encode() + got.body
    key = base64.b64decode(secret.removeprefix("whsec_"))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert got.headers["webhook-signature"] == f"v1,{expected}"
    assert got.headers["webhook-id"] == got.json["id"]
    assert secret not in got.body.decode()


async def test_failed_alert_is_retried_on_its_schedule_with_the_same_id(
    story: Story, sealer: Sealer
) -> None:
    async with receiving() as receiver:
        receiver.statuses = [503, 500, 429, 502, 200]
        target = WebhookTarget(receiver.url, new_signing_secret()).to_text()
        destination_id = await add(story, sealer, AlertChannel.WEBHOOK, target)
        await story.opened()
        story.database.clock.skew = timedelta(hours=1)
        alerts, delays = senders(story, sealer, receiver), []
        for _ in range(4):
            before = await clock_of(story)
            await alerts.deliver()
            (row,) = await alert_rows(story, destination_id)
            delays.append(round((row.due_at - before).total_seconds()))
            await set_clock(story, row.due_at)
        await alerts.deliver()

    (row,) = await alert_rows(story, destination_id)
    bodies = [json.loads(got.body) for got in receiver.got]
    assert delays == [30, 300, HOUR, HOUR]
    assert row.sent_at is not None
    assert len({(body["id"], body["created_at"]) for body in bodies}) == 1
    assert len(bodies) == 5


async def test_throttling_receiver_is_left_alone_for_as_long_as_it_asks(
    story: Story, sealer: Sealer
) -> None:
    async with receiving() as receiver:
        receiver.statuses, receiver.headers = [429], {"Retry-After": "1200"}
        destination_id = await add(story, sealer, AlertChannel.SLACK, receiver.url)
        await story.opened()
        story.database.clock.skew = timedelta(hours=1)
        before = await clock_of(story)

        await senders(story, sealer, receiver).deliver()

    (row,) = await alert_rows(story, destination_id)
    assert round((row.due_at - before).total_seconds()) == 1_200


async def test_refused_contents_are_sent_once_more_with_ids_only(
    story: Story, sealer: Sealer
) -> None:
    async with receiving() as receiver:
        receiver.statuses = [400, 200]
        await add(story, sealer, AlertChannel.SLACK, receiver.url)
        await story.opened(internal_reference="order 7")
        story.database.clock.skew = timedelta(hours=1)

        await senders(story, sealer, receiver).deliver()

    full, plain = (got.body.decode() for got in receiver.got)
    assert "order 7" in full
    assert "order 7" not in plain
    assert "evt_" in plain


@pytest.mark.parametrize("status", [404, 410])
async def test_receiver_that_refuses_for_good_is_failing_and_the_others_are_told(
    story: Story, sealer: Sealer, status: int
) -> None:
    async with receiving() as receiver:
        receiver.statuses, receiver.content = [status, 200], b"no_service"
        slack = await add(story, sealer, AlertChannel.SLACK, receiver.url)
        # Only Slack is alerted first, so the refusal is its own.
        notice = frozenset({AlertKind.DESTINATION_FAILING.value})
        pager = await add(story, sealer, AlertChannel.PAGERDUTY, "0" * 32, notice)
        await story.do(keep_incidents_apart, story.project.id)
        await story.opened()
        story.database.clock.skew = timedelta(hours=1)
        await senders(story, sealer, receiver).deliver()
        failing = await read(story, slack)
        notices = await alert_rows(story, pager)

        await story.opened()
        await senders(story, sealer, receiver).deliver()

    (first, *_) = await alert_rows(story, slack)
    assert (first.end_reason, first.last_error) == ("refused", f"HTTP {status}: no_service")
    assert (failing.state, failing.last_error) == ("failing", f"HTTP {status}: no_service")
    assert [row.kind for row in notices] == [AlertKind.DESTINATION_FAILING]
    recovered = await read(story, slack)
    assert recovered.state == "active", "it is still tried, and works again"
    assert recovered.last_sent_at is not None


async def test_destination_that_nothing_reaches_for_a_day_is_failing(
    story: Story, sealer: Sealer
) -> None:
    async with receiving() as receiver:
        receiver.statuses = [500]
        slack = await add(story, sealer, AlertChannel.SLACK, receiver.url)
        await story.opened()
        story.database.clock.skew = timedelta(hours=1)
        alerts = senders(story, sealer, receiver)
        await alerts.deliver()
        story.database.clock.skew += timedelta(hours=23)
        await story.opened()
        await alerts.deliver()
        before = await read(story, slack)
        story.database.clock.skew += timedelta(hours=2)
        await story.opened()

        await alerts.deliver()

    after = await read(story, slack)
    assert (before.state, after.state) == ("active", "failing")
    told = await alert_rows(story, "ops@shop.example")
    assert AlertKind.DESTINATION_FAILING in [row.kind for row in told]


async def test_disabled_destination_gets_no_alert_and_an_unsent_one_ends(
    story: Story, sealer: Sealer
) -> None:
    async with receiving() as receiver:
        slack = await add(story, sealer, AlertChannel.SLACK, receiver.url)
        await story.opened()
        async with story.database.transaction() as session:
            await change_destination(
                session,
                sealer,
                project_id=story.project.id,
                destination_id=slack,
                changes=DestinationChanges(is_disabled=True),
                now=story.at,
            )
        await story.opened()
        story.database.clock.skew = timedelta(hours=1)

        await senders(story, sealer, receiver).deliver()

    (row,) = await alert_rows(story, slack)
    assert (row.end_reason, receiver.got) == ("destination_disabled", [])
    assert (await read(story, slack)).state == "disabled"


async def test_acknowledgement_goes_to_pagers_alone(story: Story, sealer: Sealer) -> None:
    async with receiving() as receiver:
        slack = await add(story, sealer, AlertChannel.SLACK, receiver.url)
        pager = await add(story, sealer, AlertChannel.PAGERDUTY, "0" * 32)
        _, incident_id = await story.opened()
        await story.do(acknowledge, incident_id, requested_by=OPERATOR)
        story.database.clock.skew = timedelta(hours=1)

        await senders(story, sealer, receiver).deliver()

    kinds = [row.kind for row in await alert_rows(story, slack)]
    assert kinds == ["incident_opened"]
    assert [row.kind for row in await alert_rows(story, pager)] == [
        "incident_opened",
        "incident_acknowledged",
    ]
    actions = [got.json["event_action"] for got in receiver.got if "event_action" in got.json]
    assert sorted(actions) == ["acknowledge", "trigger"]
