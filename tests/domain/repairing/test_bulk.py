"""The decision of a bulk repair's next step, and a whole run of it against a model."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.ids import BulkId, ProjectId
from domain.repairing.bulk import (
    Begin,
    BulkRepair,
    BulkState,
    Counts,
    Finish,
    Over,
    Plan,
    Step,
    Stop,
    Wait,
    next_paced_at,
    next_step,
)

NOW = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def bulk(begun: int = 0, **changes: Any) -> BulkRepair:
    """A running bulk repair of the default plan; `changes` may name counts."""
    names = [name for name in changes if name in Counts.__slots__]
    counts = Counts(**{name: changes.pop(name) for name in names})
    one = BulkRepair(
        id=BulkId("blk_1"),
        project_id=ProjectId("prj_1"),
        state=BulkState.RUNNING,
        reason="outage",
        requested_by="usr_1",
        plan=Plan(),
        include_superseded=False,
        created_at=NOW,
        ended_at=None,
        stopped_because=None,
        begun=begun,
        paced_at=None,
        changed_at=NOW,
        counts=counts,
    )
    return replace(one, **changes)


@pytest.mark.parametrize(
    ("one", "step"),
    [
        (bulk(waiting=9), Begin(1)),
        (bulk(1, waiting=8, repairing=1), Wait(SECOND)),
        (bulk(1, waiting=8, succeeded=1), Begin(5)),
        (bulk(3, waiting=6, repairing=2, succeeded=1), Begin(3)),
        (
            bulk(1, waiting=8, failed=1),
            Stop("1 of 1 decided repairs failed (100 %). It stops at 20 %."),
        ),
        (bulk(6, waiting=3, repairing=5, succeeded=1), Begin(2)),
        (bulk(6, waiting=3, repairing=6, paced_at=NOW + 9 * SECOND), Wait(9 * SECOND)),
        (bulk(6, waiting=3, repairing=6, paced_at=NOW + SECOND / 2), Wait(2 * SECOND)),
        (bulk(6, waiting=3, succeeded=5, failed=1), Begin(2)),
        (
            bulk(6, waiting=3, succeeded=4, failed=1),
            Stop("1 of 5 decided repairs failed (20 %). It stops at 20 %."),
        ),
        # Not before the first ones are decided.
        (bulk(2, waiting=3, repairing=1, failed=1, plan=Plan(first=2)), Wait(SECOND)),
        (bulk(6, repairing=1, succeeded=5, changed_at=NOW - 8 * SECOND), Wait(2 * SECOND)),
        (bulk(6, repairing=1, succeeded=5, changed_at=NOW - 999 * SECOND), Wait(15 * SECOND)),
        (bulk(6, succeeded=6), Finish()),
        (bulk(0, skipped=6), Finish()),
        (bulk(1, waiting=8, succeeded=1, state=BulkState.PAUSED), Wait(SECOND)),
        (bulk(1, waiting=8, failed=1, state=BulkState.PAUSED), Wait(SECOND)),
        (bulk(9, succeeded=9, state=BulkState.PAUSED), Finish()),
        (bulk(2, waiting=8, repairing=1, failed=1, state=BulkState.STOPPED), Wait(SECOND)),
        (bulk(2, waiting=8, failed=2, state=BulkState.STOPPED), Over()),
        (bulk(2, waiting=8, failed=2, state=BulkState.ABORTED), Over()),
        (bulk(50, waiting=50, succeeded=50, plan=Plan(per_minute=600)), Begin(20)),
        (bulk(50, waiting=50, succeeded=50, plan=Plan(per_minute=1)), Begin(1)),
        (bulk(waiting=500, plan=Plan(first=100)), Begin(20)),
    ],
)
def test_next_step(one: BulkRepair, step: Step) -> None:
    assert next_step(one, NOW) == step


@pytest.mark.parametrize(
    ("one", "paced_at"),
    [
        (bulk(0, waiting=9), NOW + SECOND),
        (bulk(6, waiting=9, paced_at=NOW + SECOND), NOW + 2 * SECOND),
        # What a pause of an hour left out does not follow in a burst.
        (bulk(6, waiting=9, paced_at=NOW - timedelta(hours=1)), NOW + SECOND),
        (bulk(6, waiting=9, plan=Plan(per_minute=600)), NOW + SECOND / 10),
    ],
)
def test_pace_counts_from_the_last_repair_that_began(one: BulkRepair, paced_at: datetime) -> None:
    assert next_paced_at(one, NOW) == paced_at


@pytest.mark.parametrize(("per_minute", "minutes"), [(60, 2.0), (600, 0.2), (7, 17.2)])
def test_whole_run_keeps_the_pace(per_minute: int, minutes: float) -> None:
    one, at, plan = bulk(waiting=126), NOW, Plan(per_minute=per_minute)
    one = replace(one, plan=plan)
    steps = 0

    while not isinstance(step := next_step(one, at), Finish):
        steps += 1
        if isinstance(step, Wait):
            at += step.delay
            continue
        assert isinstance(step, Begin)
        for _ in range(min(step.count, one.counts.waiting)):
            counts = replace(
                one.counts, waiting=one.counts.waiting - 1, succeeded=one.counts.succeeded + 1
            )
            paced_at = next_paced_at(one, at)
            one = replace(one, begun=one.begun + 1, paced_at=paced_at, counts=counts)

    assert one.counts == Counts(succeeded=126)
    assert (at - NOW) / timedelta(minutes=1) == pytest.approx(minutes, abs=0.1)
    assert steps < 300
