"""Our own downtime makes no false incident: an API that was killed past open deadlines comes back,
and they are credited.

Real processes on both stores, with a second as the longest outage that is not credited.
"""

import time
from pathlib import Path

import pytest

from tests.faults.report.observed import kinds, unix
from tests.support.product import product
from tests.support.waiting import wait_until

# In the order in which they are sent: the last fall due while nobody can know yet whether the API
# will be back in time.
TIMEOUTS_SECONDS = (3.0, 3.0, 2.5, 2.0, 1.7, 1.4, 1.2)
APPLIED = 2  # of them, the first


def test_outage_is_credited_before_any_deadline_in_it_counts(
    store_url: str, tmp_path: Path
) -> None:
    with product(tmp_path / "data", store_url, settings={"MAKEGOOD_OUTAGE_SECONDS": "1"}) as shop:
        event_ids = [shop.receipt(timeout_minutes=seconds / 60) for seconds in TIMEOUTS_SECONDS]
        shop.kill("api")
        killed_at = time.time()
        back_at = killed_at + max(TIMEOUTS_SECONDS) + 0.5
        wait_until(lambda: time.time() > back_at, what="every deadline has passed")

        shop.start("api")
        answers = [
            shop.say("result", {"event_id": one, "status": "success"})
            for one in event_ids[:APPLIED]
        ]
        events = [shop.event(one) for one in event_ids]

        assert [answer["state"] for answer in answers] == ["applied"] * APPLIED
        for event, timeout_seconds in zip(events, TIMEOUTS_SECONDS, strict=True):
            # On a machine that is busy for a second there may be another, short outage.
            credited = [
                entry["credited_seconds"]
                for entry in event["timeline"]
                if entry["kind"] == "deadline_credited"
            ]
            assert (
                len([seconds for seconds in credited if seconds >= int(back_at - killed_at)]) == 1
            )
            assert unix(event["timeout_at"]) - unix(event["accepted_at"]) == pytest.approx(
                timeout_seconds, abs=0.002
            )
            assert unix(event["deadline_at"]) - unix(event["timeout_at"]) > back_at - killed_at
        for one in event_ids[APPLIED:]:
            opened = shop.becomes(one, "incident")
            assert kinds(opened)["incident_opened"] == 1
            assert unix(opened["incident"]["opened_at"]) >= unix(opened["deadline_at"])
        wait_until(
            lambda: len(shop.post.mails) >= len(event_ids) - APPLIED,
            what="a mail for each incident",
        )
        assert [shop.event(one)["incident"] for one in event_ids[:APPLIED]] == [None] * APPLIED
        assert len(shop.post.mails) == len(event_ids) - APPLIED
