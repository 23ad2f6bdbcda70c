"""The receipt workflow, with a real Temporal server, worker, store, SMTP server and repair
endpoint.
"""

import gc
import json
import re
from datetime import timedelta

import pytest
from sqlalchemy import text

from domain.ids import EventId, ReplayId
from domain.lifecycle import LifecycleState
from domain.projects import ProjectChanges
from store.db.sql import SessionStatements
from store.projects.projects import change_project
from store.receipts.attempts import record_attempt
from store.receipts.deadlines import fail_overdue_repair
from tests.workflows.world import World


async def test_success_before_the_deadline_costs_no_activity_and_twelve_events(
    makegood: World,
) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    await makegood.report(event_id, "success")

    assert await makegood.ended(event_id) == LifecycleState.APPLIED
    events = await makegood.event_types(event_id)
    assert "ACTIVITY_TASK_SCHEDULED" not in events
    assert len(events) <= 12, events


async def test_receipt_and_success_sent_together_cost_seven_events(makegood: World) -> None:
    event_id = await makegood.accept_with_success()

    assert await makegood.ended(event_id) == LifecycleState.APPLIED
    events = await makegood.event_types(event_id)
    assert len(events) <= 7, events


async def test_missing_result_opens_one_incident_and_mails_it(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    await makegood.advance(event_id, minutes=30)

    await makegood.reaches(event_id, LifecycleState.OPEN)
    subjects = await makegood.subjects(1)
    assert "never confirmed the effect" in subjects[0]


async def test_incident_does_not_open_before_the_deadline_by_the_stores_clock(
    makegood: World,
) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    makegood.database.clock.skew = timedelta(seconds=-30)
    await makegood.advance(event_id, minutes=30)
    await makegood.ran(event_id, "open_incident", times=1)
    assert await makegood.stored(event_id) is LifecycleState.WAITING

    await makegood.advance(event_id, seconds=30)

    await makegood.reaches(event_id, LifecycleState.OPEN)


async def test_incident_that_cannot_be_opened_within_the_task_is_retried_until_it_opens(
    makegood: World,
) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    async with makegood.database.transaction() as session:
        await session.execute(text("ALTER TABLE incidents RENAME TO incidents_out_of_reach"))
    await makegood.advance(event_id, minutes=30)
    await makegood.eventually(
        lambda: makegood.is_scheduled(event_id, "open_incident"), "an activity that is retried"
    )

    async with makegood.database.transaction() as session:
        await session.execute(text("ALTER TABLE incidents_out_of_reach RENAME TO incidents"))

    await makegood.reaches(event_id, LifecycleState.OPEN)
    assert "never confirmed the effect" in (await makegood.subjects(1))[0]


async def test_failed_result_opens_the_incident_at_once(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)

    await makegood.report(event_id, "failed", error_code="card_gone")

    await makegood.reaches(event_id, LifecycleState.OPEN)
    assert "then reported a failure" in (await makegood.subjects(1))[0]


async def test_repaired_receipt_is_recovered(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)
    replay_id = await makegood.reprocess(event_id)
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)

    await makegood.report(event_id, "success", replay_id=replay_id)

    assert await makegood.ended(event_id) == LifecycleState.RECOVERED
    assert [call.body["replay_id"] for call in makegood.receiver.calls] == [replay_id]
    assert "The repair worked" in (await makegood.subjects(2))[-1]


async def test_signal_without_payload_repairs_as_the_console_does(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)

    await makegood.signal(event_id, "reprocess")

    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    assert len(await makegood.repairs(event_id)) == 1


async def test_requests_while_repairing_are_dropped_and_never_run_later(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)
    for _ in range(5):
        await makegood.signal(event_id, "reprocess")
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    await makegood.signal(event_id, "reprocess")

    await makegood.advance(event_id, minutes=30)

    await makegood.reaches(event_id, LifecycleState.OPEN)
    assert len(await makegood.repairs(event_id)) == 1
    assert "Repair failed" in (await makegood.subjects(2))[-1]


