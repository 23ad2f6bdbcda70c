"""A store has one id and one Temporal namespace, in whatever order workers ask."""

import asyncio
from datetime import datetime, timedelta

from domain.ids import EventId
from store.db.database import Database
from store.status.heartbeats import NAMESPACE_FACT, beat, read_fact, write_fact
from store.status.installation import (
    LIVE_SECONDS,
    NAMESPACE,
    NAMESPACE_ID,
    UNSURE_SECONDS,
    Adopted,
    Adoption,
    Restart,
    adopt_namespace,
    advance_restart,
    end_restart,
    installation_id,
    read_restart,
)


async def adopt(database: Database, namespace_id: str, process: str) -> Adopted:
    """As a worker does: the decision and its heartbeat are one transaction."""
    async with database.transaction() as session:
        now = await database.now(session)
        adopted = await adopt_namespace(session, namespace_id, process=process, now=now)
        if adopted.adoption is not Adoption.ELSEWHERE:
            await _beat(session, process, namespace_id, now)
    return adopted


async def _beat(session: object, process: str, namespace_id: str, at: datetime) -> None:
    report = {NAMESPACE_ID: namespace_id, NAMESPACE: "default"}
    await beat(session, process=process, role="worker", started_at=at, now=at, report=report)  # type: ignore[arg-type]


async def test_installation_keeps_its_id(database: Database) -> None:
    made = []
    for _ in range(2):
        async with database.transaction() as session:
            made.append(await installation_id(session))

    assert made[0] == made[1]
    assert made[0].startswith("ins_")


async def test_first_namespace_is_adopted_and_nothing_is_started_again(database: Database) -> None:
    first = await adopt(database, "one", "worker-1")
    again = await adopt(database, "one", "worker-2")

    async with database.reading() as session:
        assert (first.adoption, again.adoption) == (Adoption.KNOWN, Adoption.KNOWN)
        assert await read_restart(session) is None


async def test_workers_that_race_on_two_namespaces_are_decided_by_the_store(
    database: Database,
) -> None:
    answers = await asyncio.gather(
        *(adopt(database, name, f"worker-{name}") for name in ("one", "two", "three"))
    )

    adoptions = [answer.adoption for answer in answers]
    assert sorted(adoption.name for adoption in adoptions) == ["ELSEWHERE", "ELSEWHERE", "KNOWN"]
    winner = ("one", "two", "three")[adoptions.index(Adoption.KNOWN)]
    assert {answer.other.process for answer in answers if answer.other is not None} == {
        f"worker-{winner}"
    }
    async with database.reading() as session:
        assert await read_fact(session, NAMESPACE_FACT) == winner
        assert await read_restart(session) is None


async def test_namespace_without_a_live_worker_is_replaced_once(database: Database) -> None:
    async with database.transaction() as session:
        await write_fact(session, NAMESPACE_FACT, "of a database that was lost")

    first = await adopt(database, "two", "worker-1")
    second = await adopt(database, "two", "worker-2")
    async with database.reading() as session:
        is_to_be_done = await read_restart(session) is not None
    async with database.transaction() as session:
        await end_restart(session, "one")
        is_still_to_be_done = await read_restart(session) is not None
        await end_restart(session, "two")

    async with database.reading() as session:
        assert (first.adoption, second.adoption) == (Adoption.NEW, Adoption.KNOWN)
        assert is_to_be_done
        assert is_still_to_be_done
        assert await read_restart(session) is None


async def test_restart_only_advances_and_only_in_its_own_namespace(database: Database) -> None:
    async with database.transaction() as session:
        await write_fact(session, NAMESPACE_FACT, "of a database that was lost")
    await adopt(database, "two", "worker-1")

    async def advance(namespace_id: str, after: str) -> Restart | None:
        async with database.transaction() as session:
            await advance_restart(session, namespace_id, EventId(after))
        async with database.reading() as session:
            return await read_restart(session)

    assert await advance("two", "evt_b") == Restart("two", EventId("evt_b"))
    assert await advance("two", "evt_a") == Restart("two", EventId("evt_b"))
    assert await advance("one", "evt_c") == Restart("two", EventId("evt_b"))


async def test_worker_that_just_reached_the_store_waits_longer_for_other_workers(
    database: Database,
) -> None:
    await adopt(database, "one", "worker-1")
    async with database.transaction() as session:
        after = await database.now(session) + timedelta(seconds=LIVE_SECONDS + 1)
        unsure = await adopt_namespace(
            session, "two", process="worker-2", now=after, live_seconds=UNSURE_SECONDS
        )
        sure = await adopt_namespace(session, "two", process="worker-2", now=after)

    assert (unsure.adoption, sure.adoption) == (Adoption.ELSEWHERE, Adoption.NEW)


async def test_dead_worker_with_a_heartbeat_in_the_future_does_not_keep_its_namespace(
    database: Database,
) -> None:
    await adopt(database, "one", "worker-1")

    async with database.transaction() as session:
        set_back = await database.now(session) - timedelta(hours=1)
        adopted = await adopt_namespace(session, "two", process="worker-2", now=set_back)

    assert adopted.adoption is Adoption.NEW


async def test_worker_continues_after_its_temporal_gets_another_database(
    database: Database,
) -> None:
    await adopt(database, "one", "worker-1")

    assert (await adopt(database, "two", "worker-1")).adoption is Adoption.NEW
