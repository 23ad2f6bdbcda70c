"""Mail about held results that no receipt has claimed: once a day, with what to do."""

import asyncio
from datetime import timedelta

import pytest
from sqlalchemy import select, text

from activities.alerts.email_smtp import SmtpMailer, parse_mail_server
from activities.messages import AlertsSent
from domain.projects import CreatedProject
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.early_results.hold import hold_result
from store.schema.tables import ALERTS
from tests.activities.alerts.by_mail import alerts_by_mail
from tests.activities.alerts.test_send import text_of
from tests.support.given import let_results_come_early, new_result
from tests.support.waiting import wait_until_async
from tests.workflows.smtp_server import MailHandler, running_mail_server
from tests.workflows.world import worker_parts
from worker.build import build_store_services
from worker.sources.early_results import EarlyResultAlerts


@pytest.fixture(autouse=True)
async def held(database: Database, project: CreatedProject) -> None:
    """Two results, an hour ago at noon, so that a minute later is the same day."""
    async with database.transaction() as session:
        now = await database.now(session)
        at = now.replace(hour=11, minute=0, second=0)
        await let_results_come_early(SessionStatements(session), project.project.id)
        for name in ("evt_1", "evt_2"):
            early = new_result(project.project.id, provider_event_id=name)
            assert await hold_result(SessionStatements(session), early, at)
    database.clock.skew = at + timedelta(hours=1, seconds=1) - now


async def deliver(database: Database) -> tuple[MailHandler, AlertsSent]:
    with running_mail_server() as (post, url):
        sent = await alerts_by_mail(database, SmtpMailer(parse_mail_server(url))).deliver()
    return post, sent


async def test_two_workers_alert_once_over_two_turns(database: Database) -> None:
    workers = [EarlyResultAlerts(database), EarlyResultAlerts(database)]

    for _ in range(2):
        await asyncio.gather(*(worker.turn() for worker in workers))

    async with database.reading() as session:
        assert len((await session.execute(select(ALERTS))).all()) == 1


async def test_worker_without_temporal_sends_the_alert(database: Database, sealer: Sealer) -> None:
    with running_mail_server() as (post, url):
        parts = worker_parts(database, sealer, url)
        async with build_store_services(parts, identity="worker").running():
            await wait_until_async(lambda: post.mails, what="the mail")

    assert [mail["Subject"] for mail in post.mails] == ["[test] Results without a receipt: shop"]


async def test_mail_says_how_many_since_when_where_and_what_to_do(
    database: Database, project: CreatedProject
) -> None:
    await EarlyResultAlerts(database).turn()

    post, sent = await deliver(database)
    again, _ = await deliver(database)

    assert (sent, again.mails) == (AlertsSent(1, 0), [])
    (mail,) = post.mails
    assert mail["Subject"] == "[test] Results without a receipt: shop"
    assert mail["In-Reply-To"] is None
    for subtype in ("plain", "html"):
        content = text_of(mail, subtype)
        assert "2 results came before the receipt." in content
        assert "11:00:00 UTC" in content
        assert "GET /api/v1/early-results" in content
        assert f"/projects/{project.project.id}#early-results" in content
        assert "Check that the app sends a receipt" in content
    async with database.reading() as session:
        assert await session.scalar(text("SELECT count(*) FROM timeline")) == 0


async def test_alert_that_fails_ends_when_receipts_have_claimed_the_results(
    database: Database,
) -> None:
    await EarlyResultAlerts(database).turn()
    mailer = SmtpMailer(parse_mail_server("smtp://127.0.0.1:9"))
    assert await alerts_by_mail(database, mailer).deliver() == AlertsSent(0, 1)
    async with database.transaction() as session:
        await session.execute(text("DELETE FROM early_results"))
    database.clock.skew += timedelta(minutes=11)

    post, _ = await deliver(database)

    assert post.mails == []
    async with database.reading() as session:
        assert await session.scalar(select(ALERTS.c.end_reason)) == "incident_over"


async def test_alert_whose_results_were_claimed_says_so(database: Database) -> None:
    await EarlyResultAlerts(database).turn()
    async with database.transaction() as session:
        await session.execute(text("DELETE FROM early_results"))

    post, sent = await deliver(database)

    assert sent == AlertsSent(1, 0)
    assert "No result waits for its receipt" in text_of(post.mails[0], "plain")
