"""Texts of timeline entries, and the next step of a receipt."""

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from api.console.ui.timeline.entries import RENDERERS, render_entry
from api.console.ui.timeline.page import next_step, render
from domain.ids import EventId, IncidentId, ProjectId, ReplayId
from domain.incidents import (
    Attempt,
    AttemptState,
    Incident,
    IncidentState,
    Reason,
    Repair,
    RepairState,
    TimelineEntry,
    TimelineKind,
)
from domain.receipts import ReceiptState
from domain.values.enums import member_or_text

AT = datetime(2026, 11, 23, 11, 13, 55, tzinfo=UTC)
INCIDENT = Incident(
    id=IncidentId("inc_0193f1c2d3e47a8b9c0d1e2f3a4b5c6d"),
    event_id=EventId("evt_0193f1c2d3e47a8b9c0d1e2f3a4b5c6d"),
    project_id=ProjectId("prj_1"),
    state=IncidentState.OPEN,
    reason=Reason.MISSING_RESULT,
    error_code=None,
    error_message=None,
    opened_at=AT,
    acknowledged_at=None,
    resolved_at=None,
    resolution=None,
    active_replay_id=ReplayId("rpl_0193f1c2d3e47a8b9c0d1e2f3a4b5c6d"),
    resolving_replay_id=None,
)


def entry(kind: str, **fields: object) -> TimelineEntry:
    return TimelineEntry(AT, TimelineKind(kind), fields)


def repair(state: RepairState) -> Repair:
    """The repair that the incident names as the active one."""
    return Repair(
        replay_id=ReplayId("rpl_0193f1c2d3e47a8b9c0d1e2f3a4b5c6d"),
        incident_id=INCIDENT.id,
        event_id=INCIDENT.event_id,
        state=state,
        cause=None,
        requested_by="usr_1",
        requested_at=AT,
        result_deadline_at=None,
        attempts=(),
    )


# Their name and their fields say everything, so they need no renderer.
SHOWN_BY_NAME: frozenset[TimelineKind] = frozenset(
    {TimelineKind.GROUP_MUTED, TimelineKind.GROUP_UNMUTED}
)


def test_every_kind_of_entry_has_a_renderer_or_needs_none() -> None:
    assert RENDERERS.keys() | SHOWN_BY_NAME == set(TimelineKind)
    assert not RENDERERS.keys() & SHOWN_BY_NAME


@pytest.mark.parametrize("kind", TimelineKind)
def test_entry_without_fields_is_rendered(kind: TimelineKind) -> None:
    assert render_entry(entry(kind)).title


def test_entry_of_an_unknown_kind_keeps_its_fields() -> None:
    fields = {"mood": "calm", "requested_by": "usr_1"}
    text = render_entry(TimelineEntry(AT, "customer_called", fields))

    assert (text.title, text.facts) == ("Customer called", (("Mood", "calm"),))
    assert text.detail == "By usr_1."


@pytest.mark.parametrize(
    ("fields", "title", "tone"),
    [
        ({"number": 1, "status": 202, "duration_ms": 148}, "Repair call 1: HTTP 202", "good"),
        ({"number": 2, "status": 502, "duration_ms": 31}, "Repair call 2: HTTP 502", "bad"),
        (
            {"number": 3, "status": None, "error_class": "timeout"},
            "Repair call 3: no response",
            "bad",
        ),
        ({"number": 4, "status": None, "error_class": None}, "Repair call 4 sent", "busy"),
    ],
    ids=["taken", "refused", "no answer", "under way"],
)
def test_attempt_is_rendered_by_its_outcome(
    fields: dict[str, object], title: str, tone: str
) -> None:
    text = render_entry(entry("attempt", **fields))

    assert (text.title, text.tone) == (title, tone)


def test_result_is_rendered_by_its_status() -> None:
    assert render_entry(entry("result_received", status="success")).tone == "good"
    failed = render_entry(
        entry("result_received", status="failed", error_code="db_down", error_message="no lock")
    )
    assert (failed.tone, failed.detail, failed.facts) == (
        "bad",
        "no lock",
        (("Error code", "db_down"),),
    )


def test_manual_resolution_shows_its_reason() -> None:
    text = render_entry(
        entry("incident_resolved", resolution="manual", reason="refunded", requested_by="usr_1")
    )

    assert (text.tone, text.detail) == ("quiet", "Resolved manually by usr_1: “refunded”")


def test_actions_are_attributed_to_you_and_others_by_name() -> None:
    entries = [
        entry("reprocess_requested", requested_by="usr_me"),
        *(
            entry("reprocess_requested", requested_by=by)
            for by in ("usr_other", "key_1", "usr_gone")
        ),
    ]

    names = {"usr_other": "jo_long_name@shop.example", "key_1": "deploys"}

    items = render(entries, viewer_id="usr_me", names=names)

    assert [item.text.detail for item in items] == [
        "By you.",
        "By jo_long_name@shop.example.",
        "By the key deploys.",
        "By a deleted account.",
    ]


