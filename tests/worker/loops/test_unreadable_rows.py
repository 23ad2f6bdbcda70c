"""Outbox rows that nobody can read, left by a newer version or a hand edit: through the real dispatcher and the real Temporal."""

import logging
from collections.abc import Mapping, Sequence
from datetime import timedelta

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from api.health.routes import Health
from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.values.timestamps import milliseconds
from store.receipts.stuck_runs import stuck_run
from tests.workflows.world import World
from worker.loops.overdue import OPENED

UNREADABLE = {
    "unknown_kind": ("of later", "{}"),
    "no_kind": ("", "{}"),
    "no_json": ("result", '{"result_id": '),
    "nothing_as_json": ("result", ""),
    "no_object": ("result", "[]"),
    "missing_field": ("result", '{"status": "success"}'),
    "unknown_status": ("result", '{"result_id": "res_1", "status": "perhaps"}'),
}


@pytest.mark.parametrize(("kind", "fields"), UNREADABLE.values(), ids=list(UNREADABLE))
async def test_row_that_cannot_be_read_costs_the_others_nothing_is_backed_off_and_its_incident_opens(
    makegood: World, kind: str, fields: str, caplog: pytest.LogCaptureFixture
) -> None:
    with capture_logs() as logs, caplog.at_level(logging.ERROR):
        event_id = await makegood.accept(enqueue=False)
        await put(makegood, event_id, "start", "{}")
        await put(makegood, event_id, kind, fields)
        others = [await makegood.accept() for _ in range(3)]

        for other in others:
            await makegood.started(other)
        await makegood.eventually(lambda: is_said(event_id, logs, caplog), "the log names it")
        assert await is_backed_off(makegood, event_id)
        makegood.database.clock.skew += timedelta(minutes=30, seconds=26)
        await makegood.eventually(lambda: stands_open(makegood, event_id), "the incident, from the store")
        makegood.database.clock.skew += timedelta(seconds=31)
        await makegood.eventually(lambda: is_found(makegood, event_id), "its run is found missing")

    assert OPENED in await makegood.notes(event_id)
    check = next(check for check in await Health(database=makegood.database).checks() if check.name == "runs")
    assert check.status == "failed"
    # The clock of the store was moved on, past what it was backed off for.
    assert said_of(event_id, logs, caplog) <= 8
    await makegood.eventually(lambda: is_mailed(makegood, event_id), "the alert")


async def put(world: World, event_id: EventId, kind: str, fields: str) -> None:
    """A row of the outbox, as somebody wrote it."""
    columns = "INSERT INTO outbox (event_id, kind, fields, created_at) VALUES (:event_id, :kind, :fields, :at)"
    async with world.database.transaction() as session:
        at = milliseconds(await world.database.now(session))
        await session.execute(text(columns), {"event_id": event_id, "kind": kind, "fields": fields, "at": at})


def said_of(event_id: EventId, logs: Sequence[Mapping[str, object]], caplog: pytest.LogCaptureFixture) -> int:
    """How often the log named it, as the dispatcher or the store says it."""
    dispatched = [line for line in logs if line["event"] == "dispatch_failed" and line["event_id"] == event_id]
    claimed = [record for record in caplog.records if event_id in getattr(record, "event_ids", ())]
    return len(dispatched) + len(claimed)


async def is_backed_off(world: World, event_id: EventId) -> bool:
    """Nobody claims it now."""
    async with world.database.reading() as session:
        now = milliseconds(await world.database.now(session))
        rows = await session.execute(text("SELECT claimed_until FROM outbox WHERE event_id = :id"), {"id": event_id})
        return all(row.claimed_until is not None and row.claimed_until > now for row in rows)


async def stands_open(world: World, event_id: EventId) -> bool:
    return await world.stored(event_id) is LifecycleState.OPEN


async def is_found(world: World, event_id: EventId) -> bool:
    async with world.database.reading() as session:
        return await stuck_run(session, event_id) is not None


async def is_mailed(world: World, event_id: EventId) -> bool:
    return any(event_id.encode() in raw.replace(b"=\r\n", b"") for raw in world.post.raw)


async def is_said(event_id: EventId, logs: Sequence[Mapping[str, object]], caplog: pytest.LogCaptureFixture) -> bool:
    return said_of(event_id, logs, caplog) > 0
