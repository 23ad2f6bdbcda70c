"""Unreadable outbox rows, of a newer version or a manual edit, are backed off and stop no other."""

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text
from structlog.testing import capture_logs

from api.health.routes import Health
from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.values.timestamps import to_unix_ms
from store.receipts.reconcile.stuck_runs import stuck_run
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
async def test_unreadable_row_is_backed_off_stops_no_other_and_its_incident_opens(
    makegood: World, kind: str, fields: str
) -> None:
    with capture_logs() as logs:
        event_id = await makegood.accept(enqueue=False)
        await insert_row(makegood, event_id, "start", "{}")
        await insert_row(makegood, event_id, kind, fields)
        others = [await makegood.accept() for _ in range(3)]

        for other in others:
            await makegood.started(other)
        await makegood.eventually(lambda: is_logged(event_id, logs), "the log names it")
        assert await is_backed_off(makegood, event_id)
        makegood.database.clock.skew += timedelta(minutes=30, seconds=26)
        await makegood.eventually(
            lambda: has_open_incident(makegood, event_id), "the incident, from the store"
        )
        makegood.database.clock.skew += timedelta(seconds=31)
        if is_json(fields):
            # The reconciler starts it, whatever is behind its start in the outbox.
            await makegood.started(event_id)
        else:
            await makegood.eventually(
                lambda: is_found(makegood, event_id), "its run is found missing"
            )

    assert OPENED in await makegood.notes(event_id)
    checks = {
        check.name: check.status for check in await Health(database=makegood.database).checks()
    }
    assert is_json(fields) or checks["runs"] == "failed"
    # The store's clock was moved past the backoff, so there are a few more attempts.
    assert count_logged(event_id, logs) <= 8
    await makegood.eventually(lambda: is_mailed(makegood, event_id), "the alert")


def is_json(text: str) -> bool:
    try:
        json.loads(text)
    except ValueError:
        return False
    return True


async def insert_row(world: World, event_id: EventId, kind: str, fields: str) -> None:
    """Insert a row into the outbox as it is."""
    insert = "INSERT INTO outbox (event_id, kind, fields, created_at)"
    values = "VALUES (:event_id, :kind, :fields, :at)"
    async with world.database.transaction() as session:
        at = to_unix_ms(await world.database.now(session))
        await session.execute(
            text(f"{insert} {values}"),
            {"event_id": event_id, "kind": kind, "fields": fields, "at": at},
        )


def count_logged(event_id: EventId, logs: Sequence[Mapping[str, Any]]) -> int:
    """How often the dispatcher or the store logged the receipt."""
    dispatched = [
        line for line in logs if line["event"] == "dispatch_failed" and line["event_id"] == event_id
    ]
    claimed = [line for line in logs if event_id in line.get("event_ids", ())]
    return len(dispatched) + len(claimed)


async def is_backed_off(world: World, event_id: EventId) -> bool:
    """Whether the row cannot be leased now."""
    async with world.database.reading() as session:
        now = to_unix_ms(await world.database.now(session))
        rows = await session.execute(
            text("SELECT claimed_until FROM outbox WHERE event_id = :id"), {"id": event_id}
        )
        return all(row.claimed_until is not None and row.claimed_until > now for row in rows)


async def has_open_incident(world: World, event_id: EventId) -> bool:
    return await world.stored(event_id) is LifecycleState.OPEN


async def is_found(world: World, event_id: EventId) -> bool:
    async with world.database.reading() as session:
        return await stuck_run(session, event_id) is not None


async def is_mailed(world: World, event_id: EventId) -> bool:
    return any(event_id.encode() in raw.replace(b"=\r\n", b"") for raw in world.post.raw)


async def is_logged(event_id: EventId, logs: Sequence[Mapping[str, Any]]) -> bool:
    return count_logged(event_id, logs) > 0
