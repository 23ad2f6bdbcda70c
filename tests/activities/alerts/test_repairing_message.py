"""Mail about a bulk repair that ended and a rule that disarmed itself."""

from typing import Any

import pytest

from activities.alerts.email_smtp import SmtpMailer, parse_mail_server
from activities.messages import AlertsSent
from domain.projects import CreatedProject
from domain.repairing.bulk import BulkState, Plan
from domain.repairing.rules import RuleSpec
from store.db.database import Database
from store.repairing.bulk_repairs import (
    NewBulkRepair,
    add_bulk_repair,
    read_bulk_repair,
    set_state,
)
from store.repairing.bulk_steps import alert_ended, begin_next, decide, settle_items
from store.repairing.rule_turns import DueTurn, settle_rule, take_turn
from store.repairing.rules import replace_rules
from tests.activities.alerts.by_mail import alerts_by_mail
from tests.activities.alerts.test_send import text_of
from tests.support.given import OPERATOR, Story
from tests.workflows.smtp_server import MailHandler, running_mail_server


@pytest.fixture
async def story(database: Database, project: CreatedProject) -> Story:
    story = Story(database, project.project)
    async with database.reading() as session:
        story.at = await database.now(session)
    return story


async def deliver(database: Database) -> tuple[MailHandler, AlertsSent]:
    with running_mail_server() as (post, url):
        sent = await alerts_by_mail(database, SmtpMailer(parse_mail_server(url))).deliver()
    return post, sent


async def opened(story: Story) -> Any:
    event_id = await story.receipt()
    await story.result(event_id, "failed")
    return await story.incident_id(event_id), event_id


@pytest.mark.parametrize("end", ["stopped", "aborted", "finished"])
async def test_mail_says_how_the_bulk_repair_ended(
    database: Database, story: Story, end: str
) -> None:
    member = await opened(story)
    new = NewBulkRepair("outage <of> noon", OPERATOR, Plan(), False, [member])
    async with database.transaction() as session:
        bulk_id = await add_bulk_repair(session, story.project.id, new, story.at)
        if end == "aborted":
            bulk, _ = await set_state(
                session, story.project.id, bulk_id, BulkState.ABORTED, story.at
            )
            await alert_ended(session, bulk, story.at)
        else:
            await begin_next(session, bulk_id, story.at)
    if end != "aborted":
        (repair,) = await story.rows("repairs", member[1])
        status = "failed" if end == "stopped" else "success"
        await story.result(member[1], status, replay_id=repair["replay_id"])
        async with database.transaction() as session:
            await settle_items(session, bulk_id, story.at)
            await decide(session, bulk_id, story.at)
            assert (await read_bulk_repair(session, None, bulk_id)).state == end

    post, _ = await deliver(database)

    (mail,) = [mail for mail in post.mails if "Bulk repair" in mail["Subject"]]
    assert mail["Subject"] == f"[test] Bulk repair {end}: outage <of> noon"
    assert mail["In-Reply-To"] is None
    for subtype in ("plain", "html"):
        assert f"/bulk-repairs/{bulk_id}" in text_of(mail, subtype)
    failed = "1 of 1 decided repairs failed (100 %)"
    assert (failed in text_of(mail, "plain")) is (end == "stopped")


async def test_mail_says_that_a_rule_disarmed_itself(database: Database, story: Story) -> None:
    spec = RuleSpec("again", None, None, None, None, 0, 1, 10, 1)
    async with database.transaction() as session:
        (rule,) = await replace_rules(session, story.project.id, [spec])
    incident_id, event_id = await opened(story)
    async with database.transaction() as session:
        assert await take_turn(session, DueTurn(incident_id, event_id), story.at)
    (repair,) = await story.rows("repairs", event_id)
    await story.result(event_id, "failed", replay_id=repair["replay_id"])
    async with database.transaction() as session:
        await settle_rule(session, rule.id, story.at)

    post, _ = await deliver(database)

    (mail,) = [mail for mail in post.mails if "Rule" in mail["Subject"]]
    assert mail["Subject"] == "[test] Rule disarmed: again"
    assert "arm it again" in text_of(mail, "plain")
    assert f"/projects/{story.project.id}#repair-rules" in text_of(mail, "plain")
