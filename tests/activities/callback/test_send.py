"""One callback attempt: the same signed bytes each time, recorded, judged, resent after a crash."""

import asyncio
import hashlib
import hmac
import json
from datetime import timedelta

import pytest
from temporalio.testing import ActivityEnvironment

from activities.callback.transport import OutgoingRequest
from activities.messages import SendCallback
from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.projects import CreatedProject, ProjectChanges
from domain.retries import ErrorClass, ExchangeOutcome
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.db.sql import SessionStatements
from store.projects.projects import change_project
from store.projects.signing_secrets import rotate_signing_secret
from store.receipts.attempts import begin_attempt
from store.receipts.repairs import request_repair
from store.receipts.state import lock_receipt
from tests.activities.callback.endpoints import Endpoint, Slow, built, failing, send
from tests.support.given import OPERATOR, Story

REFUSED_CONNECTION = ExchangeOutcome(
    status=None, error_class=ErrorClass.CONNECT_FAILED, duration_ms=3
)


@pytest.fixture
async def order(story: Story) -> SendCallback:
    """A repair in state `calling`."""
    event_id, replay_id = await story.repairing()
    return SendCallback(event_id, replay_id)


async def test_body_and_headers_are_the_contracts(
    story: Story, sealer: Sealer, order: SendCallback, project: CreatedProject
) -> None:
    endpoint = Endpoint(200)

    answer = await send(story, sealer, endpoint, order)

    assert answer.status.state is LifecycleState.AWAITING_RESULT
    body, headers = endpoint.requests[0].body, endpoint.headers()
    assert list(json.loads(body)) == [
        *(
            "type",
            "replay_id",
            "incident_id",
            "event_id",
            "provider",
            "provider_event_id",
            "stripe_event_id",
            "event_type",
        ),
        *(
            "effect_type",
            "internal_reference",
            "occurred_at",
            "reason",
            "error_code",
            "requested_at",
            "livemode",
        ),
        *("effect_key", "amount", "currency", "customer_reference"),
    ]
    signed = (
        f"{headers['x-sendpromptly-timestamp']}.{headers['x-sendpromptly-nonce']}.".encode() + body
    )
    signature = hmac.new(project.signing_secret.encode(), signed, hashlib.sha256).hexdigest()
    assert headers["x-sendpromptly-signature"] == signature
    assert headers["webhook-id"] == order.replay_id
    assert headers["x-sendpromptly-attempt"] == "1"
    assert endpoint.requests[0].livemode is False
    assert headers["content-type"] == "application/json"
    receipt = (await story.rows("receipts", EventId(order.event_id)))[0]
    assert headers["request-id"] == receipt["request_id"]


async def test_receipt_that_comes_during_its_repair_changes_no_byte_of_it(
    story: Story, sealer: Sealer
) -> None:
    event_id = await story.reach_unreceipted(LifecycleState.CALLING)
    (repair,) = await story.rows("repairs", event_id)
    order, endpoint = SendCallback(event_id, repair["replay_id"]), Endpoint(503, 422, 200)
    risk = {"amount": 4_900, "currency": "EUR", "customer_reference": "customer 7"}
    await failing(story, sealer, endpoint, order, schedule=(0, 0))

    await story.accept(event_id, internal_reference="order of the app", **risk)
    await failing(story, sealer, endpoint, order, schedule=(0, 0))
    story.later(hours=1)
    begun = await story.do(request_repair, event_id, requested_by=OPERATOR)
    await send(story, sealer, endpoint, SendCallback(event_id, begun.replay_id))

    first, second, other = (json.loads(one.body) for one in endpoint.requests)
    assert endpoint.requests[0].body == endpoint.requests[1].body
    assert {name: second[name] for name in risk} == dict.fromkeys(risk)
    assert first["reason"] == other["reason"] == "missing_receipt"
    assert other["internal_reference"] == "order of the app"
    assert {name: other[name] for name in risk} == risk


@pytest.mark.parametrize("minutes", [5, -5])
async def test_signature_carries_the_stores_time_whatever_the_hosts_clock_says(
    story: Story, sealer: Sealer, order: SendCallback, minutes: int
) -> None:
    endpoint = Endpoint(503)
    await failing(story, sealer, endpoint, order, schedule=(0, 0, 0))
    story.database.clock.skew += timedelta(minutes=minutes)

    async with story.database.reading() as session:
        before = await story.database.now(session)
    # The schedule's first delay is over, in whichever direction the clock moved.
    await failing(story, sealer, endpoint, order, schedule=(0, 0, 0))

    signed_at = [int(endpoint.headers(number)["x-sendpromptly-timestamp"]) for number in (0, 1)]
    assert 0 <= signed_at[1] - int(before.timestamp()) <= 2
    assert abs(signed_at[1] - signed_at[0] - 60 * minutes) <= 2
    assert endpoint.headers(1)["webhook-timestamp"] == str(signed_at[1])


