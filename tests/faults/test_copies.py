"""A pause of Temporal while a callback is in flight makes no copy of it:

each attempt has one holder.
"""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.support.product import Product, product
from tests.support.waiting import wait_until

# Longer than the heartbeat timeout of a callback, so that Temporal gives the run up and hands the
# activity over again.
STANDSTILL_SECONDS = 9


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_temporal_that_stands_still_while_an_endpoint_takes_long_has_no_attempt_sent_twice(
    tmp_path: Path, postgres_url: str, workers: int
) -> None:
    with product(tmp_path / "data", postgres_url) as shop:
        if workers == 2:
            shop.start_another_worker()
        event_id = _with_incident(shop)
        shop.receiver.answering.clear()
        shop.reprocess(event_id)
        wait_until(lambda: shop.receiver.calls, what="the callback")
        began = time.monotonic()

        temporal = shop.process_of("temporal")
        os.kill(temporal, signal.SIGSTOP)
        try:
            wait_until(
                lambda: time.monotonic() - began > STANDSTILL_SECONDS,
                seconds=20,
                what="the standstill",
            )
        finally:
            os.kill(temporal, signal.SIGCONT)
        # The endpoint answers after 20 s, when Temporal has long handed the activity over again.
        wait_until(lambda: time.monotonic() - began > 20, seconds=30, what="the endpoint's time")
        shop.receiver.answering.set()
        wait_until(
            lambda: _attempts(shop, event_id) == [(1, 200)],
            seconds=30,
            what="the record of the attempt",
        )

        assert [call.headers["x-sendpromptly-attempt"] for call in shop.receiver.calls] == ["1"]


def _with_incident(shop: Product) -> str:
    event_id = shop.receipt()
    shop.say("result", {"event_id": event_id, "status": "failed"})
    return event_id


def _attempts(shop: Product, event_id: str) -> list[tuple[int, int | None]]:
    repairs = shop.event(event_id)["repairs"]
    return [
        (attempt["number"], attempt["status"])
        for repair in repairs
        for attempt in repair["attempts"]
    ]
