"""An attempt keeps what was sent, the beginning of the answer, and when the next one is due."""

from datetime import timedelta

import pytest

from activities.messages import SendCallback
from domain.ids import EventId, ReplayId
from domain.retries import ExchangeOutcome
from store.crypto.encryption import Sealer
from store.receipts.rows.callbacks import read_callback
from tests.activities.callback.endpoints import Endpoint, failing
from tests.activities.callback.test_transport import post, serving
from tests.support.given import Story


@pytest.fixture
async def order(story: Story) -> SendCallback:
    """A repair in state `calling`."""
    event_id, replay_id = await story.repairing()
    return SendCallback(event_id, replay_id)


async def test_attempt_keeps_what_was_sent_what_came_back_and_when_the_next_one_is_due(
    story: Story, sealer: Sealer, order: SendCallback
) -> None:
    answer = ExchangeOutcome(
        status=503, error_class=None, duration_ms=3, answer_excerpt="no seat\nleft"
    )
    endpoint = Endpoint(answer, 422)
    async with story.database.reading() as session:
        now = await story.database.now(session)

    await failing(story, sealer, endpoint, order)
    story.database.clock.skew += timedelta(minutes=2)
    await failing(story, sealer, endpoint, order)

    async with story.database.reading() as session:
        found = await read_callback(session, EventId(order.event_id), ReplayId(order.replay_id))
    assert found is not None
    assert found.body is not None
    assert found.body.encode() == endpoint.requests[0].body == endpoint.requests[1].body
    assert [sent.headers for sent in found.sent] == [
        request.all_headers for request in endpoint.requests
    ]
    first, second = (sent.attempt for sent in found.sent)
    assert (first.answer_excerpt, second.answer_excerpt) == ("no seat\nleft", None)
    assert first.next_attempt_at is not None
    assert timedelta(seconds=60) <= first.next_attempt_at - now < timedelta(seconds=70)
    assert second.next_attempt_at is None, "a rejected call ends the series"


@pytest.mark.parametrize(
    ("body", "excerpt"),
    [
        (b"", None),
        (b" \r\n", None),
        (b"no seat\nleft\x1b[31m\x00", "no seat\nleft [31m"),
        ("é".encode() * 600, "é" * 500),
        (b"\xff\xfe", "\ufffd\ufffd"),
        (b"<b>" + b"x" * 300_000, ("<b>" + "x" * 497)),
    ],
    ids=["empty", "blank", "controls", "long", "not UTF-8", "huge"],
)
async def test_beginning_of_an_answer_is_kept_as_readable_text(
    body: bytes, excerpt: str | None
) -> None:
    head = f"HTTP/1.1 500 X\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    async with serving(head + body) as endpoint:
        outcome = await post(endpoint.port)

    assert (outcome.status, outcome.answer_excerpt) == (500, excerpt)
