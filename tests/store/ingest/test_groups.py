"""Many failures of one cause at once, through several committers."""

import asyncio
import itertools
import random

import pytest

from domain.projects import CreatedProject
from store.db.database import Database
from tests.store.ingest.desk import body_of, committing, count
from tests.store.receipts.groups.recount import rows_of, stored_and_counted
from tests.support.given import new_result

pytestmark = pytest.mark.both_stores


async def test_a_thousand_failures_of_one_cause_are_one_group_and_one_alert(
    database: Database, project: CreatedProject
) -> None:
    async with committing(database, project) as one, committing(database, project) as other:
        events = await asyncio.gather(*(one.stored(amount=7, currency="EUR") for _ in range(1_000)))
        desks = itertools.cycle((one, other))

        answers = await asyncio.gather(
            *(
                desk.say(new_result(desk.project_id, event, "failed", error_code="seat_limit"))
                for desk, event in zip(desks, events, strict=False)
            )
        )

    assert {body_of(answer)["state"] for answer in answers} == {"incident"}
    stored, counted = await stored_and_counted(database)
    assert stored == counted
    assert (stored[0]["open_count"], stored[1]["amount"]) == (1_000, 7_000)
    assert await count(database, "incident_groups") == await count(database, "alerts") == 1
    (window,) = await rows_of(database, "SELECT kind, gathered FROM group_windows")
    assert window == {"kind": "group_grew", "gathered": 999}


async def test_committers_with_many_causes_in_any_order_do_not_deadlock(
    database: Database, project: CreatedProject
) -> None:
    chance = random.Random(5)
    async with committing(database, project) as one, committing(database, project) as other:
        events = await asyncio.gather(*(one.stored() for _ in range(60)))
        failures = [
            (desk, new_result(desk.project_id, event, "failed", error_code=f"code {n % 7}"))
            for n, event in enumerate(events)
            for desk in (one, other)
        ]
        successes = [
            (chance.choice((one, other)), new_result(one.project_id, event))
            for event in events[::2]
        ]
        said = failures + successes
        chance.shuffle(said)

        answers = await asyncio.gather(*(desk.say(result) for desk, result in said))

    assert {answer.status for answer in answers} == {202}
    stored, counted = await stored_and_counted(database)
    assert stored == counted
    assert len(stored) <= 7
    if database.dialect == "postgresql":
        deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()"
        assert await rows_of(database, deadlocks) == [{"deadlocks": 0}]