async def test_series_is_exhausted_on_the_schedule(makegood: World) -> None:
    makegood.receiver.status = 503
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)
    await makegood.reprocess(event_id)
    await makegood.attempted(event_id, 1)
    await makegood.advance(event_id, seconds=60)
    await makegood.attempted(event_id, 2)
    await makegood.advance(event_id, seconds=600)

    await makegood.reaches(event_id, LifecycleState.OPEN)

    assert [row["status"] for row in await makegood.attempts(event_id)] == [503, 503, 503]
    assert [row["cause"] for row in await makegood.repairs(event_id)] == ["exhausted"]
    assert len({repr(call.body) for call in makegood.receiver.calls}) == 1


async def test_success_in_the_middle_of_a_series_ends_it(makegood: World) -> None:
    makegood.receiver.status = 503
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)
    replay_id = await makegood.reprocess(event_id)
    await makegood.attempted(event_id, 1)

    await makegood.report(event_id, "success", replay_id=replay_id)

    assert await makegood.ended(event_id) == LifecycleState.RECOVERED
    assert len(await makegood.attempts(event_id)) == 1


async def test_failed_result_of_the_active_repair_opens_again_and_the_next_request_repairs(
    makegood: World,
) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)
    first = await makegood.reprocess(event_id)
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    await makegood.report(event_id, "failed", replay_id=first)
    await makegood.reaches(event_id, LifecycleState.OPEN)

    second = await makegood.reprocess(event_id)

    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    assert [call.body["replay_id"] for call in makegood.receiver.calls] == [first, second]


async def test_gone_url_ends_the_series_and_the_next_signal_fails_without_a_url(
    makegood: World,
) -> None:
    makegood.receiver.status = 410
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)
    await makegood.signal(event_id, "reprocess")
    await makegood.attempted(event_id, 1)
    await makegood.reaches(event_id, LifecycleState.OPEN)

    await makegood.signal(event_id, "reprocess")

    await makegood.repaired_for(event_id, ["rejected", "repair_url_missing"])
    assert len(await makegood.subjects(3)) == 3


async def test_late_success_without_replay_id_recovers(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)

    await makegood.report(event_id, "success")

    assert await makegood.ended(event_id) == LifecycleState.RECOVERED


async def test_manual_resolution_ends_a_running_series(makegood: World) -> None:
    makegood.receiver.status = 503
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.expire(event_id)
    await makegood.reaches(event_id, LifecycleState.OPEN)
    await makegood.reprocess(event_id)
    await makegood.attempted(event_id, 1)

    await makegood.resolve(event_id)

    assert await makegood.ended(event_id) == LifecycleState.CLOSED
    assert [row["cause"] for row in await makegood.repairs(event_id)] == ["closed"]


async def test_request_before_the_incident_is_acted_on_when_it_opens(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.signal(event_id, "reprocess")

    await makegood.expire(event_id)

    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)


async def test_request_before_a_success_is_noted_and_dropped(makegood: World) -> None:
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.signal(event_id, "reprocess")

    await makegood.report(event_id, "success")

    assert await makegood.ended(event_id) == LifecycleState.APPLIED
    assert await makegood.notes(event_id) == [
        "A reprocess request was dropped: there is no incident left to repair."
    ]


async def test_request_while_a_result_is_awaited_begins_a_repair_if_the_store_has_ended_the_last(
    makegood: World,
) -> None:
    event_id, first = await awaiting_result(makegood)
    async with makegood.database.transaction() as session:
        in_an_hour = await makegood.database.now(session) + timedelta(hours=1)
        await fail_overdue_repair(SessionStatements(session), event_id, first, in_an_hour)

    await makegood.signal(event_id, "reprocess")

    await makegood.repaired_for(event_id, ["no_result", None])
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    second = (await makegood.repairs(event_id))[-1]["replay_id"]
    assert [call.body["replay_id"] for call in makegood.receiver.calls] == [first, second]


