"""A run of bad signatures is a problem of the source; a good one clears it."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime

from api.hooks.health import (
    MAXIMUM_WATCHED,
    QUIET_AFTER_GOOD_SECONDS,
    RECORD_SECONDS,
    RUN_OF_BAD_SIGNATURES,
    HookHealth,
    health_recorder,
)
from domain.errors import Unavailable
from domain.ids import SourceId
from domain.projects import CreatedProject
from domain.sources.source import Source, SourceProblem
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.sources.health import UNREADABLE_LASTS, record_good_delivery
from tests.api.hooks.provider import Provider, reread, snapshot
from tests.domain.sources.examples import make_source
from tests.support.sources import stored_source
from tests.support.waiting import wait_until_async

SOURCE = make_source()
FAILING = replace(
    SOURCE, problem=SourceProblem.BAD_SIGNATURE, problem_since=datetime(2026, 11, 23, tzinfo=UTC)
)


class Ledger:
    """Keeps what was recorded; `now` is the clock. The first `failures` recordings fail."""

    def __init__(self, failures: int = 0) -> None:
        self.now = 1000.0
        self.recorded: list[SourceProblem | None] = []
        self._failures = failures
        self.health = HookHealth(record=self.record, clock=lambda: self.now)

    async def record(self, source: Source, problem: SourceProblem | None, detail: str) -> None:
        del source, detail
        if self._failures:
            self._failures -= 1
            raise Unavailable
        self.recorded.append(problem)

    async def bad(self, times: int = RUN_OF_BAD_SIGNATURES) -> None:
        for _ in range(times):
            self.health.bad_signature(SOURCE, "wrong")
        await self.health.stop()

    async def good(self, source: Source = SOURCE) -> None:
        self.health.good(source)
        await self.health.stop()


async def test_run_of_bad_signatures_is_recorded_once_a_minute() -> None:
    ledger = Ledger()

    await ledger.bad(RUN_OF_BAD_SIGNATURES - 1)
    before = list(ledger.recorded)
    await ledger.bad(100)
    ledger.now += RECORD_SECONDS - 1
    await ledger.bad(100)
    in_a_minute = list(ledger.recorded)
    ledger.now += 1
    await ledger.bad(1)

    assert before == []
    assert in_a_minute == [SourceProblem.BAD_SIGNATURE]
    assert ledger.recorded == [SourceProblem.BAD_SIGNATURE] * 2


async def test_good_signature_clears_the_problem_once() -> None:
    ledger = Ledger()

    await ledger.bad()
    await ledger.good()
    await ledger.good()

    assert ledger.recorded == [SourceProblem.BAD_SIGNATURE, None]


async def test_problem_of_another_process_is_cleared_once_while_it_is_cached() -> None:
    ledger = Ledger()

    for _ in range(5):
        await ledger.good(FAILING)

    assert ledger.recorded == [None]


async def test_bad_signatures_beside_good_ones_are_no_problem() -> None:
    ledger = Ledger()

    await ledger.good()
    await ledger.bad(100)
    beside = list(ledger.recorded)
    ledger.now += QUIET_AFTER_GOOD_SECONDS
    await ledger.bad(1)

    assert beside == []
    assert ledger.recorded == [SourceProblem.BAD_SIGNATURE]


async def test_stray_bad_signatures_between_good_ones_are_no_run() -> None:
    ledger = Ledger()

    for _ in range(10):
        await ledger.bad(RUN_OF_BAD_SIGNATURES - 1)
        await ledger.good()
        ledger.now += QUIET_AFTER_GOOD_SECONDS

    assert ledger.recorded == []


async def test_store_that_does_not_answer_fails_no_delivery() -> None:
    ledger = Ledger(failures=1)

    await ledger.bad()
    ledger.now += RECORD_SECONDS
    await ledger.bad()

    assert ledger.recorded == [SourceProblem.BAD_SIGNATURE]


async def test_watched_sources_are_bounded() -> None:
    ledger = Ledger()

    for number in range(MAXIMUM_WATCHED + 100):
        ledger.health.good(replace(SOURCE, id=SourceId(f"src_{number}")))
    await ledger.bad()

    assert ledger.recorded == [SourceProblem.BAD_SIGNATURE]
    assert len(ledger.health._watched) == MAXIMUM_WATCHED


async def test_source_shows_its_problem_until_a_good_delivery(
    stripe: Provider, database: Database
) -> None:
    async def problem() -> tuple[str | None, str | None]:
        source = await reread(database, stripe.source)
        return source.problem, source.problem_detail

    await asyncio.gather(
        *(stripe.deliver(snapshot(), secret="whsec_old") for _ in range(RUN_OF_BAD_SIGNATURES))
    )

    async def is_failing() -> bool:
        return (await problem())[0] is not None

    await wait_until_async(is_failing, what="the problem is recorded")
    assert await problem() == (
        "bad_signature",
        "No signature fits the signing secret of the source. Check that it is the secret of this "
        "endpoint, and that no proxy changes the body.",
    )

    await stripe.deliver(snapshot())

    async def is_well() -> bool:
        return await problem() == (None, None)

    await wait_until_async(is_well, what="the problem is cleared")


async def test_unreadable_delivery_is_recorded_after_a_good_one() -> None:
    ledger = Ledger()

    await ledger.bad()
    ledger.health.good(SOURCE)
    ledger.health.unreadable(SOURCE, "no event")
    ledger.health.unreadable(SOURCE, "no event")
    await ledger.health.stop()

    bad = SourceProblem.BAD_SIGNATURE
    assert ledger.recorded == [bad, None, SourceProblem.BAD_ANSWER]


async def test_good_deliveries_do_not_hide_unreadable_ones_for_an_hour(
    database: Database, sealer: Sealer, project: CreatedProject
) -> None:
    source = await stored_source(database, sealer, project.project.id)
    record = health_recorder(database)

    await record(source, None, "")
    await record(source, SourceProblem.BAD_ANSWER, "no event")
    since = (await reread(database, source)).problem_since
    await record(source, None, "")
    beside = await reread(database, source)
    await record(source, SourceProblem.BAD_SIGNATURE, "wrong")
    await record(source, None, "")
    signed = await reread(database, source)
    async with database.transaction() as session:
        now = await database.now(session)
        await record_good_delivery(session, source.id, now + UNREADABLE_LASTS)
    after = await reread(database, source)

    assert (beside.problem, beside.problem_detail) == ("bad_answer", "no event")
    assert (signed.problem, signed.problem_since) == ("bad_answer", since)
    assert after.problem is None
