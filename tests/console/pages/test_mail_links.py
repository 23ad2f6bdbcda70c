"""Links of alert mails: opening one never acts, each is signed, for one purpose, and acts once."""

import asyncio
import re
from datetime import timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage

import httpx
import pytest
from sqlalchemy import select

from activities.alerts.email_format import OutgoingMail
from domain.projects import ProjectChanges
from store.crypto.encryption import Sealer
from store.crypto.root_secret import rotate
from store.db.database import Database
from store.projects.deletion import delete_project
from store.projects.projects import change_project, read_project
from store.receipts.operator_actions import resolve_manually
from store.schema.tables import ALERT_DESTINATIONS, ALERTS, AUDIT_LOG, INCIDENTS
from tests.activities.alerts.by_mail import PUBLIC_URL, alerts_by_mail
from tests.conftest import SECRET_KEY
from tests.console.conftest import Visitor
from tests.support.given import START, Story

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

INVALID = "This link is not valid"


async def mailed(story: Story, *, count: int = 1) -> EmailMessage:
    """The mail about a new incident, as the product writes it."""
    sent: list[OutgoingMail] = []

    async def mailer(mail: OutgoingMail) -> None:
        sent.append(mail)

    await story.opened(internal_reference="order <7>")
    async with story.database.reading() as session:
        now = await story.database.now(session)
    story.database.clock.skew += START + timedelta(hours=1) - now
    await alerts_by_mail(story.database, mailer).deliver()
    assert len(sent) == count
    mail = message_from_bytes(sent[-1].content, policy=policy.default)
    assert isinstance(mail, EmailMessage)
    return mail


