"""The event page says who is harmed and why, shows what was sent, and gives owners the payload."""

import html
import json
import re
import subprocess

import pytest
from sqlalchemy import update

from api.console.pages.event.details import signature_check
from domain.audit import AuditAction
from domain.incidents import Attempt, AttemptState, SentCallback
from domain.lifecycle import LifecycleState
from domain.security.signing import SigningSecrets, callback_headers
from domain.users import Role
from domain.values.text import readable
from store.audit.log import AuditFilters
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.data_keys import read_data_key
from store.receipts.attempts import keep_body
from store.schema.tables import RECEIPTS
from tests.console.conftest import Visitor
from tests.console.people import ConsoleWorld
from tests.console.ui.test_timeline import AT
from tests.support.given import Story

PAYLOAD = {"card": "4242", "note": "<b>&\u202e"}


async def test_page_opens_with_who_is_harmed(operator: Visitor, story: Story) -> None:
    event_id = await story.receipt(
        event_type="charge.refunded",
        effect_type="access_revocation",
        amount=1_200,
        currency="EUR",
        customer_reference="cus <7>",
    )
    await story.result(event_id, "failed", error_code="db_down", error_message="line 1\nline 2")

    page = (await operator.open(f"/events/{event_id}")).text

    head = page[page.index("event-head") : page.index('class="columns"')]
    assert "The customer was refunded and still has access." in head
    assert "customer paid" not in page
    assert "EUR 12.00" in head
    assert "cus &lt;7&gt;" in head
    assert "Open for" in head
    assert "https://dashboard.stripe.com/test/events/evt_stripe_" in page
    assert "line 1\nline 2" in page
    assert "req_result" in page


async def test_other_incidents_of_the_same_cause_are_counted_and_linked(
    operator: Visitor, story: Story
) -> None:
    codes = ["no seat", "no seat", "no seat", "card_declined"]
    events = [await story.receipt() for _ in codes]
    for event_id, code in zip(events, codes, strict=True):
        await story.result(event_id, "failed", error_code=code)
    await story.result(events[1])

    page = html.unescape((await operator.open(f"/events/{events[0]}")).text)
    other = (await operator.open(f"/events/{events[3]}")).text

    assert "1 more with the same cause" in page
    (path,) = re.findall(r'href="(/incidents\?project=[^"]+)"', page)
    assert path.endswith("&q=effect%3Aaccess_unlock+reason%3Afailed_result+error%3A%22no+seat%22")
    assert "with the same cause" not in other


async def test_calls_of_a_repair_are_shown_with_headers_body_and_answer(
    operator: Visitor, story: Story
) -> None:
    event_id, replay_id = await story.repairing()
    await story.do(keep_body_of, replay_id)
    await story.attempt(event_id, replay_id, status=503, answer_excerpt="<i>busy</i>")

    event = (await operator.open(f"/events/{event_id}")).text
    path = f"/events/{event_id}/repairs/{replay_id}"
    page = (await operator.open(path)).text

    assert f'href="{path}"' in event
    assert readable(BODY) in html.unescape(page)
    assert "&lt;i&gt;busy&lt;/i&gt;" in page
    assert "HTTP 503" in page
    assert "The headers of this attempt are not stored." in page
    assert (await operator.open(f"/events/{event_id}/repairs/rpl_none")).status_code == 404


BODY = '{"replay_id":"rpl_1","internal_reference":"order \'7\' \u202e\u2028 $(id) `id` \\\\"}'


async def keep_body_of(st: object, replay_id: str, _: object) -> None:
    await keep_body(st, replay_id, BODY.encode())  # type: ignore[arg-type]  # of `Story.do`


async def test_copied_commands_compute_the_signature_that_was_sent() -> None:
    secret = "whsec_c2VjcmV0IG9mIHRoZSB0ZXN0cw=="
    headers = callback_headers(
        secrets=SigningSecrets(current=secret, next=None),
        replay_id="rpl_1",
        attempt_number=1,
        timestamp=1_795_432_435,
        nonce="0f" * 16,
        body=BODY.encode(),
    )
    sent = SentCallback(Attempt(1, AT, AttemptState.FINISHED, 503, 3, None), tuple(headers))

    commands = signature_check(BODY, sent)

    done = subprocess.run(
        ["bash", "-c", commands],
        env={"PATH": "/usr/bin:/bin", "MAKEGOOD_SIGNING_SECRET": secret},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split()[-1] == dict(headers)["X-SendPromptly-Signature"]
    assert secret not in commands


async def test_owner_reads_the_payload_and_each_reading_is_recorded(
    world: ConsoleWorld, story: Story, sealer: Sealer, database: Database
) -> None:
    event_id = await story.receipt()
    await store_payload(database, sealer, story, event_id)
    owner = await world.member("owner", story.project.id, Role.OWNER)
    operator = await world.member("operator", story.project.id, Role.OPERATOR)

    page = await owner.post(f"/events/{event_id}/payload")
    refused = await operator.post(f"/events/{event_id}/payload")

    assert (page.status_code, refused.status_code) == (200, 403)
    assert "4242" in page.text
    assert "&lt;b&gt;" in page.text
    assert "\u202e" not in page.text
    assert "Show payload" in (await owner.get(f"/events/{event_id}")).text
    assert "Show payload" not in (await operator.get(f"/events/{event_id}")).text
    log = await world.parts.operations.audit.list_audit(AuditFilters(project_id=None))
    assert [(one.action, one.actor, one.subject_id) for one in log.rows] == [
        (AuditAction.PAYLOAD_READ.value, owner.user_id, event_id)
    ]


@pytest.mark.parametrize("state", [LifecycleState.WAITING, LifecycleState.OPEN])
async def test_event_without_payload_offers_none(
    world: ConsoleWorld, story: Story, state: LifecycleState
) -> None:
    event_id, _ = await story.reach(state)
    owner = await world.member("owner", story.project.id, Role.OWNER)

    assert "Show payload" not in (await owner.get(f"/events/{event_id}")).text
    assert (await owner.post(f"/events/{event_id}/payload")).status_code == 404


async def store_payload(database: Database, sealer: Sealer, story: Story, event_id: str) -> None:
    """Store a payload as ingest does."""
    async with database.transaction() as session:
        sealed = sealer.seal(
            await read_data_key(session, story.project.id),
            project_id=story.project.id,
            table="receipts",
            column="payload",
            row=event_id,
            plaintext=json.dumps(PAYLOAD).encode(),
        )
        await session.execute(
            update(RECEIPTS).where(RECEIPTS.c.event_id == event_id).values(payload=sealed)
        )
