"""Receipts of expected events lock them in one order, and skip those that are locked.

SQLite has only one writer.
"""

import asyncio

import asyncpg
import pytest

from domain.errors import Unavailable
from domain.ids import EventId
from domain.projects import CreatedProject
from domain.temporal.outbox import OutboxKind
from store.db.database import Database
from store.db.sql import SessionStatements
from store.ingest.connection import IngestConnection
from store.ingest.requests import StoredResponse
from store.receipts.expected import expect_receipts
from store.receipts.outbox import claim, enqueue_signal, mark_delivered
from tests.store.ingest.desk import Desk, body_of, committing, count
from tests.support.fakes import CountingConnection
from tests.support.given import expected_receipt, new_result

EVENTS = 60


async def see(database: Database, desk: Desk, names: list[str]) -> dict[EventId, str]:
    """A source sees the events, and their runs are started. Returns their names by id."""
    events = [expected_receipt(desk.project_id, provider_event_id=name) for name in names]
    async with database.transaction() as session:
        now = await database.now(session)
        found = await expect_receipts(SessionStatements(session), events, now)
        started = await claim(session, now, limit=len(names))
        await mark_delivered(session, [row.id for batch in started for row in batch.rows])
    return {event_id: name for event_id, name in zip(found, names, strict=True)}


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_receipts_of_expected_events_and_results_in_two_processes_never_deadlock(
    database: Database, project: CreatedProject
) -> None:
    doors: list[CountingConnection] = []

    def watch(real: IngestConnection) -> IngestConnection:
        doors.append(CountingConnection(real))
        return doors[-1]

    async with (
        committing(database, project, watch) as one,
        committing(database, project, watch) as other,
    ):
        commits, answers = 0, []
        for turn in range(5):
            names = await see(database, one, [f"evt_{turn}_{number}" for number in range(EVENTS)])
            before = sum(door.commits for door in doors)
            # The keys of the receipts are in the opposite order of the events' ids.
            of_keys = [names[event_id] for event_id in sorted(names, reverse=True)]
            answers += await asyncio.gather(
                *(
                    one.say(one.receipt(provider_event_id=name), f"{turn} {number:03}")
                    for number, name in enumerate(of_keys)
                ),
                *(
                    other.say(new_result(other.project_id, provider_event_id=name))
                    for name in reversed(of_keys)
                ),
            )
            commits += sum(door.commits for door in doors) - before

    assert {answer.status for answer in answers} == {202}
    assert await count(database, "receipts", "state = 'applied' AND NOT lacks_receipt") == 300
    # After a deadlock, the members of a batch are committed one by one.
    assert commits < 50


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_locked_expected_event_delays_the_receipts_of_others_once(
    database: Database, project: CreatedProject
) -> None:
    holder = await asyncpg.connect(database.url)
    clock = asyncio.get_running_loop().time
    async with committing(database, project) as desk:
        names = await see(database, desk, ["locked", "free_0", "free_1"])
        locked = next(event_id for event_id, name in names.items() if name == "locked")
        await holder.execute("BEGIN")
        await holder.execute("SELECT 1 FROM receipts WHERE event_id = $1 FOR UPDATE", locked)
        spent: list[float] = []
        answers: list[StoredResponse | BaseException] = []
        for turn in range(2):
            began = clock()
            said = [desk.say(desk.receipt(provider_event_id="locked"), f"{turn} locked")]
            said += [desk.say(desk.receipt(provider_event_id=f"free_{turn}"))]
            answers += await asyncio.gather(*said, return_exceptions=True)
            spent.append(clock() - began)
        await holder.close()

        assert [type(answer) for answer in answers] == [Unavailable, StoredResponse] * 2
        assert spent[0] < 8
        assert spent[1] < 3
        again = await desk.say(desk.receipt(provider_event_id="locked"), "0 locked")
        assert body_of(again)["event_id"] == locked


async def test_receipts_of_expected_events_never_hide_the_request_of_a_person(
    database: Database, project: CreatedProject
) -> None:
    async with committing(database, project) as desk:
        names = [f"evt_{number}" for number in range(300)]
        await see(database, desk, [*names, "requested"])
        receipts = [desk.say(desk.receipt(provider_event_id=name)) for name in names]
        requested = await desk.stored(provider_event_id="requested")
        await asyncio.gather(*receipts[:150])
        async with database.transaction() as session:
            now = await database.now(session)
            st = SessionStatements(session)
            await enqueue_signal(st, EventId(requested), OutboxKind.REPROCESS, now)
        await asyncio.gather(*receipts[150:])

    async with database.transaction() as session:
        now = await database.now(session)
        urgent = await claim(session, now, limit=0, urgent_limit=8)
        others = await claim(session, now, limit=1_000)
    assert [batch.event_id for batch in urgent] == [requested]
    assert {row.kind for batch in others for row in batch.rows} == {"accepted"}
    assert len(others) == 300