def text_of(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def link_in(mail: EmailMessage, name: str) -> str:
    """The path of the mail's link."""
    found = re.search(rf"{PUBLIC_URL}(/alerts/{name}/\S+)", text_of(mail))
    assert found is not None
    return found[1]


async def click(visitor: Visitor, path: str) -> httpx.Response:
    """Press the page's button, in a browser without any cookie."""
    return await visitor.client.post(path)


async def state(database: Database) -> list[object]:
    async with database.reading() as session:
        return [
            (await session.execute(select(table))).all()
            for table in (ALERT_DESTINATIONS, ALERTS, AUDIT_LOG, INCIDENTS)
        ]


async def test_mail_has_one_click_fields_whose_address_is_its_link(story: Story) -> None:
    mail = await mailed(story)

    path = link_in(mail, "unsubscribe")
    assert mail["List-Unsubscribe"] == f"<{PUBLIC_URL}{path}>"
    assert mail["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"


@pytest.mark.parametrize("name", ["unsubscribe", "acknowledge"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
async def test_opening_a_link_changes_nothing(
    visitor: Visitor, story: Story, database: Database, name: str, method: str
) -> None:
    path = link_in(await mailed(story), name)
    before = await state(database)

    answers = [await visitor.client.request(method, path) for _ in range(3)]

    assert await state(database) == before
    if method == "GET":
        assert {answer.status_code for answer in answers} == {200}
        assert f'<form method="post" action="{path}"' in answers[0].text
        assert "<7>" not in answers[0].text


@pytest.mark.parametrize("body", [b"List-Unsubscribe=One-Click", b"", b"x" * 10_000])
async def test_one_click_disables_the_destination_and_keeps_it(
    visitor: Visitor, story: Story, database: Database, body: bytes
) -> None:
    path = link_in(await mailed(story), "unsubscribe")

    answers = [await visitor.client.post(path, content=body) for _ in range(2)]

    async with database.reading() as session:
        (destination,) = (await read_project(session, story.project.id)).alert_destinations
        entries = (await session.execute(select(AUDIT_LOG))).all()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert "No more alerts" in answers[0].text
    assert (destination.target, destination.state) == ("ops@shop.example", "disabled")
    ours = [entry for entry in entries if entry.action == "destination_changed"]
    assert [(entry.actor, entry.details) for entry in ours] == [
        (destination.id, '{"fields":["disabled"]}')
    ]
    await story.opened()
    assert len(await story.alerts((await story.opened())[0])) == 0


async def test_acknowledgement_works_once_and_names_its_destination(
    visitor: Visitor, story: Story, database: Database
) -> None:
    path = link_in(await mailed(story), "acknowledge")

    first, second = await click(visitor, path), await click(visitor, path)

    opened = await visitor.client.get(path)
    async with database.reading() as session:
        (incident,) = (await session.execute(select(INCIDENTS))).all()
        (destination,) = (await read_project(session, story.project.id)).alert_destinations
        entries = (await session.execute(select(AUDIT_LOG))).all()
    assert first.status_code == 200
    assert "Acknowledged" in first.text
    assert (second.status_code, opened.status_code) == (404, 404)
    assert "This link was used" in second.text
    assert incident.acknowledged_at is not None
    assert [entry.actor for entry in entries if entry.action == "incident_acknowledged"] == [
        destination.id
    ]


async def test_of_two_clicks_at_once_one_acknowledges(visitor: Visitor, story: Story) -> None:
    path = link_in(await mailed(story), "acknowledge")

    answers = await asyncio.gather(*(click(visitor, path) for _ in range(4)))

    assert sorted(answer.status_code for answer in answers) == [200, 404, 404, 404]


async def test_link_to_acknowledge_expires_and_the_other_does_not(
    visitor: Visitor, story: Story, database: Database
) -> None:
    mail = await mailed(story)
    # The alert became due when the incident opened.
    database.clock.skew += timedelta(days=3)

    late = await click(visitor, link_in(mail, "acknowledge"))
    other = await click(visitor, link_in(mail, "unsubscribe"))

    assert (late.status_code, other.status_code) == (404, 200)
    assert "This link has expired" in late.text


@pytest.mark.parametrize("name", ["unsubscribe", "acknowledge"])
async def test_changed_link_is_not_valid(visitor: Visitor, story: Story, name: str) -> None:
    mail = await mailed(story)
    path = link_in(mail, name)
    other = link_in(mail, "acknowledge" if name == "unsubscribe" else "unsubscribe")
    token, swapped = path.rpartition("/")[2], other.rpartition("/")[2]
    body, _, mac = token.rpartition(".")
    changed = {
        "another purpose": swapped,
        "another signature": f"{body}.{'A' * 43}",
        "another id": f"{body[:-1]}{'0' if body[-1] != '0' else '1'}.{mac}",
        "a sign more": f"{token}A",
        "nothing": "x",
        "a line": f"{token}%0A",
        "its first half": token[: len(token) // 2],
    }

    answers = {
        what: [
            (await visitor.client.request(method, f"/alerts/{name}/{text}")).status_code
            for method in ("GET", "POST")
        ]
        for what, text in changed.items()
    }

    assert {what: codes for what, codes in answers.items() if codes != [404, 404]} == {}
    assert (await visitor.client.get(path)).status_code == 200


async def test_links_end_with_their_destination_and_their_project(
    visitor: Visitor, story: Story, database: Database
) -> None:
    mail = await mailed(story)
    paths = [link_in(mail, name) for name in ("unsubscribe", "acknowledge")]
    async with database.transaction() as session:
        changes = ProjectChanges(alert_emails=("b@shop.example",))
        await change_project(session, story.project.id, changes=changes)
    removed = [await click(visitor, path) for path in paths]
    async with database.transaction() as session:
        await change_project(
            session, story.project.id, changes=ProjectChanges(alert_emails=("ops@shop.example",))
        )
    added_again = await click(visitor, paths[0])
    async with database.transaction() as session:
        await delete_project(session, story.project.id, end_open=True, now=START)
    deleted = [await click(visitor, path) for path in paths]

    for answer in (*removed, added_again, *deleted):
        assert answer.status_code == 404
        assert INVALID in answer.text


async def test_links_survive_a_replaced_root_secret(
    visitor: Visitor, story: Story, database: Database, sealer: Sealer
) -> None:
    path = link_in(await mailed(story), "unsubscribe")
    renewed = Sealer("another root secret of the tests, long enough", SECRET_KEY)
    async with database.transaction() as session:
        await rotate(session, renewed, await database.now(session))
    sealer.current, sealer.previous = renewed.current, None

    assert (await click(visitor, path)).status_code == 200


async def test_mail_about_an_ended_incident_has_no_link_to_acknowledge(
    story: Story, visitor: Visitor
) -> None:
    mail = await mailed(story)
    path = link_in(mail, "acknowledge")
    async with story.database.reading() as session:
        incident_id = await session.scalar(select(INCIDENTS.c.id))
    await story.do(resolve_manually, incident_id, reason="refunded", requested_by="usr_1")

    answer = await click(visitor, path)
    sent: list[OutgoingMail] = []

    async def mailer(one: OutgoingMail) -> None:
        sent.append(one)

    await alerts_by_mail(story.database, mailer).deliver()
    resolved = message_from_bytes(sent[0].content, policy=policy.default)

    assert answer.status_code == 400
    assert isinstance(resolved, EmailMessage)
    assert "/alerts/acknowledge/" not in text_of(resolved)
    assert resolved["Subject"] == f"Re: {mail['Subject']}", "one thread in Gmail"
    assert resolved["References"] == mail["Message-ID"]


async def test_form_of_another_site_is_rejected(visitor: Visitor, story: Story) -> None:
    path = link_in(await mailed(story), "unsubscribe")

    answer = await visitor.client.post(path, headers={"Sec-Fetch-Site": "cross-site"})

    assert answer.status_code == 403
