"""The six lives of a receipt through every real part, with time skipped:

success, failed, timeout, repaired, exhausted, late.
"""

import base64
import hashlib
import hmac
from datetime import UTC, datetime
from typing import Any

from standardwebhooks.webhooks import Webhook

from domain.ids import EventId
from domain.lifecycle import LifecycleState
from tests.lives.shop import Shop
from tests.support.waiting import wait_until_async
from tests.workflows.world import World

MOST_EVENTS = 12


def kinds(event: dict[str, Any]) -> list[str]:
    return [entry["kind"] for entry in event["timeline"] if entry["kind"] != "alert_sent"]


async def timed_out(makegood: World, shop: Shop, **changes: Any) -> EventId:
    """A receipt whose incident is open, and whose mail was taken."""
    event_id = await shop.accepted(**changes)
    await makegood.started(event_id)
    await makegood.advance(event_id, minutes=30)
    await shop.becomes(event_id, state="incident", incident="open")
    await makegood.subjects(1)
    return event_id


async def test_success(makegood: World, shop: Shop) -> None:
    event_id = await shop.accepted()
    await makegood.started(event_id)

    state = await shop.result(event_id, "success")

    assert state == "applied"
    assert await makegood.ended(event_id) == LifecycleState.APPLIED
    events = await makegood.event_types(event_id)
    assert len(events) <= MOST_EVENTS, events
    assert "ACTIVITY_TASK_SCHEDULED" not in events
    event = await shop.event(event_id)
    assert (event["state"], event["incident"], event["repairs"]) == ("applied", None, [])
    assert kinds(event) == ["receipt_accepted", "result_received"]
    assert makegood.post.mails == makegood.receiver.calls == []


async def test_failed(makegood: World, shop: Shop) -> None:
    event_id = await shop.accepted(internal_reference="order_4711")
    await makegood.started(event_id)

    state = await shop.result(event_id, "failed", error_code="job_died", error_message="killed")

    assert state == "incident"
    event = await shop.event(event_id)
    assert (event["incident"]["state"], event["incident"]["reason"]) == ("open", "failed_result")
    assert (event["incident"]["error_code"], event["incident"]["error_message"]) == (
        "job_died",
        "killed",
    )
    assert kinds(event) == ["receipt_accepted", "result_received", "incident_opened"]
    (subject,) = await makegood.subjects(1)
    assert "order_4711" in subject
    await makegood.reaches(event_id, LifecycleState.OPEN)


async def test_timeout(makegood: World, shop: Shop) -> None:
    event_id = await shop.accepted(internal_reference="order_4712")
    await makegood.started(event_id)
    await makegood.advance(event_id, minutes=29)
    assert (await shop.event(event_id))["state"] == "waiting"

    await makegood.advance(event_id, minutes=1)

    event = await shop.becomes(event_id, state="incident", incident="open")
    assert event["incident"]["reason"] == "missing_result"
    assert event["incident"]["opened_at"] >= event["timeout_at"]
    assert kinds(event) == ["receipt_accepted", "deadline_passed", "incident_opened"]
    (subject,) = await makegood.subjects(1)
    assert "order_4712" in subject
    assert await makegood.stored(event_id) is LifecycleState.OPEN


async def test_repaired(makegood: World, shop: Shop) -> None:
    event_id = await timed_out(makegood, shop)

    replay_id = await shop.reprocess(event_id)

    await shop.becomes(event_id, incident="repairing", repair="awaiting_result")
    (call,) = makegood.receiver.calls
    event = await shop.event(event_id)
    assert call.body["type"] == "repair.requested"
    assert (call.body["replay_id"], call.body["event_id"]) == (replay_id, event_id)
    assert (call.body["incident_id"], call.body["reason"]) == (
        event["incident"]["id"],
        "missing_result",
    )
    assert event["incident"]["active_replay_id"] == replay_id
    assert await shop.result(event_id, "success", replay_id=replay_id) == "recovered"
    assert await makegood.ended(event_id) == LifecycleState.RECOVERED
    event = await shop.event(event_id)
    (repair,) = event["repairs"]
    assert (repair["replay_id"], repair["state"], repair["cause"]) == (replay_id, "succeeded", None)
    assert [(attempt["number"], attempt["status"]) for attempt in repair["attempts"]] == [(1, 200)]
    assert (event["incident"]["state"], event["incident"]["resolution"]) == ("resolved", "repaired")
    expected = [
        "receipt_accepted",
        "deadline_passed",
        "incident_opened",
        "reprocess_requested",
        "attempt",
        "result_received",
    ]
    assert kinds(event) == [*expected, "incident_resolved"]
    await makegood.subjects(2)
    opened, resolved = makegood.post.mails
    assert resolved["In-Reply-To"] == opened["Message-ID"]


