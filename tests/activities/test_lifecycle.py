"""The ledger activities answer with where the store stands, and each may run twice."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.lifecycle import LifecycleActivities
from activities.messages import (
    Answer,
    BeginRepair,
    FailOverdueRepair,
    Heed,
    NoteDroppedRequest,
    OpenIncident,
    ReadStanding,
    RequestMark,
)
from domain.ids import ReplayId
from domain.lifecycle import LifecycleState
from store.audit.log import AuditFilters, list_audit
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.status.heartbeats import INGEST, beat
from tests.support.given import Story

PAST = {"timeout_minutes": -1.0}
JUST_PAST = {"timeout_minutes": -0.1}
FIRST = (RequestMark("run", 1),)


@pytest.fixture
def ledger(database: Database, sealer: Sealer) -> LifecycleActivities:
    return LifecycleActivities(database, sealer=sealer, outage_seconds=60)


async def _ingest_was_up(story: Story, *, seconds_ago: float, **report: bool) -> None:
    at = story.at - timedelta(seconds=seconds_ago)
    async with story.database.transaction() as session:
        await beat(session, process="ingest-1", role=INGEST, started_at=at, now=at, report=report)


async def run_as(ledger: LifecycleActivities, question: BeginRepair, *, attempt: int = 1) -> Answer:
    """The activity as Temporal runs it."""
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, attempt=attempt)
    answer: Answer = await environment.run(ledger.begin_repair, question)
    return answer


async def test_incident_is_opened_once_however_often_it_is_asked(ledger: LifecycleActivities, story: Story) -> None:
    event_id = await story.receipt(**PAST)

    first = await ledger.open_incident(OpenIncident(event_id))
    second = await ledger.open_incident(OpenIncident(event_id))

    assert first.standing.position is LifecycleState.OPEN
    assert second == first
    assert (await story.told(event_id)).count("incident_opened") == 1


async def test_deadline_ahead_is_not_yet(ledger: LifecycleActivities, story: Story) -> None:
    event_id = await story.receipt()

    answer = await ledger.open_incident(OpenIncident(event_id))

    assert answer.standing.position is LifecycleState.WAITING
    assert answer.wait_ms is not None
    assert 29 * 60_000 < answer.wait_ms <= 30 * 60_000


async def test_no_incident_opens_while_ingest_is_silent(ledger: LifecycleActivities, story: Story) -> None:
    event_id = await story.receipt(**JUST_PAST)
    await _ingest_was_up(story, seconds_ago=30)

    held = await ledger.open_incident(OpenIncident(event_id))
    await _ingest_was_up(story, seconds_ago=0)
    opened = await ledger.open_incident(OpenIncident(event_id))

    assert held.standing.position is LifecycleState.WAITING
    assert held.wait_ms is not None
    assert 15_000 <= held.wait_ms < 20_000
    assert opened.standing.position is LifecycleState.OPEN


async def test_deadline_that_passed_before_ingest_fell_silent_is_not_held(ledger: LifecycleActivities, story: Story) -> None:
    event_id = await story.receipt(**PAST)
    await _ingest_was_up(story, seconds_ago=30)

    answer = await ledger.open_incident(OpenIncident(event_id))

    assert answer.standing.position is LifecycleState.OPEN


async def test_deadline_after_the_last_word_of_an_api_that_ended_is_held_at_once(
    ledger: LifecycleActivities, story: Story
) -> None:
    event_id = await story.receipt(timeout_minutes=-0.001)
    await _ingest_was_up(story, seconds_ago=1, ended=True)

    answer = await ledger.open_incident(OpenIncident(event_id))

    assert answer.standing.position is LifecycleState.WAITING


async def test_hold_can_be_switched_off(database: Database, sealer: Sealer, story: Story) -> None:
    event_id = await story.receipt(**JUST_PAST)
    await _ingest_was_up(story, seconds_ago=30)

    answer = await LifecycleActivities(database, sealer=sealer, outage_seconds=0).open_incident(OpenIncident(event_id))

    assert answer.standing.position is LifecycleState.OPEN


async def test_unknown_result_is_noted(ledger: LifecycleActivities, story: Story) -> None:
    event_id = await story.receipt()

    answer = await ledger.heed(Heed(event_id, "res_madeup\0"))

    assert answer.standing.position is LifecycleState.WAITING
    notes = [row["fields"] for row in await story.rows("timeline", event_id)]
    assert [note["result_id"] for note in notes] == ["res_madeup"]


async def test_stored_result_is_heeded_in_silence(ledger: LifecycleActivities, story: Story) -> None:
    event_id = await story.receipt()
    result = await story.result(event_id)

    answer = await ledger.heed(Heed(event_id, result.result_id))

    assert answer.standing.position is LifecycleState.APPLIED
    assert "noted" not in await story.told(event_id)


async def test_second_request_adopts_the_first_ones_repair(ledger: LifecycleActivities, story: Story) -> None:
    event_id, _ = await story.opened()

    first = await ledger.begin_repair(BeginRepair(event_id))
    second = await ledger.begin_repair(BeginRepair(event_id))

    assert first.standing.position is LifecycleState.CALLING
    assert second.standing.replay_id == first.standing.replay_id
    assert len(await story.rows("repairs", event_id)) == 1


async def test_repair_begun_by_a_signal_is_in_the_audit_log_once(ledger: LifecycleActivities, story: Story) -> None:
    event_id, incident_id = await story.opened()
    begin = BeginRepair(event_id, requested_by="usr_1", marks=FIRST)

    first = await ledger.begin_repair(begin)
    await ledger.begin_repair(begin)  # run again by the engine
    await ledger.begin_repair(BeginRepair(event_id))  # asked again while it runs

    async with story.database.reading() as session:
        page = await list_audit(session, AuditFilters(project_id=story.project.id), limit=10, cursor=None)
    (entry,) = page.rows
    assert (entry.actor, entry.action, entry.subject_id) == ("temporal", "reprocess_requested", incident_id)
    assert json.loads(entry.details) == {"event_id": event_id, "replay_id": first.standing.replay_id}


async def test_signal_whose_repair_failed_at_once_is_in_the_audit_log(ledger: LifecycleActivities, story: Story) -> None:
    event_id, _ = await story.opened()
    async with story.database.transaction() as session:
        await session.execute(text("UPDATE projects SET repair_url = NULL"))

    await ledger.begin_repair(BeginRepair(event_id))

    async with story.database.reading() as session:
        (entry,) = (await list_audit(session, AuditFilters(), limit=10, cursor=None)).rows
    assert json.loads(entry.details) == {"event_id": event_id, "cause": "repair_url_missing"}


async def test_repair_that_the_store_had_minted_is_told_by_whoever_asked_for_it(
    ledger: LifecycleActivities, story: Story
) -> None:
    event_id, replay_id = await story.repairing()

    await ledger.begin_repair(BeginRepair(event_id, replay_id=replay_id, requested_by="usr_1"))

    async with story.database.reading() as session:
        assert (await list_audit(session, AuditFilters(), limit=10, cursor=None)).rows == ()


@pytest.mark.parametrize(
    ("said", "kept"),
    [(None, "temporal"), ("usr_1", "usr_1"), ("jane@shop.example", "temporal"), ("x" * 65, "temporal")],
    ids=["nobody", "id", "address", "too_long"],
)
async def test_requester_is_an_id_and_never_an_address(
    ledger: LifecycleActivities, story: Story, said: str | None, kept: str
) -> None:
    event_id, _ = await story.opened()

    await ledger.begin_repair(BeginRepair(event_id, requested_by=said))

    assert [row["requested_by"] for row in await story.rows("repairs", event_id)] == [kept]


async def test_repair_within_its_deadline_is_not_overdue(ledger: LifecycleActivities, story: Story) -> None:
    event_id, replay_id = await story.awaiting_result()

    answer = await ledger.fail_overdue_repair(FailOverdueRepair(event_id, replay_id))

    assert answer.standing.position is LifecycleState.AWAITING_RESULT
    assert answer.wait_ms is not None


@pytest.mark.parametrize(("attempt", "noted"), [(1, 1), (2, 0)], ids=["after_a_reset", "after_a_lost_answer"])
async def test_request_that_was_seen_begins_no_second_repair_even_when_the_first_has_ended(
    ledger: LifecycleActivities, story: Story, attempt: int, noted: int
) -> None:
    event_id, _ = await story.opened()
    question = BeginRepair(event_id, marks=FIRST)
    begun = await ledger.begin_repair(question)
    assert begun.standing.replay_id is not None
    await story.result(event_id, "failed", replay_id=ReplayId(begun.standing.replay_id))

    again = await run_as(ledger, question, attempt=attempt)
    later = await run_as(ledger, BeginRepair(event_id, marks=(RequestMark("run", 2),)))

    assert (again.standing.position, again.has_news) == (LifecycleState.OPEN, True)
    assert later.standing.position is LifecycleState.CALLING
    assert len(await story.rows("repairs", event_id)) == 2
    assert (await story.told(event_id)).count("noted") == noted


async def test_request_that_was_adopted_is_seen_too(ledger: LifecycleActivities, story: Story) -> None:
    event_id, replay_id = await story.repairing()
    await ledger.begin_repair(BeginRepair(event_id, marks=FIRST))
    await story.result(event_id, "failed", replay_id=replay_id)

    again = await run_as(ledger, BeginRepair(event_id, marks=FIRST))

    assert again.standing.position is LifecycleState.OPEN
    assert len(await story.rows("repairs", event_id)) == 1


@pytest.mark.parametrize(
    "odd", ["\ud800", "\0", "x" * 1_000_000, "evt_\ud83d", "\u2028"], ids=["half", "nul", "huge", "cut", "line"]
)
async def test_texts_of_any_form_fail_no_activity_for_ever(ledger: LifecycleActivities, story: Story, odd: str) -> None:
    event_id, _ = await story.opened()

    await ledger.heed(Heed(event_id, odd))
    await ledger.begin_repair(BeginRepair(event_id, replay_id=odd, requested_by=odd))
    await ledger.fail_overdue_repair(FailOverdueRepair(event_id, odd))
    await ledger.note_dropped_request(NoteDroppedRequest(event_id, odd))
    with pytest.raises(ApplicationError) as unknown:
        await ledger.load_standing(ReadStanding(odd))
    answer = await ledger.begin_repair(BeginRepair(event_id, requested_by=odd, marks=(RequestMark(odd, 1),)))

    assert unknown.value.non_retryable
    assert answer.standing.position is LifecycleState.CALLING


@pytest.mark.parametrize("named", ["rpl_made_up\0", None], ids=["unknown", "ended"])
async def test_request_that_names_a_repair_that_is_not_active_is_noted(
    ledger: LifecycleActivities, story: Story, named: str | None
) -> None:
    event_id, ended = await story.reach(LifecycleState.OPEN)
    assert ended is not None

    await ledger.begin_repair(BeginRepair(event_id, replay_id=named or ended))

    noted = [row["fields"] for row in await story.rows("timeline", event_id) if row["kind"] == "noted"]
    assert [fields["replay_id"] for fields in noted] == ["rpl_made_up" if named else ended]


async def test_request_for_what_has_ended_is_noted(ledger: LifecycleActivities, story: Story) -> None:
    event_id, _ = await story.reach(LifecycleState.CLOSED)

    answer = await ledger.begin_repair(BeginRepair(event_id, marks=FIRST))

    assert answer.standing.position is LifecycleState.CLOSED
    assert (await story.told(event_id))[-1] == "noted"


async def test_dropped_request_is_noted(ledger: LifecycleActivities, story: Story) -> None:
    event_id, _ = await story.reach(LifecycleState.APPLIED)

    answer = await ledger.note_dropped_request(NoteDroppedRequest(event_id))

    assert answer.standing.position is LifecycleState.APPLIED
    assert (await story.told(event_id))[-1] == "noted"


async def test_unknown_receipt_fails_and_is_not_retried(ledger: LifecycleActivities) -> None:
    with pytest.raises(ApplicationError) as failure:
        await ledger.load_standing(ReadStanding("evt_unknown"))

    assert failure.value.non_retryable
