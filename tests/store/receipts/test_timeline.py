"""One timeline from stored entries and from the rows of receipt, results and attempts."""

from datetime import UTC, datetime, timedelta

from domain.ids import EventId, IncidentId, ProjectId, ReplayId, ResultId
from domain.incidents import Attempt, AttemptState, Repair, RepairState, TimelineEntry, TimelineKind
from domain.receipts import EffectType, EventType, Provider, Receipt, ReceiptState
from domain.results import Result, ResultFacts, ResultStatus
from store.receipts.timeline import (
    attempt_lines,
    first_line,
    merged_page,
    result_lines,
    stored_lines,
)

AT = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
EVENT_ID = EventId("evt_1")
RECEIPT = Receipt(
    event_id=EVENT_ID,
    project_id=ProjectId("prj_1"),
    livemode=False,
    state=ReceiptState.INCIDENT,
    provider=Provider.STRIPE,
    provider_event_id="evt_s",
    stripe_event_id="evt_s",
    event_type=EventType.INVOICE_PAID,
    effect_type=EffectType.ACCESS_UNLOCK,
    internal_reference="order 1",
    shopify_shop_domain=None,
    occurred_at=AT,
    accepted_at=AT,
    timeout_at=AT,
    deadline_at=AT,
    flags=(),
    request_id="req_1",
    expected_at=None,
    source_id=None,
    listed_at=AT,
)


def result(status: str, *, at: datetime = AT, replay_id: str | None = None) -> Result:
    facts = ResultFacts(
        ResultStatus(status), None if replay_id is None else ReplayId(replay_id), None, None
    )
    return Result(id=ResultId("res_1"), event_id=EVENT_ID, received_at=at, facts=facts)


def repair(*attempts: Attempt) -> Repair:
    return Repair(
        replay_id=ReplayId("rpl_1"),
        incident_id=IncidentId("inc_1"),
        event_id=EVENT_ID,
        state=RepairState.CALLING,
        cause=None,
        requested_by="usr_1",
        requested_at=AT,
        result_deadline_at=None,
        attempts=attempts,
    )


def stored(*kinds: TimelineKind) -> list[TimelineEntry]:
    return [TimelineEntry(AT, kind, {"n": number}) for number, kind in enumerate(kinds)]


def merged_timeline(
    receipt: Receipt, results: list[Result], repairs: list[Repair], entries: list[TimelineEntry]
) -> tuple[TimelineEntry, ...]:
    """The whole timeline in one page; each list in the order of writing."""
    attempts = [(one.replay_id, attempt) for one in repairs for attempt in one.attempts]
    newest_first = (
        result_lines(results),
        attempt_lines(attempts),
        stored_lines(enumerate(entries, 1)),
    )
    page = merged_page([first_line(receipt)], *(lines[::-1] for lines in newest_first), limit=100)
    assert page.next_cursor is None
    return page.entries


def test_entries_stand_in_the_order_of_time() -> None:
    attempt = Attempt(1, AT + timedelta(seconds=2), AttemptState.STARTED, None, None, None)
    noted = TimelineEntry(AT + timedelta(seconds=1), TimelineKind.NOTED, {})

    entries = merged_timeline(
        RECEIPT, [result("success", at=AT + timedelta(seconds=3))], [repair(attempt)], [noted]
    )

    assert [entry.kind for entry in entries] == [
        "receipt_accepted",
        "noted",
        "attempt",
        "result_received",
    ]


def test_within_a_millisecond_causes_stand_before_effects() -> None:
    attempt = Attempt(1, AT, AttemptState.FINISHED, 500, 3, "status")
    kinds = (
        TimelineKind.INCIDENT_OPENED,
        TimelineKind.REPROCESS_REQUESTED,
        TimelineKind.REPAIR_FAILED,
    )

    entries = merged_timeline(
        RECEIPT,
        [result("failed", replay_id="rpl_1"), result("failed")],
        [repair(attempt)],
        stored(*kinds),
    )

    middle = [
        "result_received",
        "incident_opened",
        "reprocess_requested",
        "attempt",
        "result_received",
        "repair_failed",
    ]
    assert [entry.kind for entry in entries] == ["receipt_accepted", *middle]


def test_entries_of_one_kind_keep_the_order_of_writing() -> None:
    entries = merged_timeline(RECEIPT, [], [], stored(*[TimelineKind.NOTED] * 5))

    assert [entry.fields.get("n") for entry in entries[1:]] == [0, 1, 2, 3, 4]


def test_every_timeline_kind_has_its_rank() -> None:
    derived = {TimelineKind.RECEIPT_ACCEPTED, TimelineKind.RESULT_RECEIVED, TimelineKind.ATTEMPT}
    kinds = [kind for kind in TimelineKind if kind not in derived]

    entries = merged_timeline(RECEIPT, [], [], stored(*kinds))

    assert len(entries) == 1 + len(kinds)


def test_kind_of_a_later_version_has_a_place_among_the_known() -> None:
    kinds = ("flagged", "incident_snoozed", "incident_resolved", "noted")

    entries = merged_timeline(
        RECEIPT, [], [], [TimelineEntry(AT, kind, {"n": n}) for n, kind in enumerate(kinds)]
    )

    assert [entry.kind for entry in entries[1:]] == [
        "incident_resolved",
        "incident_snoozed",
        "noted",
        "flagged",
    ]
