"""Each lifecycle activity returns the stored state, and may run twice."""

import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import text
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.lifecycle import LifecycleActivities
from activities.messages import (
    BeginRepair,
    FailOverdueRepair,
    LifecycleResult,
    NoteDroppedRequest,
    OpenIncident,
    ReadStatus,
    RequestMark,
    SyncState,
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
def lifecycle(database: Database, sealer: Sealer) -> LifecycleActivities:
    return LifecycleActivities(database, sealer=sealer, outage_seconds=60)


async def _ingest_was_up(story: Story, *, seconds_ago: float, **report: bool) -> None:
    at = story.at - timedelta(seconds=seconds_ago)
    async with story.database.transaction() as session:
        await beat(session, process="ingest-1", role=INGEST, started_at=at, now=at, report=report)


async def run_as(
    lifecycle: LifecycleActivities, request: BeginRepair, *, attempt: int = 1
) -> LifecycleResult:
    """Run the activity as Temporal does."""
    environment = ActivityEnvironment()
    environment.info = replace(environment.info, attempt=attempt)
    result: LifecycleResult = await environment.run(lifecycle.begin_repair, request)
    return result


async def test_incident_is_opened_once_by_repeated_runs(
    lifecycle: LifecycleActivities, story: Story
) -> None:
    event_id = await story.receipt(**PAST)

    first = await lifecycle.open_incident(OpenIncident(event_id))
    second = await lifecycle.open_incident(OpenIncident(event_id))

    assert first.status.state is LifecycleState.OPEN
    assert second == first
    assert (await story.timeline(event_id)).count("incident_opened") == 1


async def test_future_deadline_returns_a_retry_delay(
    lifecycle: LifecycleActivities, story: Story
) -> None:
    event_id = await story.receipt()

    result = await lifecycle.open_incident(OpenIncident(event_id))

    assert result.status.state is LifecycleState.WAITING
    assert result.retry_after_ms is not None
    assert 29 * 60_000 < result.retry_after_ms <= 30 * 60_000


async def test_no_incident_opens_while_ingest_is_down(
    lifecycle: LifecycleActivities, story: Story
) -> None:
    event_id = await story.receipt(**JUST_PAST)
    await _ingest_was_up(story, seconds_ago=30)

    waiting = await lifecycle.open_incident(OpenIncident(event_id))
    await _ingest_was_up(story, seconds_ago=0)
    opened = await lifecycle.open_incident(OpenIncident(event_id))

    assert waiting.status.state is LifecycleState.WAITING
    assert waiting.retry_after_ms is not None
    assert 15_000 <= waiting.retry_after_ms < 20_000
    assert opened.status.state is LifecycleState.OPEN


async def test_deadline_before_the_ingest_outage_counts_at_once(
    lifecycle: LifecycleActivities, story: Story
) -> None:
    event_id = await story.receipt(**PAST)
    await _ingest_was_up(story, seconds_ago=30)

    result = await lifecycle.open_incident(OpenIncident(event_id))

    assert result.status.state is LifecycleState.OPEN


async def test_deadline_after_the_last_heartbeat_of_a_stopped_api_waits_at_once(
    lifecycle: LifecycleActivities, story: Story
) -> None:
    event_id = await story.receipt(timeout_minutes=-0.001)
    await _ingest_was_up(story, seconds_ago=1, ended=True)

    result = await lifecycle.open_incident(OpenIncident(event_id))

    assert result.status.state is LifecycleState.WAITING


async def test_waiting_for_ingest_can_be_switched_off(
    database: Database, sealer: Sealer, story: Story
) -> None:
    event_id = await story.receipt(**JUST_PAST)
    await _ingest_was_up(story, seconds_ago=30)

    result = await LifecycleActivities(database, sealer=sealer, outage_seconds=0).open_incident(
        OpenIncident(event_id)
    )

    assert result.status.state is LifecycleState.OPEN


async def test_unknown_result_is_noted(lifecycle: LifecycleActivities, story: Story) -> None:
    event_id = await story.receipt()

    result = await lifecycle.sync_state(SyncState(event_id, "res_madeup\0"))

    assert result.status.state is LifecycleState.WAITING
    notes = [row["fields"] for row in await story.rows("timeline", event_id)]
    assert [note["result_id"] for note in notes] == ["res_madeup"]


async def test_signal_for_a_stored_result_adds_no_note(
    lifecycle: LifecycleActivities, story: Story
) -> None:
    event_id = await story.receipt()
    stored = await story.result(event_id)

    result = await lifecycle.sync_state(SyncState(event_id, stored.result_id))

    assert result.status.state is LifecycleState.APPLIED
    assert "noted" not in await story.timeline(event_id)


async def test_second_request_adopts_the_repair_of_the_first(
    lifecycle: LifecycleActivities, story: Story
) -> None:
    event_id, _ = await story.opened()

    first = await lifecycle.begin_repair(BeginRepair(event_id))
    second = await lifecycle.begin_repair(BeginRepair(event_id))

    assert first.status.state is LifecycleState.CALLING
    assert second.status.replay_id == first.status.replay_id
    assert len(await story.rows("repairs", event_id)) == 1


async def test_repair_begun_by_a_signal_is_in_the_audit_log_once(
    lifecycle: LifecycleActivities, story: Story
) -> None:
    event_id, incident_id = await story.opened()
    begin = BeginRepair(event_id, requested_by="usr_1", marks=FIRST)

    first = await lifecycle.begin_repair(begin)
    await lifecycle.begin_repair(begin)  # run again by Temporal
    await lifecycle.begin_repair(BeginRepair(event_id))  # requested again while it runs

    async with story.database.reading() as session:
        page = await list_audit(
            session, AuditFilters(project_id=story.project.id), limit=10, cursor=None
        )
    (entry,) = page.rows
    assert (entry.actor, entry.action, entry.subject_id) == (
        "temporal",
        "reprocess_requested",
        incident_id,
    )
    assert json.loads(entry.details) == {"event_id": event_id, "replay_id": first.status.replay_id}


async def test_signal_whose_repair_failed_at_once_is_in_the_audit_log(
    lifecycle: LifecycleActivities, story: Story
) -> None:
    event_id, _ = await story.opened()
    async with story.database.transaction() as session:
        await session.execute(text("UPDATE projects SET repair_url = NULL"))

    await lifecycle.begin_repair(BeginRepair(event_id))

    async with story.database.reading() as session:
        (entry,) = (
            await list_audit(session, AuditFilters(project_id=None), limit=10, cursor=None)
        ).rows
    assert json.loads(entry.details) == {"event_id": event_id, "cause": "repair_url_missing"}


async def test_repair_created_by_the_store_is_not_audited_again(
    lifecycle: LifecycleActivities, story: Story
) -> None:
    event_id, replay_id = await story.repairing()

    await lifecycle.begin_repair(BeginRepair(event_id, replay_id=replay_id, requested_by="usr_1"))

    async with story.database.reading() as session:
        assert (
            await list_audit(session, AuditFilters(project_id=None), limit=10, cursor=None)
        ).rows == ()


@pytest.mark.parametrize(
    ("named", "stored"),
    [
        (None, "temporal"),
        ("usr_1", "usr_1"),
        ("jane@shop.example", "temporal"),
        ("x" * 65, "temporal"),
    ],
    ids=["none", "id", "address", "too_long"],
)
async def test_requester_is_an_id_and_never_an_address(
    lifecycle: LifecycleActivities, story: Story, named: str | None, stored: str
) -> None:
    event_id, _ = await story.opened()

    await lifecycle.begin_repair(BeginRepair(event_id, requested_by=named))

    assert [row["requested_by"] for row in await story.rows("repairs", event_id)] == [stored]


async def test_repair_within_its_deadline_is_not_overdue(
    lifecycle: LifecycleActivities, story: Story
) -> None:
    event_id, replay_id = await story.awaiting_result()

    result = await lifecycle.fail_overdue_repair(FailOverdueRepair(event_id, replay_id))

    assert result.status.state is LifecycleState.AWAITING_RESULT
    assert result.retry_after_ms is not None


@pytest.mark.parametrize(
    ("attempt", "noted"), [(1, 1), (2, 0)], ids=["after_a_reset", "after_a_lost_answer"]
)
async def test_handled_request_begins_no_second_repair_after_the_first_has_ended(
    lifecycle: LifecycleActivities, story: Story, attempt: int, noted: int
) -> None:
    event_id, _ = await story.opened()
    request = BeginRepair(event_id, marks=FIRST)
    begun = await lifecycle.begin_repair(request)
    assert begun.status.replay_id is not None
    await story.result(event_id, "failed", replay_id=ReplayId(begun.status.replay_id))

    again = await run_as(lifecycle, request, attempt=attempt)
    later = await run_as(lifecycle, BeginRepair(event_id, marks=(RequestMark("run", 2),)))

    assert (again.status.state, again.should_alert) == (LifecycleState.OPEN, True)
    assert later.status.state is LifecycleState.CALLING
    assert len(await story.rows("repairs", event_id)) == 2
    assert (await story.timeline(event_id)).count("noted") == noted


async def test_adopted_request_counts_as_handled(
    lifecycle: LifecycleActivities, story: Story
) -> None:
    event_id, replay_id = await story.repairing()
    await lifecycle.begin_repair(BeginRepair(event_id, marks=FIRST))
    await story.result(event_id, "failed", replay_id=replay_id)

    again = await run_as(lifecycle, BeginRepair(event_id, marks=FIRST))

    assert again.status.state is LifecycleState.OPEN
    assert len(await story.rows("repairs", event_id)) == 1


@pytest.mark.parametrize(
    "odd",
    ["\ud800", "\0", "x" * 1_000_000, "evt_\ud83d", "\u2028"],
    ids=["half", "nul", "huge", "cut", "line"],
)
async def test_text_of_any_form_fails_no_activity_permanently(
    lifecycle: LifecycleActivities, story: Story, odd: str
) -> None:
    event_id, _ = await story.opened()

    await lifecycle.sync_state(SyncState(event_id, odd))
    await lifecycle.begin_repair(BeginRepair(event_id, replay_id=odd, requested_by=odd))
    await lifecycle.fail_overdue_repair(FailOverdueRepair(event_id, odd))
    await lifecycle.note_dropped_request(NoteDroppedRequest(event_id, odd))
    with pytest.raises(ApplicationError) as unknown:
        await lifecycle.load_status(ReadStatus(odd))
    result = await lifecycle.begin_repair(
        BeginRepair(event_id, requested_by=odd, marks=(RequestMark(odd, 1),))
    )

    assert unknown.value.non_retryable
    assert result.status.state is LifecycleState.CALLING


@pytest.mark.parametrize("named", ["rpl_made_up\0", None], ids=["unknown", "ended"])
async def test_request_for_an_inactive_repair_is_noted(
    lifecycle: LifecycleActivities, story: Story, named: str | None
) -> None:
    event_id, ended = await story.reach(LifecycleState.OPEN)
    assert ended is not None

    await lifecycle.begin_repair(BeginRepair(event_id, replay_id=named or ended))

    noted = [
        row["fields"] for row in await story.rows("timeline", event_id) if row["kind"] == "noted"
    ]
    assert [fields["replay_id"] for fields in noted] == ["rpl_made_up" if named else ended]


async def test_request_for_a_closed_receipt_is_noted(
    lifecycle: LifecycleActivities, story: Story
) -> None:
    event_id, _ = await story.reach(LifecycleState.CLOSED)

    result = await lifecycle.begin_repair(BeginRepair(event_id, marks=FIRST))

    assert result.status.state is LifecycleState.CLOSED
    assert (await story.timeline(event_id))[-1] == "noted"


async def test_dropped_request_is_noted(lifecycle: LifecycleActivities, story: Story) -> None:
    event_id, _ = await story.reach(LifecycleState.APPLIED)

    result = await lifecycle.note_dropped_request(NoteDroppedRequest(event_id))

    assert result.status.state is LifecycleState.APPLIED
    assert (await story.timeline(event_id))[-1] == "noted"


async def test_unknown_receipt_fails_and_is_not_retried(lifecycle: LifecycleActivities) -> None:
    with pytest.raises(ApplicationError) as failure:
        await lifecycle.load_status(ReadStatus("evt_unknown"))

    assert failure.value.non_retryable
