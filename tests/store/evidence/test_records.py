"""All rows about an event are read, however many, in the order of their creation and by indexes."""

import re
from collections.abc import AsyncIterator
from typing import TypeVar

from sqlalchemy import insert, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.audit import Actor, AuditAction, Subject, SubjectType
from domain.ids import EventId, IncidentId
from domain.lifecycle import LifecycleState
from store.audit.log import record
from store.crypto.encryption import Sealer
from store.evidence import records
from store.evidence.records import ROWS_AT_ONCE
from store.receipts.queries import read_event_row
from store.schema.tables import ALERTS
from tests.store.explained import noted, plan_of
from tests.support.given import Story

T = TypeVar("T")
MANY = ROWS_AT_ONCE * 2 + 1
SCANS = re.compile(
    r"(SCAN|Seq Scan on) (results|repairs|attempts|alerts|audit_log|timeline|receipts)\b"
)


async def listed(found: AsyncIterator[T]) -> list[T]:
    return [one async for one in found]


async def audited(story: Story, sealer: Sealer, *subjects: Subject) -> None:
    async with story.database.transaction() as session:
        for subject in subjects:
            await record(
                session,
                sealer,
                Actor("usr_1"),
                AuditAction.INCIDENT_ACKNOWLEDGED,
                now=story.at,
                subject=subject,
                project_id=story.project.id,
            )


async def test_every_result_is_read_oldest_first(story: Story) -> None:
    event_id = await story.receipt()
    for number in range(5):
        story.later(seconds=1)
        await story.result(event_id, "failed", error_code=f"error {number}")
    other = await story.receipt()
    await story.result(other)

    async with story.database.reading() as session:
        found = await listed(records.read_results(session, event_id))

    assert [one.facts.error_code for one in found] == [f"error {number}" for number in range(5)]


async def test_every_repair_is_read_with_its_attempts(story: Story) -> None:
    event_id, first = await story.reach(LifecycleState.OPEN)
    await story.reach(LifecycleState.OPEN)

    async with story.database.reading() as session:
        (repair,) = await listed(records.read_repairs(session, event_id))

    assert (repair.replay_id, repair.cause) == (first, "rejected")
    assert [(one.number, one.status) for one in repair.attempts] == [(1, 400)]


async def test_more_alerts_than_a_page_are_read_in_order(story: Story) -> None:
    event_id, incident_id = await story.opened()
    rows = [
        {
            "incident_id": incident_id,
            "event_id": event_id,
            "project_id": story.project.id,
            "kind": "incident_opened",
            "replay_id": "",
            "destination": f"a{number}@shop.example",
            "created_at": story.at,
            "due_at": story.at,
            "tries": 0,
        }
        for number in range(MANY)
    ]
    async with story.database.transaction() as session:
        await session.execute(text("DELETE FROM alerts"))
        await session.execute(insert(ALERTS), rows)

    async with story.database.reading() as session:
        found = await listed(records.read_alerts(session, event_id))

    assert [one.destination for one in found] == [row["destination"] for row in rows]
    assert {one.about for one in found} == {None}


async def test_timeline_longer_than_a_page_is_whole_and_as_the_pages_show_it(story: Story) -> None:
    event_id = await story.receipt()
    async with story.database.transaction() as session:
        await session.execute(
            text(
                "INSERT INTO timeline (event_id, at, kind, fields) VALUES (:event_id, :at, 'noted',"
                " :fields)"
            ),
            [
                {"event_id": event_id, "at": 1_800_000_000_000 + n, "fields": f'{{"n": {n}}}'}
                for n in range(MANY)
            ],
        )

    async with story.database.reading() as session:
        row = await read_event_row(session, None, event_id)
        assert row is not None
        found = await records.read_whole_timeline(session, row.receipt)

    assert found[0].kind == "receipt_accepted"
    assert [entry.fields["n"] for entry in found[1:]] == [*range(MANY)]


async def test_audit_entries_are_those_of_the_receipt_and_its_incident(
    story: Story, sealer: Sealer
) -> None:
    event_id, incident_id = await story.opened()
    own = [Subject(SubjectType.RECEIPT, event_id), Subject(SubjectType.INCIDENT, incident_id)]
    others = [
        Subject(SubjectType.RECEIPT, "evt_other"),
        Subject(SubjectType.INCIDENT, "inc_other"),
        Subject(SubjectType.PROJECT, story.project.id),
        Subject(SubjectType.KEY, event_id),
        Subject(SubjectType.STORE),
    ]
    await audited(story, sealer, own[0], *others, own[1])

    async with story.database.reading() as session:
        both = await listed(records.read_audit_entries(session, event_id, incident_id))
        alone = await listed(records.read_audit_entries(session, event_id, None))

    assert [one.subject_id for one in both] == [event_id, incident_id]
    assert [one.subject_id for one in alone] == [event_id]


async def test_no_table_is_read_from_end_to_end(story: Story, sealer: Sealer) -> None:
    event_id, _ = await story.reach(LifecycleState.RECOVERED)
    incident_id = await story.incident_id(event_id)
    async with story.database.transaction() as session:
        if story.database.dialect == "postgresql":
            # With a few rows PostgreSQL prefers to scan: what counts is that it has another way.
            await session.execute(text("SET LOCAL enable_seqscan = off"))
        with noted(session) as statements:
            await _read_all(session, event_id, incident_id)
        plans = [(one, await plan_of(session, one, values)) for one, values in statements]

    assert len(plans) >= 7
    assert [
        (statement, plan) for statement, plan in plans if any(SCANS.search(line) for line in plan)
    ] == []


async def _read_all(session: AsyncSession, event_id: EventId, incident_id: IncidentId) -> None:
    row = await read_event_row(session, None, event_id)
    assert row is not None
    await listed(records.read_results(session, event_id))
    await listed(records.read_repairs(session, event_id))
    await listed(records.read_alerts(session, event_id))
    await listed(records.read_audit_entries(session, event_id, incident_id))
    await records.read_whole_timeline(session, row.receipt)