async def test_failed_attempt_is_recorded_and_followed_after_the_schedules_delay(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    failure = await failing(story, sealer, Endpoint(503), order)

    assert failure.type == "attempt_failed"
    assert failure.next_retry_delay == timedelta(seconds=60)
    rows = await story.rows("attempts", EventId(order.event_id))
    assert [(row["number"], row["status"], row["state"]) for row in rows] == [(1, 503, "finished")]


@pytest.mark.parametrize("status", [429, 503])
async def test_failed_attempt_is_followed_after_the_time_that_the_endpoint_asks_for(
    status: int, story: Story, sealer: Sealer, order: SendCallback
) -> None:
    busy = ExchangeOutcome(
        status=status, error_class=None, duration_ms=3, retry_after_seconds=1_800
    )

    failure = await failing(story, sealer, Endpoint(busy), order)

    assert failure.next_retry_delay == timedelta(minutes=30)


async def test_both_secrets_sign_while_a_rotation_overlaps_and_the_next_alone_afterwards(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    endpoint = Endpoint(503, 200)
    async with story.database.transaction() as session:
        now = await story.database.now(session)
        following = await rotate_signing_secret(
            session, sealer, project_id=story.project.id, now=now
        )

    await failing(story, sealer, endpoint, order, schedule=(0, 0))
    story.database.clock.skew += timedelta(hours=24)
    await send(story, sealer, endpoint, order, schedule=(0, 0))

    during, after = endpoint.headers(0), endpoint.headers(1)
    assert len(during["webhook-signature"].split()) == 2
    assert during["x-sendpromptly-signature-next"] != during["x-sendpromptly-signature"]
    assert len(after["webhook-signature"].split()) == 1
    assert "x-sendpromptly-signature-next" not in after
    signed = (
        f"{after['x-sendpromptly-timestamp']}.{after['x-sendpromptly-nonce']}.".encode()
        + endpoint.requests[1].body
    )
    assert (
        after["x-sendpromptly-signature"]
        == hmac.new(following.encode(), signed, hashlib.sha256).hexdigest()
    )


async def test_network_failure_is_recorded_by_its_class(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    await failing(story, sealer, Endpoint(REFUSED_CONNECTION), order)

    rows = await story.rows("attempts", EventId(order.event_id))
    assert [(row["status"], row["error_class"]) for row in rows] == [(None, "connect_failed")]


async def test_attempt_after_a_lost_delay_waits_for_the_schedule(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    endpoint = Endpoint(503)
    await failing(story, sealer, endpoint, order)

    failure = await failing(story, sealer, endpoint, order)

    assert failure.type == "attempt_failed"
    assert failure.next_retry_delay is not None
    assert timedelta(seconds=50) < failure.next_retry_delay <= timedelta(seconds=54)
    assert len(endpoint.requests) == 1


async def test_every_attempt_sends_the_same_bytes(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    endpoint = Endpoint(503)
    await failing(story, sealer, endpoint, order)
    story.database.clock.skew += timedelta(seconds=60)

    await failing(story, sealer, endpoint, order)

    assert endpoint.requests[0].body == endpoint.requests[1].body
    assert endpoint.headers(1)["x-sendpromptly-attempt"] == "2"


async def test_attempt_left_by_a_crash_is_sent_again_under_its_number(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    await story.do(begin_attempt, order.event_id, order.replay_id)
    story.database.clock.skew += timedelta(hours=1)
    endpoint = Endpoint(200)

    answer = await send(story, sealer, endpoint, order)

    assert answer.status.state is LifecycleState.AWAITING_RESULT
    assert endpoint.headers()["x-sendpromptly-attempt"] == "1"


async def test_attempt_that_may_be_in_flight_is_not_sent_beside_itself(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    slow, endpoint = Slow(), Endpoint(200)
    running = asyncio.create_task(send(story, sealer, slow, order))
    await slow.is_called.wait()

    failure = await failing(story, sealer, endpoint, order)

    assert (failure.type, endpoint.requests) == ("attempt_failed", [])
    assert failure.next_retry_delay is not None
    assert timedelta(seconds=1) < failure.next_retry_delay <= timedelta(seconds=5)
    slow.may_answer.set()
    assert (await running).status.state is LifecycleState.AWAITING_RESULT


async def test_attempt_that_took_too_long_to_begin_is_left_to_the_next_run(
    story: Story, sealer: Sealer, order: SendCallback, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("activities.callback.send.CALLBACK_HEARTBEAT", timedelta())
    endpoint = Endpoint(200)

    failure = await failing(story, sealer, endpoint, order)
    unsent = len(endpoint.requests)
    monkeypatch.undo()
    story.database.clock.skew += timedelta(seconds=6)
    answer = await send(story, sealer, endpoint, order)

    assert (failure.type, unsent) == ("attempt_failed", 0)
    assert answer.status.state is LifecycleState.AWAITING_RESULT
    assert endpoint.headers()["x-sendpromptly-attempt"] == "1"


@pytest.mark.parametrize("status", [400, 302])
async def test_declined_callback_ends_the_series(
    story: Story, sealer: Sealer, order: SendCallback, status: int
) -> None:
    failure = await failing(story, sealer, Endpoint(status), order)

    assert (failure.type, failure.non_retryable) == ("repair_rejected", True)
    assert [row["cause"] for row in await story.rows("repairs", EventId(order.event_id))] == [
        "rejected"
    ]


async def test_gone_endpoint_marks_the_url(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    await failing(story, sealer, Endpoint(410), order)

    assert (await story.snapshot(EventId(order.event_id))).repair_url is None


async def test_last_attempt_of_the_schedule_exhausts_it(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    endpoint = Endpoint(500)
    for seconds in (60, 600):
        await failing(story, sealer, endpoint, order)
        story.database.clock.skew += timedelta(seconds=seconds)

    failure = await failing(story, sealer, endpoint, order)

    assert (failure.type, failure.non_retryable) == ("repair_exhausted", True)


async def test_settled_receipt_gets_no_attempt(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    await story.result(EventId(order.event_id), replay_id=order.replay_id)
    endpoint = Endpoint(200)

    failure = await failing(story, sealer, endpoint, order)

    assert (failure.type, failure.non_retryable) == ("repair_over", True)
    assert endpoint.requests == []


async def test_url_removed_in_the_middle_ends_the_series(
    story: Story, sealer: Sealer, order: SendCallback, database: Database, project: CreatedProject
) -> None:
    async with database.transaction() as session:
        await change_project(session, project.project.id, changes=ProjectChanges(repair_url=None))

    endpoint = Endpoint(200)

    failure = await failing(story, sealer, endpoint, order)

    assert failure.type == "repair_over"
    assert [row["cause"] for row in await story.rows("repairs", EventId(order.event_id))] == [
        "repair_url_missing"
    ]
    assert (endpoint.requests, await story.rows("attempts", EventId(order.event_id))) == ([], [])


async def test_gone_answer_of_a_url_that_was_replaced_leaves_the_new_one(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    async def replaced_while_called(request: OutgoingRequest) -> ExchangeOutcome:
        async with story.database.transaction() as session:
            changes = ProjectChanges(repair_url="https://shop.example/new")
            await change_project(session, story.project.id, changes=changes)
        return ExchangeOutcome(410, None, 12)

    await failing(story, sealer, replaced_while_called, order)

    assert (await story.snapshot(EventId(order.event_id))).repair_url == "https://shop.example/new"


async def test_first_attempt_waits_for_the_first_delay_of_the_schedule(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    # The test data begin half an hour in the future.
    story.database.clock.skew = timedelta(minutes=30)
    endpoint = Endpoint(200)

    early = await failing(story, sealer, endpoint, order, schedule=(20, 60))
    story.database.clock.skew += timedelta(seconds=20)
    answer = await send(story, sealer, endpoint, order, schedule=(20, 60))

    assert early.next_retry_delay is not None
    assert timedelta(seconds=10) < early.next_retry_delay <= timedelta(seconds=18)
    assert answer.status.state is LifecycleState.AWAITING_RESULT
    assert len(endpoint.requests) == 1


async def test_attempt_that_breaks_is_recorded_as_ended_and_followed(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    async def broken(request: OutgoingRequest) -> ExchangeOutcome:
        raise LookupError("a bug")

    failure = await failing(story, sealer, broken, order)

    assert (failure.type, failure.next_retry_delay) == ("attempt_failed", timedelta(seconds=60))
    rows = await story.rows("attempts", EventId(order.event_id))
    assert [(row["state"], row["status"], row["error_class"]) for row in rows] == [
        ("finished", None, "protocol_error")
    ]


async def test_secrets_that_cannot_be_read_count_as_ended_attempts(
    story: Story, order: SendCallback
) -> None:
    endpoint = Endpoint(200)
    other = Sealer("the root secret of another installation")

    failure = await failing(story, other, endpoint, order, schedule=(0,))

    assert failure.type == "repair_exhausted"
    rows = await story.rows("attempts", EventId(order.event_id))
    assert [(row["state"], row["error_class"]) for row in rows] == [("finished", "protocol_error")]
    assert endpoint.requests == []


async def test_heartbeats_go_on_while_the_attempt_waits_for_the_store(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    environment, heartbeat_sent = ActivityEnvironment(), asyncio.Event()
    environment.on_heartbeat = lambda *_: heartbeat_sent.set()

    async with story.database.transaction() as session:
        await lock_receipt(SessionStatements(session), EventId(order.event_id))
        running = asyncio.create_task(
            environment.run(built(story, sealer, Endpoint(200)).send_callback, order)
        )
        await asyncio.wait_for(heartbeat_sent.wait(), 5)
    answer = await running

    assert answer.status.state is LifecycleState.AWAITING_RESULT
