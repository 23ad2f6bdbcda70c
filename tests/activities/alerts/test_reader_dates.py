"""Times in mails: in the zone and language of the user whose address it is, with UTC beside."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from sqlalchemy import update

from activities.alerts.email_smtp import SmtpMailer, parse_mail_server
from activities.messages import SendAlerts
from domain.alerts import AlertChannel
from domain.projects import CreatedProject, ProjectChanges
from domain.sources.source import Gap, SourceKind
from domain.wording.dates import UTC_DATES
from store.alerts.claims import claim_alerts
from store.alerts.facts import read_dates
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.people import users
from store.people.preferences import read_dates_of_address, set_preferences
from store.projects.projects import change_project
from store.schema.tables import INCIDENTS
from store.sources.listings import record_gap
from tests.activities.alerts.by_mail import alerts_by_mail
from tests.activities.alerts.test_send import text_of
from tests.support.given import Story
from tests.support.sources import stored_source
from tests.workflows.smtp_server import running_mail_server
from worker.sources.health import SourceHealth

OPENED_AT = datetime(2026, 11, 23, 12, 30, tzinfo=UTC)
ADA, OPS = "Ada@shop.example", "ops@shop.example"


async def tokyo(database: Database, email: str, *, language: str = "de") -> None:
    """A user with this address in Tokyo."""
    async with database.transaction() as session:
        now = await database.now(session)
        user = await users.create_user(session, email=email, now=now)
        await set_preferences(session, user.user_id, time_zone="Asia/Tokyo", date_language=language)


async def test_each_address_has_the_times_of_its_user(database: Database, story: Story) -> None:
    """The incident opens at 12:30 UTC. The other address is nobody's."""
    await tokyo(database, ADA)
    async with database.transaction() as session:
        changes = ProjectChanges(alert_emails=(ADA, OPS))
        await change_project(session, story.project.id, changes=changes)
    event_id, incident_id = await story.opened()
    async with database.transaction() as session:
        opened = update(INCIDENTS).where(INCIDENTS.c.id == incident_id)
        await session.execute(opened.values(opened_at=OPENED_AT))
    database.clock.skew = timedelta(hours=1)

    with running_mail_server() as (post, url):
        mailer = SmtpMailer(parse_mail_server(url))
        await alerts_by_mail(database, mailer).send_alerts(SendAlerts(event_id, incident_id))

    to_ada, to_ops = sorted(post.mails, key=lambda mail: str(mail["To"]))
    assert (to_ada["To"], to_ops["To"]) == (ADA, OPS)
    for subtype in ("plain", "html"):
        ours, theirs = text_of(to_ada, subtype), text_of(to_ops, subtype)
        assert "23.11.2026, 21:30:00 JST (12:30:00 UTC)" in ours
        assert "23 Nov 2026, 12:30:00 UTC" in theirs
        assert "JST" not in theirs
    lines = [line for line in text_of(to_ada, "plain").splitlines() if "UTC" in line]
    assert [line.split()[0] for line in lines] == ["Open", "Occurred", "Deadline", "Opened"]
    assert all("JST (" in line for line in lines)


async def test_mail_about_a_source_has_the_times_of_its_user(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    await tokyo(database, OPS, language="iso")
    source = await stored_source(database, sealer, project.project.id, SourceKind.STRIPE_API)
    async with database.transaction() as session:
        now = await database.now(session)
        gap = Gap(now - timedelta(days=40), now - timedelta(days=30), now)
        await record_gap(session, source, gap)
    await SourceHealth(database).turn()

    with running_mail_server() as (post, url):
        await alerts_by_mail(database, SmtpMailer(parse_mail_server(url))).deliver()

    async with database.reading() as session:
        dates = await read_dates_of_address(session, OPS)
    span = f"{dates.beside_utc(gap.from_at)} to {dates.beside_utc(gap.until_at)}"
    assert dates.zone_name == "Asia/Tokyo"
    assert span in text_of(post.mails[0], "plain").replace("\n", " ")


async def test_alert_that_is_no_mail_has_utc(database: Database, story: Story) -> None:
    """Even if its destination were the address of a user."""
    await tokyo(database, OPS)
    await story.opened()
    async with database.transaction() as session:
        (alert,) = await claim_alerts(session, story.at, limit=1)

    async with database.reading() as session:
        by_mail = await read_dates(session, alert)
        found = [
            await read_dates(session, replace(alert, channel=channel))
            for channel in AlertChannel
            if channel is not AlertChannel.EMAIL
        ]

    assert by_mail.zone_name == "Asia/Tokyo"
    assert found == [UTC_DATES] * 4