def test_each_item_has_the_gap_to_the_previous_one() -> None:
    at = datetime(2026, 11, 23, 11, 44, 0, 250_000, tzinfo=UTC)
    later = [replace(entry(kind), at=at) for kind in ("deadline_passed", "incident_opened")]

    items = render([entry("receipt_accepted"), *later], viewer_id="", names={})

    assert [item.gap for item in items] == ["", "+30 min 5 s", ""]


def test_instant_of_an_entry_is_left_to_its_reader() -> None:
    """The page shows it in the reader's zone: tests/console/pages/test_dates.py."""
    assert render_entry(entry("deadline_passed", deadline_at=AT)).facts == (("Deadline", AT),)


@pytest.mark.parametrize(
    ("incident_state", "repair_state", "title"),
    [
        (None, RepairState.CALLING, "Waiting for the result"),
        (IncidentState.OPEN, RepairState.CALLING, "Waiting for an operator"),
        (IncidentState.REPAIRING, RepairState.CALLING, "Calling the repair endpoint"),
        (
            IncidentState.REPAIRING,
            RepairState.AWAITING_RESULT,
            "Waiting for the app to report success",
        ),
    ],
    ids=["waiting", "open", "calling", "awaiting result"],
)
def test_open_receipt_has_a_next_step(
    incident_state: IncidentState | None, repair_state: RepairState, title: str
) -> None:
    state, incident = ReceiptState.WAITING, None
    if incident_state is not None:
        state, incident = ReceiptState.INCIDENT, replace(INCIDENT, state=incident_state)

    step = next_step(state, incident, [repair(repair_state)])

    assert step is not None
    assert step.title == title


@pytest.mark.parametrize(
    ("states", "title", "is_now"),
    [
        (["started"], "Calling the repair endpoint", True),
        (["finished"], "Waiting for the next repair call", False),
        (["finished", "started"], "Calling the repair endpoint", True),
        (["finished", "finished"], "Waiting for the next repair call", False),
        (["of a later version"], "Calling the repair endpoint", True),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_repair_between_two_calls_is_not_shown_as_calling(
    states: list[str], title: str, is_now: bool
) -> None:
    repairing = replace(INCIDENT, state=IncidentState.REPAIRING)
    attempts = tuple(
        Attempt(number, AT, member_or_text(AttemptState, state), 503, 12, None)
        for number, state in enumerate(states, 1)
    )
    running = replace(repair(RepairState.CALLING), attempts=attempts)

    step = next_step(ReceiptState.INCIDENT, repairing, [running])
    stopped = next_step(ReceiptState.INCIDENT, repairing, [running], stopped_part="No worker.")

    assert step is not None
    assert (step.title, step.is_now) == (title, is_now)
    assert stopped is not None
    assert stopped.title == "The repair endpoint is not being called"


def test_step_of_another_repair_is_not_the_next_one() -> None:
    repairing = replace(INCIDENT, state=IncidentState.REPAIRING)
    ended = replace(repair(RepairState.AWAITING_RESULT), replay_id=ReplayId("rpl_other"))

    step = next_step(ReceiptState.INCIDENT, repairing, [ended])

    assert step is not None
    assert step.title == "Calling the repair endpoint"


@pytest.mark.parametrize("state", ["applied", "recovered", "closed"])
def test_ended_receipt_has_no_next_step(state: str) -> None:
    resolved = replace(INCIDENT, state=IncidentState.RESOLVED)
    incident = None if state == "applied" else resolved

    assert next_step(ReceiptState(state), incident, [repair(RepairState.SUCCEEDED)]) is None


@pytest.mark.parametrize(
    ("reason", "tone", "detail"),
    [
        ("refused", "bad", "To ops@shop.example. It was refused permanently."),
        ("timed_out", "bad", "To ops@shop.example. Every attempt failed for 24 hours."),
        (
            "address_removed",
            "quiet",
            "To ops@shop.example. The destination was removed from the project.",
        ),
        ("of a later version", "bad", "To ops@shop.example. Of a later version"),
    ],
)
def test_alert_without_further_retries_shows_the_reason(
    reason: str, tone: str, detail: str
) -> None:
    text = render_entry(
        entry(
            "alert_failed",
            alert_kind="incident_opened",
            final=True,
            destination="ops@shop.example",
            reason=reason,
            tries=3,
            error="SMTPDataError 550",
        )
    )

    assert ("About", "Incident opened") in text.facts
    assert (text.title, text.tone, text.detail) == ("Alert not delivered", tone, detail)
    assert ("Tries", "3") in text.facts
    assert ("Error", "SMTPDataError 550") in text.facts
