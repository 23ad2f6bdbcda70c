"""A later refund, dispute, cancellation or revocation of the same reference makes a repair
doubtful.
"""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from domain.errors import Superseded
from domain.ids import EventId
from domain.lifecycle import LifecycleState
from domain.receipts import EffectType, EventType
from store.db.database import Database
from store.db.sql import SessionStatements
from store.receipts.queries import read_incident
from store.receipts.repairs import Begun, begin_repair, request_repair
from store.receipts.triage import superseded
from tests.support.given import OPERATOR, START, Story

ORDER = {"internal_reference": "order 7"}
REFUND = {"event_type": EventType.CHARGE_REFUNDED, "effect_type": EffectType.CREDIT_DEDUCTION}


async def superseded_by(story: Story, event_id: EventId) -> EventId | None:
    async with story.database.reading() as session:
        row = await read_incident(session, None, await story.incident_id(event_id))
    assert row is not None
    return row.incident.superseded_by


@pytest.mark.parametrize(
    ("later", "is_doubtful"),
    [
        ({"event_type": EventType.CHARGE_REFUNDED}, True),
        ({"event_type": EventType.CHARGE_DISPUTE_CREATED}, True),
        ({"event_type": EventType.CUSTOMER_SUBSCRIPTION_DELETED}, True),
        ({"effect_type": EffectType.ACCESS_REVOCATION}, True),
        ({"effect_type": EffectType.CREDIT_DEDUCTION}, True),
        ({"event_type": EventType.INVOICE_PAID}, False),
        ({**REFUND, "internal_reference": "order 8"}, False),
        ({**REFUND, "occurred_at": START - timedelta(days=1)}, False),
    ],
    ids=str,
)
async def test_later_event_that_takes_back_supersedes(
    story: Story, later: dict[str, Any], is_doubtful: bool
) -> None:
    event_id, _ = await story.opened(**ORDER)
    story.later(minutes=1)

    other = await story.receipt(**{**ORDER, **later})

    assert await superseded_by(story, event_id) == (other if is_doubtful else None)


async def test_first_of_several_is_named_and_none_of_another_project(
    story: Story, database: Database
) -> None:
    event_id, _ = await story.opened(**ORDER)
    foreign, first, _ = [await story.receipt(**ORDER, **REFUND) for _ in range(3)]
    async with database.transaction() as session:
        moved = text("UPDATE receipts SET project_id = 'prj_other' WHERE event_id = :id")
        await session.execute(moved, {"id": foreign})

    assert await superseded_by(story, event_id) == first


async def test_event_that_takes_back_is_not_superseded(story: Story) -> None:
    event_id, _ = await story.opened(**ORDER, **REFUND)
    await story.receipt(**ORDER, event_type=EventType.CHARGE_DISPUTE_CREATED)

    assert await superseded_by(story, event_id) is None


async def test_effects_of_one_event_do_not_supersede_each_other(story: Story) -> None:
    same = {**ORDER, "provider_event_id": "evt_1", "stripe_event_id": "evt_1"}
    event_id, _ = await story.opened(**same)
    await story.receipt(**same, effect_type=EffectType.ACCESS_REVOCATION)

    assert await superseded_by(story, event_id) is None


async def test_resolved_incident_is_not_superseded(story: Story) -> None:
    event_id, _ = await story.opened(**ORDER)
    await story.receipt(**ORDER, **REFUND)
    await story.result(event_id)

    assert await superseded_by(story, event_id) is None


async def test_doubtful_repair_needs_a_confirmation_and_a_running_one_does_not(
    story: Story,
) -> None:
    event_id, _ = await story.opened(**ORDER)
    await story.receipt(**ORDER, **REFUND)
    before = await story.timeline(event_id)

    with pytest.raises(Superseded):
        await story.do(request_repair, event_id, requested_by=OPERATOR)
    after = await story.timeline(event_id)
    begun = await story.do(request_repair, event_id, requested_by=OPERATOR, confirm=True)
    again = await story.do(request_repair, event_id, requested_by=OPERATOR)

    assert after == before
    assert begun.is_new
    assert again == Begun(begun.replay_id, is_new=False)


async def test_signal_is_acted_on_and_its_doubt_noted(story: Story) -> None:
    event_id, _ = await story.opened(**ORDER)
    later = await story.receipt(**ORDER, **REFUND)

    begun = await story.do(begin_repair, event_id, requested_by="temporal", replay_id=None)

    assert isinstance(begun, Begun)
    assert (await story.snapshot(event_id)).state is LifecycleState.CALLING
    noted = (await story.rows("timeline", event_id))[-1]
    assert (noted["kind"], noted["fields"]["superseded_by"]) == ("noted", later)


async def test_query_uses_the_index_of_references(story: Story) -> None:
    event_id, _ = await story.opened(**ORDER)
    dialect = story.database.dialect
    sql = superseded.SUPERSEDING[dialect]
    async with story.database.transaction() as session:
        st = SessionStatements(session)
        if dialect == "postgresql":
            await st.fetch("SET LOCAL enable_seqscan = off")
        explain = "EXPLAIN QUERY PLAN" if dialect == "sqlite" else "EXPLAIN"
        plan = str(await st.fetch(f"{explain} {sql}", f'["{event_id}"]'))

    assert "receipts_by_reference" in plan