async def test_callback_is_signed_as_the_contract_says(makegood: World, shop: Shop) -> None:
    event_id = await timed_out(makegood, shop)

    await shop.reprocess(event_id)

    await shop.becomes(event_id, repair="awaiting_result")
    (call,) = makegood.receiver.calls
    timestamp, nonce = (
        call.headers["x-sendpromptly-timestamp"],
        call.headers["x-sendpromptly-nonce"],
    )
    signed = f"{timestamp}.{nonce}.".encode() + call.raw
    expected = hmac.new(shop.signing_secret.encode(), signed, hashlib.sha256).hexdigest()
    assert call.headers["x-sendpromptly-signature"] == expected
    assert call.headers["x-sendpromptly-attempt"] == "1"
    async with makegood.database.reading() as session:
        now = await makegood.database.now(session)
    assert abs(int(timestamp) - now.timestamp()) < 60
    assert "x-sendpromptly-signature-next" not in call.headers
    key = base64.b64encode(base64.b64decode(shop.signing_secret.removeprefix("whsec_"))).decode()
    # Signed, not verified: the package has a clock of its own, and the store's is half an hour
    # ahead of it here.
    signed_by_package = Webhook(key).sign(
        call.headers["webhook-id"], datetime.fromtimestamp(int(timestamp), UTC), call.raw.decode()
    )
    assert call.headers["webhook-signature"] == signed_by_package
    assert call.headers["webhook-timestamp"] == timestamp


async def test_exhausted(makegood: World, shop: Shop) -> None:
    makegood.receiver.status = 503
    event_id = await timed_out(makegood, shop)

    replay_id = await shop.reprocess(event_id)
    for number, minutes in ((1, 2), (2, 12), (3, 0)):
        await wait_until_async(
            lambda number=number: len(makegood.receiver.calls) == number, what=f"attempt {number}"
        )
        await wait_until_async(
            lambda number=number: _has_recorded(shop, event_id, number),
            what=f"attempt {number} recorded",
        )
        if minutes:
            await makegood.advance(event_id, minutes=minutes)

    event = await shop.becomes(event_id, incident="open", repair="failed")
    (repair,) = event["repairs"]
    assert repair["cause"] == "exhausted"
    assert [(attempt["number"], attempt["status"]) for attempt in repair["attempts"]] == [
        (1, 503),
        (2, 503),
        (3, 503),
    ]
    assert len({call.raw for call in makegood.receiver.calls}) == 1
    assert [call.headers["x-sendpromptly-attempt"] for call in makegood.receiver.calls] == [
        "1",
        "2",
        "3",
    ]
    assert kinds(event)[-1] == "repair_failed"
    assert len(await makegood.subjects(2)) == 2

    makegood.receiver.status = 200
    assert await shop.reprocess(event_id) != replay_id


async def test_late(makegood: World, shop: Shop) -> None:
    event_id = await timed_out(makegood, shop)

    state = await shop.result(event_id, "success")

    assert state == "recovered"
    assert await makegood.ended(event_id) == LifecycleState.RECOVERED
    event = await shop.event(event_id)
    assert (event["incident"]["state"], event["incident"]["resolution"]) == (
        "resolved",
        "late_result",
    )
    assert kinds(event)[-2:] == ["result_received", "incident_resolved"]


async def test_repair_without_a_result_opens_the_incident_again(
    makegood: World, shop: Shop
) -> None:
    event_id = await timed_out(makegood, shop)
    await shop.reprocess(event_id)
    await shop.becomes(event_id, repair="awaiting_result")
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)

    await makegood.advance(event_id, minutes=30)

    event = await shop.becomes(event_id, incident="open", repair="failed")
    assert event["repairs"][0]["cause"] == "no_result"


async def test_resolved_by_hand(makegood: World, shop: Shop) -> None:
    event_id = await timed_out(makegood, shop)
    incident_id = (await shop.event(event_id))["incident"]["id"]
    assert (await shop.operate(incident_id, "acknowledge")).status_code < 300

    answer = await shop.operate(incident_id, "resolve", reason="refunded by hand")

    assert answer.status_code < 300, answer.text
    assert await makegood.ended(event_id) == LifecycleState.CLOSED
    assert (await shop.event(event_id))["incident"]["resolution"] == "manual"
    again = await shop.operate(incident_id, "reprocess")
    assert (again.status_code, again.json()["code"]) == (409, "incident_resolved")


async def _has_recorded(shop: Shop, event_id: str, number: int) -> bool:
    attempts = (await shop.event(event_id))["repairs"][-1]["attempts"]
    return len(attempts) >= number and attempts[number - 1]["status"] is not None
