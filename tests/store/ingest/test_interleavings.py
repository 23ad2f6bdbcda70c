"""Every order of receipt, results and the event at the provider ends as the receipt-first order.

Each case is a random order. Its twin is another event with the same results after its receipt. Two
processes receive both, and a source sees some of the events. `make faults` runs 10,000 cases.
"""

import asyncio
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from sqlalchemy import text

from domain.errors import Refusal
from domain.projects import CreatedProject, ProjectChanges
from domain.results import EarlyResults
from store.db.database import Database
from store.db.sql import SessionStatements
from store.ingest.requests import StoredResponse
from store.projects.projects import change_project
from store.receipts.expected import expect_receipts
from tests.store.ingest.desk import Desk, committing, count
from tests.support.given import expected_receipt, new_receipt, new_result

AT_ONCE = 200
SEEN_AT_ONCE = 100
RESULTS = (("success", None), ("failed", "no_seat"), ("failed", "timed_out"))
FINAL = """
SELECT r.provider_event_id, r.state, r.flags, r.lacks_receipt, i.state, i.reason, i.error_code,
  i.resolution, (SELECT count(*) FROM results WHERE event_id = r.event_id)
FROM receipts r LEFT JOIN incidents i ON i.event_id = r.event_id"""

Ending = tuple[Any, ...]  # the columns of FINAL after the name


@dataclass(frozen=True)
class Case:
    """One event: what is said of it in each round, and whether a source sees it in that round."""

    name: str
    rounds: tuple[tuple[Any, ...], ...]

    @property
    def is_first(self) -> bool:
        """Whether something was said before the receipt."""
        return "receipt" not in self.rounds[0]


def make_cases(number: int, seed: int) -> list[Case]:
    """Random orders, each followed by its twin."""
    chance = random.Random(seed)
    cases: list[Case] = []
    for index in range(number):
        results = [chance.choice(RESULTS) for _ in range(chance.randint(1, 3))]
        rounds: list[list[Any]] = [[result] for result in results]
        _join(chance, rounds, "receipt")
        if chance.random() < 0.5:
            _join(chance, rounds, "event")
        cases.append(Case(f"evt_{index:05}_any", tuple(map(tuple, rounds))))
        first = (("receipt",), *((result,) for result in results))
        cases.append(Case(f"evt_{index:05}_first", first))
    return cases


def _join(chance: random.Random, rounds: list[list[Any]], what: str) -> None:
    """Say it at the same moment as something else, or in a round of its own."""
    if chance.random() < 0.5:
        chance.choice(rounds).append(what)
    else:
        rounds.insert(chance.randint(0, len(rounds)), [what])


async def play(database: Database, desks: Sequence[Desk], cases: list[Case], seed: int) -> None:
    """Say it all, round by round. All cases of a round are in any order, in both processes."""
    chance = random.Random(seed)
    gate = asyncio.Semaphore(AT_ONCE)
    for number in range(max(len(case.rounds) for case in cases)):
        now = [(case, what) for case in cases for what in case.rounds[number : number + 1]]
        said = [(case.name, one) for case, whats in now for one in whats if one != "event"]
        seen = [case.name for case, whats in now if "event" in whats]
        chance.shuffle(said)
        parts = [seen[start : start + SEEN_AT_ONCE] for start in range(0, len(seen), SEEN_AT_ONCE)]
        await asyncio.gather(
            *(say(gate, chance.choice(desks), name, one) for name, one in said),
            *(see(database, desks[0], part) for part in parts),
        )


async def say(gate: asyncio.Semaphore, desk: Desk, name: str, what: Any) -> StoredResponse:
    """Send a receipt or a result, again until it is stored, as a client does."""
    if what == "receipt":
        value: Any = new_receipt(desk.project_id, provider_event_id=name, internal_reference=name)
    else:
        status, code = what
        value = new_result(desk.project_id, None, status, provider_event_id=name, error_code=code)
    request = desk.request(value)
    async with gate:
        while True:
            try:
                return await desk.committer.accept(request)
            except Refusal as refusal:
                if refusal.retry_after_seconds is None:
                    raise


async def see(database: Database, desk: Desk, names: list[str]) -> None:
    events = [expected_receipt(desk.project_id, provider_event_id=name) for name in names]
    async with database.transaction() as session:
        await expect_receipts(SessionStatements(session), events, await database.now(session))


async def endings(database: Database) -> dict[str, Ending]:
    async with database.reading() as session:
        return {name: tuple(ending) for name, *ending in await session.execute(text(FINAL))}


def differing(cases: Iterable[Case], ended: dict[str, Ending]) -> list[tuple[Any, ...]]:
    """The orders that ended in another way than their twins."""
    return [
        (case.rounds, ended.get(case.name), ended.get(case.name.replace("any", "first")))
        for case in cases
        if ended.get(case.name) != ended.get(case.name.replace("any", "first"))
    ]


async def run(database: Database, project: CreatedProject, *, number: int, seed: int) -> None:
    async with database.transaction() as session:
        changes = ProjectChanges(early_results=EarlyResults.HOLD)
        await change_project(session, project.project.id, changes=changes)
    cases = make_cases(number, seed)
    async with committing(database, project) as one, committing(database, project) as other:
        await play(database, (one, other), cases, seed)

    ended = await endings(database)
    assert differing(cases, ended) == []
    assert len(ended) == len(cases)
    assert Counter(ending[0] for ending in ended.values()).keys() == {
        "applied",
        "incident",
        "recovered",
    }
    assert await count(database, "early_results") == 0
    assert await count(database, "outbox", "kind = 'start'") == len(cases)
    assert sum(case.is_first for case in cases) > number / 5


async def test_300_random_orders_end_as_the_receipt_first_order(
    database: Database, project: CreatedProject
) -> None:
    await run(database, project, number=300, seed=11)


@pytest.mark.long
@pytest.mark.parametrize("seed", range(4))
async def test_10000_random_orders_end_as_the_receipt_first_order(
    database: Database, project: CreatedProject, seed: int
) -> None:
    await run(database, project, number=2_500, seed=seed)
