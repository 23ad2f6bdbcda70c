"""Mail about sources: what is wrong with which source, once, and never a secret."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select, text, update

from activities.alerts.email_smtp import SmtpMailer, parse_mail_server
from activities.messages import AlertsSent
from domain.projects import CreatedProject
from domain.sources.source import Gap, Source, SourceKind, SourceProblem
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.schema.tables import ALERTS, SOURCES
from store.sources.health import PASSING, clear_problem, record_problem, record_silence
from store.sources.listings import record_gap
from store.sources.sources import remove_source
from tests.activities.alerts.by_mail import alerts_by_mail
from tests.activities.alerts.test_send import text_of
from tests.support.sources import SECRET, stored_source
from tests.workflows.smtp_server import MailHandler, running_mail_server
from worker.sources.health import SourceHealth


@pytest.fixture
async def source(database: Database, sealer: Sealer, project: CreatedProject) -> Source:
    return await stored_source(
        database,
        sealer,
        project.project.id,
        SourceKind.STRIPE_API,
        name="EU\r\nBcc: x@evil.example\u202e<b>account</b>",
    )


async def deliver(database: Database) -> tuple[MailHandler, AlertsSent]:
    """Let the loops find what is unwell, and send the mail."""
    await SourceHealth(database).turn()
    with running_mail_server() as (post, url):
        sent = await alerts_by_mail(database, SmtpMailer(parse_mail_server(url))).deliver()
    return post, sent


async def fail(database: Database, source: Source, problem: SourceProblem) -> None:
    async with database.transaction() as session:
        now = await database.now(session)
        detail = "The provider answered 401."
        await record_problem(session, source.id, problem, detail, now)


@pytest.mark.parametrize(
    "problem", [problem for problem in SourceProblem if problem not in PASSING]
)
async def test_problem_is_mailed_once_with_its_source_and_no_secret(
    database: Database, source: Source, problem: SourceProblem
) -> None:
    await fail(database, source, problem)

    post, sent = await deliver(database)
    again, none = await deliver(database)

    assert (sent, none) == (AlertsSent(1, 0), AlertsSent(0, 0))
    assert again.mails == []
    (mail,) = post.mails
    assert mail["Subject"] == "[test] Source failing: EU Bcc: x@evil.example <b>account</b>"
    assert mail["Bcc"] is None
    assert mail["In-Reply-To"] is None
    for subtype in ("plain", "html"):
        content = text_of(mail, subtype)
        assert f"/projects/{source.project_id}/sources/{source.id}" in content
        assert "The provider answered 401." in content
        assert SECRET not in content
    assert "<b>account" not in text_of(mail, "html")


async def test_silence_is_mailed_with_how_long_it_lasts(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    await stored_source(database, sealer, project.project.id, silent_after_minutes=60)
    database.clock.skew = timedelta(days=3_650)  # sources of the tests were added at another time

    post, sent = await deliver(database)

    assert sent == AlertsSent(1, 0)
    assert "Source silent" in post.mails[0]["Subject"]
    assert "no event for 60 minutes" in text_of(post.mails[0], "plain")


async def test_gap_is_mailed_with_its_span(database: Database, source: Source) -> None:
    async with database.transaction() as session:
        now = await database.now(session)
        gap = Gap(now - timedelta(days=40), now - timedelta(days=30), now)
        await record_gap(session, source, gap)

    post, sent = await deliver(database)

    assert sent == AlertsSent(1, 0)
    mail = text_of(post.mails[0], "plain")
    assert "Events could not be listed" in mail
    assert f"{gap.from_at:%-d %b %Y, %H:%M:%S} UTC to {gap.until_at:%-d %b %Y, %H:%M:%S}" in mail


async def test_alert_has_no_timeline_and_its_copy_the_same_message_id(
    database: Database, source: Source
) -> None:
    await fail(database, source, SourceProblem.KEY_REFUSED)
    first, _ = await deliver(database)
    await unsend(database)

    second, _ = await deliver(database)

    assert first.mails[0]["Message-ID"] == second.mails[0]["Message-ID"]
    async with database.reading() as session:
        entries = await session.scalar(text("SELECT count(*) FROM timeline"))
    assert entries == 0


async def test_alert_is_retried_as_others_and_ends_when_the_source_works_again(
    database: Database, source: Source
) -> None:
    await fail(database, source, SourceProblem.KEY_REFUSED)
    await SourceHealth(database).turn()
    mailer = SmtpMailer(parse_mail_server("smtp://127.0.0.1:9"))
    assert await alerts_by_mail(database, mailer).deliver() == AlertsSent(0, 1)
    async with database.transaction() as session:
        await clear_problem(session, source.id)
    database.clock.skew = timedelta(minutes=11)

    post, _ = await deliver(database)

    assert post.mails == []
    assert [row.end_reason for row in await rows(database)] == ["incident_over"]


async def test_alert_about_a_removed_source_ends(database: Database, source: Source) -> None:
    await fail(database, source, SourceProblem.KEY_REFUSED)
    await SourceHealth(database).turn()
    async with database.transaction() as session:
        await remove_source(session, source.project_id, source.id, await database.now(session))

    post, _ = await deliver(database)

    assert len(post.mails) <= 1
    assert all(row.sent_at or row.ended_at for row in await rows(database))


async def test_silence_that_was_recorded_by_another_worker_is_alerted_once(
    database: Database, source: Source
) -> None:
    async with database.transaction() as session:
        now = await database.now(session)
        await session.execute(update(SOURCES).values(last_listed_at=now))
        await record_silence(session, source, now)

    for _ in range(3):
        await SourceHealth(database).turn()

    assert len(await rows(database)) == 1


async def rows(database: Database) -> list[Any]:
    async with database.reading() as session:
        return list((await session.execute(select(ALERTS))).all())


async def unsend(database: Database) -> None:
    """As after the death of a process that had sent the alert and not recorded it."""
    async with database.transaction() as session:
        await session.execute(text("UPDATE alerts SET sent_at = NULL, due_at = 0"))
