"""Silent projects: one alert for each episode, however many workers look, and what it says."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from activities.alerts.email_smtp import SmtpMailer, parse_mail_server
from domain.overview.silence import Watch
from domain.projects import ProjectChanges
from store.db.database import Database
from store.overview.silence import WHOLE, count_silent, read_watches
from store.projects.projects import change_project, set_suspended
from tests.activities.alerts.by_mail import alerts_by_mail
from tests.activities.alerts.test_send import text_of
from tests.support.given import Story
from tests.workflows.smtp_server import running_mail_server
from worker.overview.counting import FactCounting
from worker.overview.silence import ProjectSilence

MINUTE = timedelta(minutes=1)


@pytest.fixture
async def quiet(story: Story) -> Story:
    """A project that is silent after 30 minutes, with a receipt now."""
    await change(story, silent_after_minutes=30, alert_emails=("ops@shop.example",))
    async with story.database.reading() as session:
        story.at = await story.database.now(session)
    await created(story)
    await story.receipt()
    return story


async def created(story: Story) -> None:
    """The project was created two days ago."""
    sql = text("UPDATE projects SET created_at = created_at - 172800000")
    async with story.database.transaction() as session:
        await session.execute(sql)


async def change(story: Story, **changes: Any) -> None:
    async with story.database.transaction() as session:
        await change_project(session, story.project.id, changes=ProjectChanges(**changes))


async def turns(database: Database, *, after: timedelta) -> None:
    """Two workers count and judge, so much later."""
    database.clock.skew += after
    await FactCounting(database).turn()
    workers = [ProjectSilence(database), ProjectSilence(database)]
    for _ in range(2):
        await asyncio.gather(*(worker.turn() for worker in workers))


async def watches(story: Story) -> dict[str, Watch]:
    async with story.database.reading() as session:
        return {one.event_type: one for one in await read_watches(session, [story.project.id])}


async def alerted(database: Database) -> list[str]:
    sql = "SELECT replay_id FROM alerts WHERE kind = 'project_silent' ORDER BY id"
    async with database.reading() as session:
        return [about.partition(":")[2] for about in await session.scalars(text(sql))]


async def silent(database: Database) -> int:
    async with database.reading() as session:
        return await count_silent(session, limit=10)


@pytest.mark.both_stores
async def test_each_episode_has_one_alert(quiet: Story, database: Database) -> None:
    await turns(database, after=29 * MINUTE)
    assert (await alerted(database), await silent(database)) == ([], 0)

    await turns(database, after=3 * MINUTE)
    await turns(database, after=60 * MINUTE)
    assert (await alerted(database), await silent(database)) == ([""], 1)
    assert (await watches(quiet))[WHOLE].silent_since == quiet.at

    quiet.later(minutes=93)
    await quiet.receipt()
    await turns(database, after=5 * MINUTE)
    assert (await alerted(database), await silent(database)) == ([""], 0)

    await turns(database, after=60 * MINUTE)
    assert (await alerted(database), await silent(database)) == (["", ""], 1)


@pytest.mark.both_stores
async def test_silent_type_is_alerted_while_the_project_is_not(
    quiet: Story, database: Database
) -> None:
    await change(quiet, silent_after_minutes=0, silent_event_types={"invoice.paid": 20})
    await turns(database, after=30 * MINUTE)
    assert await alerted(database) == ["invoice.paid"]

    await change(quiet, silent_event_types={})
    await turns(database, after=MINUTE)
    assert await silent(database) == 0


async def test_silent_project_has_no_alerts_of_its_types(quiet: Story, database: Database) -> None:
    await change(quiet, silent_event_types={"invoice.paid": 40, "charge.refunded": 40})
    await turns(database, after=60 * MINUTE)

    assert await alerted(database) == [""]
    assert await silent(database) == 3


async def test_silence_of_a_suspended_project_counts_from_its_resumption(
    quiet: Story, database: Database
) -> None:
    async def suspend(suspended: bool) -> None:
        async with database.transaction() as session:
            now = await database.now(session)
            await set_suspended(session, quiet.project.id, suspended=suspended, now=now)

    await suspend(True)
    await turns(database, after=90 * MINUTE)
    await suspend(False)
    await turns(database, after=25 * MINUTE)
    assert await alerted(database) == []

    await turns(database, after=10 * MINUTE)
    assert await alerted(database) == [""]


async def test_mail_says_since_when_and_what_to_do(quiet: Story, database: Database) -> None:
    await turns(database, after=45 * MINUTE)

    with running_mail_server() as (post, url):
        await alerts_by_mail(database, SmtpMailer(parse_mail_server(url))).deliver()

    (mail,) = post.mails
    body = text_of(mail, "plain")
    assert mail["Subject"].startswith("[test] No receipts since ")
    assert mail["Subject"].endswith(": shop")
    assert "its API key is valid" in body
    assert "30 min" in body
    assert f"/projects/{quiet.project.id}#silence" in body


@pytest.mark.both_stores
async def test_silence_is_learned_once_a_day(story: Story, database: Database) -> None:
    async with database.reading() as session:
        now = await database.now(session)
    story.at = now.replace(minute=30, second=0) - timedelta(days=10)
    while story.at < now - timedelta(hours=1):
        await story.receipt()
        story.later(hours=2)
    await FactCounting(database).turn()

    await ProjectSilence(database).turn()

    whole = (await watches(story))[WHOLE]
    assert whole.learned_minutes == 3 * 60
    assert whole.minutes is None  # of a test project
    assert await alerted(database) == []