async def test_request_during_a_series_begins_a_repair_if_the_store_has_ended_the_series(
    makegood: World, caplog: pytest.LogCaptureFixture
) -> None:
    makegood.receiver.status = 503
    event_id = await opened(makegood)
    first = await makegood.reprocess(event_id)
    await makegood.attempted(event_id, 1)
    async with makegood.database.transaction() as session:
        st, now = SessionStatements(session), await makegood.database.now(session)
        outcome = {"status": 503, "duration_ms": 1, "error_class": None}
        await record_attempt(st, event_id, first, 1, now, ending="exhausted", **outcome)
    makegood.receiver.status = 200

    await makegood.signal(event_id, "reprocess")

    await makegood.repaired_for(event_id, ["exhausted", None])
    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    gc.collect()
    assert "never retrieved" not in caplog.text  # the failure of the cancelled call


async def test_copies_of_a_request_that_was_acted_on_are_not_noted_as_dropped(
    makegood: World,
) -> None:
    event_id, replay_id = await awaiting_result(makegood)
    for _ in range(2):
        await makegood.signal(event_id, "reprocess", {"replay_id": replay_id})

    await makegood.report(event_id, "success", replay_id=replay_id)

    assert await makegood.ended(event_id) == LifecycleState.RECOVERED
    assert [note for note in await makegood.notes(event_id) if "dropped" in note] == []


async def test_request_that_names_no_repair_of_the_store_is_noted(makegood: World) -> None:
    event_id = await opened(makegood)

    await makegood.signal(event_id, "reprocess", {"replay_id": "rpl_made_up"})

    await makegood.ran(event_id, "begin_repair", times=1)
    assert (
        "A reprocess request was dropped: the repair that it names is not active."
        in await makegood.notes(event_id)
    )
    assert await makegood.repairs(event_id) == []


async def test_repair_by_signal_has_a_mark_in_the_history(makegood: World) -> None:
    event_id = await opened(makegood)

    await makegood.signal(event_id, "reprocess")

    await makegood.reaches(event_id, LifecycleState.AWAITING_RESULT)
    history = await makegood.handle(event_id).fetch_history()
    scheduled = [event.activity_task_scheduled_event_attributes for event in history.events]
    calls = [call for call in scheduled if call.activity_type.name == "begin_repair"]
    (request,) = [json.loads(call.input.payloads[0].data) for call in calls]
    (mark,) = request["marks"]
    assert (mark["number"], len(mark["series"])) == (1, 16)


async def test_url_removed_in_mid_series_ends_it_without_another_attempt(makegood: World) -> None:
    makegood.receiver.status = 503
    event_id = await opened(makegood)
    await makegood.reprocess(event_id)
    await makegood.attempted(event_id, 1)
    async with makegood.database.transaction() as session:
        await change_project(session, makegood.project.id, changes=ProjectChanges(repair_url=None))

    await makegood.advance(event_id, seconds=60)

    await makegood.reaches(event_id, LifecycleState.OPEN)
    await makegood.repaired_for(event_id, ["repair_url_missing"])
    assert len(await makegood.attempts(event_id)) == 1
    assert "Repair failed" in (await makegood.subjects(2))[-1]


async def test_queries_return_instants_as_the_contract_writes_them(makegood: World) -> None:
    event_id, _ = await awaiting_result(makegood)

    state = await makegood.handle(event_id).query("state")
    timeline = await makegood.handle(event_id).query("timeline")

    instants = [
        state["deadline_at"],
        state["result_deadline_at"],
        *(line["at"] for line in timeline["lines"]),
    ]
    assert len(instants) > 4
    assert [
        at for at in instants if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", at)
    ] == []


async def opened(world: World) -> EventId:
    event_id = await world.accept()
    await world.started(event_id)
    await world.expire(event_id)
    await world.reaches(event_id, LifecycleState.OPEN)
    return event_id


async def awaiting_result(world: World) -> tuple[EventId, ReplayId]:
    event_id = await opened(world)
    replay_id = await world.reprocess(event_id)
    await world.reaches(event_id, LifecycleState.AWAITING_RESULT)
    return event_id, replay_id


async def test_unavailable_mail_server_delays_no_result(makegood: World) -> None:
    makegood.post.is_refusing = True
    event_id = await makegood.accept()
    await makegood.started(event_id)
    await makegood.report(event_id, "failed")
    await makegood.reaches(event_id, LifecycleState.OPEN)

    await makegood.report(event_id, "success")

    assert await makegood.ended(event_id) == LifecycleState.RECOVERED
