"""Texts of timeline entries, and the next step of a receipt."""

from typing import Any

import pytest

from api.console.ui.timeline import next_step, render
from api.console.ui.timeline_entries import RENDERERS, render_entry
from domain.incidents import TimelineKind

AT = "2026-11-23T11:13:55.000Z"
REPLAY = "rpl_0193f1c2d3e47a8b9c0d1e2f3a4b5c6d"


def entry(kind: str, **fields: object) -> dict[str, object]:
    return {"at": AT, "kind": kind, **fields}


def event(
    state: str, incident_state: str | None = None, repair_state: str = "calling"
) -> dict[str, Any]:  # Any: JSON
    incident = incident_state and {"state": incident_state, "active_replay_id": REPLAY}
    return {
        "state": state,
        "incident": incident,
        "repairs": [{"replay_id": REPLAY, "state": repair_state}],
    }


def test_every_kind_of_entry_has_a_renderer() -> None:
    assert set(RENDERERS) == set(TimelineKind)


@pytest.mark.parametrize("kind", TimelineKind)
def test_entry_without_fields_is_rendered(kind: TimelineKind) -> None:
    assert render_entry(entry(kind)).title


def test_entry_of_an_unknown_kind_keeps_its_fields() -> None:
    text = render_entry(entry("customer_called", mood="calm"))

    assert (text.title, text.facts) == ("Customer called", (("Mood", "calm"),))


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


def test_actions_of_the_viewer_are_attributed_to_you() -> None:
    entries = [
        entry("reprocess_requested", requested_by="usr_me"),
        entry("reprocess_requested", requested_by="usr_other"),
    ]

    items = render(entries, viewer_id="usr_me")

    assert [item.text.detail for item in items] == ["By you.", "By usr_other."]


def test_each_item_has_the_gap_to_the_previous_one() -> None:
    later = {"at": "2026-11-23T11:44:00.250Z", "kind": "deadline_passed"}

    items = render(
        [entry("receipt_accepted"), later, {**later, "kind": "incident_opened"}], viewer_id=""
    )

    assert [item.gap for item in items] == ["", "+30 min 5 s", ""]


@pytest.mark.parametrize(
    ("shown", "title"),
    [
        (event("waiting"), "Waiting for the result"),
        (event("incident", "open"), "Waiting for an operator"),
        (event("incident", "repairing"), "Calling the repair endpoint"),
        (
            event("incident", "repairing", "awaiting_result"),
            "Waiting for the app to report success",
        ),
    ],
    ids=["waiting", "open", "calling", "awaiting result"],
)
def test_open_receipt_has_a_next_step(shown: dict[str, Any], title: str) -> None:
    step = next_step(shown)

    assert step is not None
    assert step.title == title


@pytest.mark.parametrize("state", ["applied", "recovered", "closed"])
def test_ended_receipt_has_no_next_step(state: str) -> None:
    assert next_step(event(state, None if state == "applied" else "resolved")) is None


@pytest.mark.parametrize(
    ("reason", "tone", "detail"),
    [
        ("refused", "bad", "To ops@shop.example. The mail server rejected it permanently."),
        ("timed_out", "bad", "To ops@shop.example. Every attempt failed for 24 hours."),
        (
            "address_removed",
            "quiet",
            "To ops@shop.example. The address was removed from the project.",
        ),
        ("of a later version", "bad", "To ops@shop.example. Of a later version"),
    ],
)
def test_alert_without_further_retries_shows_the_reason(
    reason: str, tone: str, detail: str
) -> None:
    entry = {
        "at": "2026-11-23T12:00:00.000Z",
        "kind": "alert_failed",
        "alert_kind": "incident_opened",
        "final": True,
    }

    text = render_entry(
        {
            **entry,
            "destination": "ops@shop.example",
            "reason": reason,
            "tries": 3,
            "error": "SMTPDataError 550",
        }
    )

    assert (text.title, text.tone, text.detail) == ("Alert not delivered", tone, detail)
    assert ("Tries", "3") in text.facts
    assert ("Error", "SMTPDataError 550") in text.facts
