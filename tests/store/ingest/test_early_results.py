"""Results that come before their receipt, in a project that holds them."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import text

from domain.errors import NotFound, ReceiptNotYetKnown
from domain.ids import EventId, ReplayId
from domain.projects import CreatedProject, ProjectChanges
from domain.receipts import EffectType, Provider
from domain.results import EarlyResult, EarlyResults, NewResult
from store.db.database import Database
from store.db.sql import SessionStatements
from store.maintenance.retention import purge_kind
from store.projects.projects import change_project
from store.receipts.early_results.hold import HELD_AT_MOST, hold_result
from store.receipts.early_results.lists import count_early_results, list_early_results
from store.receipts.expected import expect_receipts
from tests.store.ingest.desk import Desk, body_of, committing, count
from tests.support.given import expected_receipt, new_result
from tests.support.waiting import wait_until_async

HELD = {"accepted": True, "event_id": None, "state": "held"}


@pytest.fixture(autouse=True)
async def holding(database: Database, project: CreatedProject) -> None:
    """The project holds early results."""
    await choose(database, project, EarlyResults.HOLD)


async def choose(database: Database, project: CreatedProject, setting: EarlyResults) -> None:
    async with database.transaction() as session:
        changes = ProjectChanges(early_results=setting)
        await change_project(session, project.project.id, changes=changes)


def early(desk: Desk, status: str = "success", **changes: Any) -> NewResult:
    return new_result(desk.project_id, None, status, **{"provider_event_id": "evt_1"} | changes)


async def held(database: Database, *, later: timedelta = timedelta()) -> list[EarlyResult]:
    async with database.reading() as session:
        now = await database.now(session) + later
        page = await list_early_results(session, None, now, limit=100, cursor=None)
    return list(page.rows)


async def test_result_without_a_receipt_is_held_and_its_receipt_applies_it(
    database: Database, desk: Desk
) -> None:
    answer = await desk.say(early(desk), "key", "body")
    again = await desk.say(early(desk), "key", "body")
    event_id = await desk.stored(provider_event_id="evt_1")

    assert (answer.status, body_of(answer)) == (202, HELD)
    assert (again.body, again.is_replayed) == (answer.body, True)
    assert await count(database, "receipts", f"event_id = '{event_id}' AND state = 'applied'") == 1
    assert await count(database, "results", f"event_id = '{event_id}'") == 1
    assert await count(database, "timeline", "kind = 'noted'") == 1
    assert await held(database) == []


async def test_failed_result_is_held_and_opens_the_incident_with_its_error(
    database: Database, desk: Desk
) -> None:
    await desk.say(early(desk, "failed", error_code="no_seat", error_message="None left"))

    await desk.stored(provider_event_id="evt_1")

    is_its_own = "reason = 'failed_result' AND error_code = 'no_seat' AND state = 'open'"
    assert await count(database, "incidents", is_its_own) == 1
    assert await count(database, "outbox", "kind IN ('start', 'result')") == 2


async def test_held_result_says_that_the_effect_was_already_applied(
    database: Database, desk: Desk
) -> None:
    await desk.say(early(desk, already_applied=True))
    await desk.say(early(desk, provider_event_id="evt_2"))
    before = await held(database)

    for name in ("evt_1", "evt_2"):
        await desk.stored(provider_event_id=name)

    listed = {one.provider_event_id: one.already_applied for one in before}
    assert listed == {"evt_1": True, "evt_2": False}
    for name, found in (("evt_1", "already_applied"), ("evt_2", "NOT already_applied")):
        of_event = f"event_id IN (SELECT event_id FROM receipts WHERE provider_event_id = '{name}')"
        assert await count(database, "results", f"{of_event} AND {found}") == 1
    assert await count(database, "receipts", "state = 'applied'") == 2


async def test_success_and_one_that_was_already_applied_are_two_held_results(
    database: Database, desk: Desk
) -> None:
    for already_applied in (True, False, True):
        await desk.say(early(desk, already_applied=already_applied))

    found = {one.already_applied: one.repeats for one in await held(database)}

    assert found == {True: 1, False: 0}


async def test_result_of_an_own_provider_is_held_and_claimed(
    database: Database, desk: Desk
) -> None:
    own = {"provider": "paddle", "effect_type": "license_issue"}
    await desk.say(early(desk, **own))
    await desk.stored(provider_event_id="evt_1")
    (before,) = await held(database)

    event_id = await desk.stored(provider_event_id="evt_1", event_type="any.thing", **own)

    assert (before.provider, before.effect_type) == ("paddle", "license_issue")
    assert await held(database) == []
    assert await count(database, "receipts", "state = 'waiting' AND provider = 'stripe'") == 1
    assert await count(database, "results", f"event_id = '{event_id}'") == 1


async def test_project_that_refuses_holds_nothing(
    database: Database, project: CreatedProject, desk: Desk
) -> None:
    await choose(database, project, EarlyResults.REFUSE)

    with pytest.raises(ReceiptNotYetKnown):
        await desk.say(early(desk))

    assert await count(database, "early_results") == 0
    assert await count(database, "idempotency") == 0


async def test_held_result_is_claimed_after_the_project_has_chosen_to_refuse(
    database: Database, project: CreatedProject, desk: Desk
) -> None:
    for name in ("evt_1", "evt_2"):
        await desk.say(early(desk, provider_event_id=name))
    await choose(database, project, EarlyResults.REFUSE)

    await desk.stored(provider_event_id="evt_1")
    async with database.transaction() as session:
        event = expected_receipt(desk.project_id, provider_event_id="evt_2")
        st = SessionStatements(session)
        await expect_receipts(st, [event], await database.now(session))
    with pytest.raises(ReceiptNotYetKnown):
        await desk.say(early(desk, provider_event_id="evt_3"))

    assert await count(database, "receipts", "state = 'applied'") == 2
    assert await count(database, "early_results") == 0


@pytest.mark.parametrize("database_url", ["postgresql"], indirect=True)
async def test_change_to_refuse_waits_for_results_that_are_being_held(
    database: Database, project: CreatedProject, desk: Desk
) -> None:
    async with database.transaction() as session:
        st = SessionStatements(session)
        assert await hold_result(st, early(desk), await database.now(session))
        change = asyncio.create_task(choose(database, project, EarlyResults.REFUSE))
        await wait_until_async(lambda: _waits_for_a_lock(database), what="the change waits")
    await change

    await desk.stored(provider_event_id="evt_1")

    assert await count(database, "receipts", "state = 'applied'") == 1
    assert await count(database, "early_results") == 0


@pytest.mark.parametrize(
    "changes",
    [{"event_id": EventId("evt_unknown")}, {"replay_id": ReplayId("rpl_unknown")}],
    ids=["event_id", "replay_id"],
)
async def test_unknown_id_of_ours_is_never_held(
    database: Database, desk: Desk, changes: dict[str, Any]
) -> None:
    value = new_result(desk.project_id, **{"provider_event_id": "evt_1"} | changes)

    with pytest.raises(NotFound):
        await desk.say(value)

    assert await count(database, "early_results") == 0


@pytest.mark.parametrize(
    "changes",
    [
        {"effect_type": EffectType.CREDIT_GRANT},
        {"provider": Provider.SHOPIFY},
        {"provider_event_id": "evt_2"},
    ],
    ids=["effect", "provider", "event"],
)
async def test_receipt_claims_no_result_of_another(
    database: Database, desk: Desk, changes: dict[str, Any]
) -> None:
    await desk.say(early(desk, **changes))

    await desk.stored(provider_event_id="evt_1", effect_type=EffectType.ACCESS_UNLOCK)

    assert await count(database, "receipts", "state = 'waiting'") == 1
    assert len(await held(database)) == 1


async def test_result_that_names_the_receipt_in_full_is_claimed(
    database: Database, desk: Desk
) -> None:
    named = {"provider_event_id": None, "stripe_event_id": "evt_1"}
    await desk.say(early(desk, effect_type=EffectType.ACCESS_UNLOCK, **named))

    await desk.stored(provider_event_id="evt_1", effect_type=EffectType.ACCESS_UNLOCK)

    assert await count(database, "receipts", "state = 'applied'") == 1


async def test_equal_results_are_held_once_and_counted(database: Database, desk: Desk) -> None:
    for _ in range(3):
        await desk.say(early(desk, "failed", error_code="no_seat"))
    await desk.say(early(desk, "failed", error_code="other"))
    before = await held(database)

    await desk.stored(provider_event_id="evt_1")

    assert [(one.error_code, one.repeats) for one in before] == [("other", 0), ("no_seat", 2)]
    assert await count(database, "results", "repeats = 2") == 1
    assert await count(database, "results") == 2


async def test_number_of_held_results_of_an_event_is_bounded(
    database: Database, desk: Desk
) -> None:
    codes = [f"code_{number}" for number in range(HELD_AT_MOST)]
    await asyncio.gather(*(desk.say(early(desk, "failed", error_code=code)) for code in codes))

    with pytest.raises(ReceiptNotYetKnown):
        await desk.say(early(desk, "failed", error_code="one more"))

    again = await desk.say(early(desk, "failed", error_code="code_7"))
    assert body_of(again) == HELD
    assert await count(database, "early_results") == HELD_AT_MOST
    assert await count(database, "early_results", "error_code = 'code_7' AND repeats = 1") == 1


async def test_results_that_have_ended_leave_room_for_others(
    database: Database, desk: Desk
) -> None:
    codes = [f"code_{number}" for number in range(HELD_AT_MOST)]
    await asyncio.gather(*(desk.say(early(desk, "failed", error_code=code)) for code in codes))
    async with database.transaction() as session:
        a_day_before = "received_at = received_at - 24 * 60 * 60 * 1000"
        await session.execute(text(f"UPDATE early_results SET {a_day_before}"))

    answer = await desk.say(early(desk, "failed", error_code="one more"))
    again = await desk.say(early(desk, "failed", error_code="code_7"))

    assert [body_of(answer), body_of(again)] == [HELD, HELD]
    assert {one.error_code for one in await held(database)} == {"one more", "code_7"}


async def test_expected_event_claims_a_held_result(database: Database, desk: Desk) -> None:
    await desk.say(early(desk))
    async with database.transaction() as session:
        now = await database.now(session)
        event = expected_receipt(desk.project_id, provider_event_id="evt_1")
        (event_id,) = await expect_receipts(SessionStatements(session), [event], now)
    is_applied = f"event_id = '{event_id}' AND state = 'applied' AND lacks_receipt"
    assert await count(database, "receipts", is_applied) == 1

    receipt = await desk.say(desk.receipt(provider_event_id="evt_1"))

    assert body_of(receipt)["event_id"] == event_id
    assert await count(database, "receipts", "state = 'applied' AND NOT lacks_receipt") == 1
    assert await held(database) == []


async def test_result_is_kept_for_a_day_and_then_deleted(database: Database, desk: Desk) -> None:
    await desk.say(early(desk))
    day, moment = timedelta(hours=24), timedelta(seconds=30)

    assert len(await held(database, later=day - moment)) == 1
    assert await held(database, later=day + moment) == []
    async with database.transaction() as session:
        now = await database.now(session)
        assert await count_early_results(session, now, limit=10) == 1
        assert await count_early_results(session, now + day + moment, limit=10) == 0
        assert await purge_kind(session, "early_results", now + day - moment) == 0
        assert await purge_kind(session, "early_results", now + day + moment) == 1
    assert await count(database, "early_results") == 0


async def test_list_is_newest_first_and_paged(database: Database, desk: Desk) -> None:
    for number in range(5):
        await desk.say(early(desk, provider_event_id=f"evt_{number}"))
    found: list[str] = []
    cursor: str | None = None
    while not found or cursor is not None:
        async with database.reading() as session:
            now = await database.now(session)
            page = await list_early_results(session, desk.project_id, now, limit=2, cursor=cursor)
        found += [row.provider_event_id for row in page.rows]
        cursor = page.next_cursor

    assert found == ["evt_4", "evt_3", "evt_2", "evt_1", "evt_0"]


async def test_receipt_and_result_at_the_same_moment_in_two_processes_never_miss_each_other(
    database: Database, project: CreatedProject
) -> None:
    names = [f"evt_{number}" for number in range(100)]
    async with committing(database, project) as one, committing(database, project) as other:
        await asyncio.gather(
            *(one.say(one.receipt(provider_event_id=name)) for name in names),
            *(other.say(early(other, provider_event_id=name)) for name in reversed(names)),
        )

    assert await count(database, "receipts", "state = 'applied'") == 100
    assert await count(database, "early_results") == 0


async def _waits_for_a_lock(database: Database) -> bool:
    return await count(database, "pg_locks", "NOT granted") > 0
