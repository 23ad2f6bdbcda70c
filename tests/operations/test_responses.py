"""The JSON of each noun: names, their order, nulls and instants, written out in full.

A program that reads REST or `--json` relies on it.
"""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from domain.alerts import AlertChannel, AlertDestination
from domain.audit import GENESIS, AuditEntry
from domain.ids import (
    DestinationId,
    EventId,
    GroupId,
    IncidentId,
    KeyId,
    ProjectId,
    ReplayId,
    SourceId,
)
from domain.incidents import (
    Attempt,
    AttemptState,
    Incident,
    IncidentState,
    Reason,
    Repair,
    RepairCause,
    RepairState,
    Resolution,
    TimelineEntry,
    TimelineKind,
)
from domain.names import OwnNames
from domain.projects import CreatedProject, Key, Project, Scope
from domain.receipts import EffectType, EventType, Flag, Provider, Receipt, ReceiptState
from domain.results import LateResult
from domain.sources.events import SeenBy
from domain.sources.source import SourceKind
from operations.credentials.api_keys import CreatedKey
from operations.credentials.signing_secrets import CreatedSigningSecret
from operations.projects import DeletedProject
from operations.responses import audit, events, incidents, projects
from store.db.paging import Page
from store.receipts.queries import EventFull, EventRow, IncidentRow

AT = datetime(2026, 11, 23, 11, 13, 55, 123_456, tzinfo=UTC)
AT_TEXT = "2026-11-23T11:13:55.123Z"
LATER, LATER_TEXT = AT + timedelta(hours=1), "2026-11-23T12:13:55.123Z"
PROJECT_ID = ProjectId("prj_1")

INCIDENT = Incident(
    id=IncidentId("inc_1"),
    event_id=EventId("evt_1"),
    project_id=PROJECT_ID,
    state=IncidentState.RESOLVED,
    reason=Reason.FAILED_RESULT,
    error_code="no_seat",
    error_message="None left",
    opened_at=AT,
    acknowledged_at=None,
    resolved_at=LATER,
    resolution=Resolution.REPAIRED,
    active_replay_id=None,
    resolving_replay_id=ReplayId("rpl_1"),
    amount=4900,
    currency="EUR",
    customer_reference="customer 7",
    assignee="ada@shop.example",
    acknowledged_by="deploys",
    acknowledged_until=LATER,
    superseded_by=EventId("evt_2"),
    group_id=GroupId("grp_1"),
    muted=True,
)
INCIDENT_JSON = {
    "id": "inc_1",
    "event_id": "evt_1",
    "state": "resolved",
    "reason": "failed_result",
    "error_code": "no_seat",
    "error_message": "None left",
    "opened_at": AT_TEXT,
    "acknowledged_at": None,
    "resolved_at": LATER_TEXT,
    "resolution": "repaired",
    "active_replay_id": None,
    "amount": 4900,
    "currency": "EUR",
    "customer_reference": "customer 7",
    "assignee": "ada@shop.example",
    "acknowledged_by": "deploys",
    "acknowledged_until": LATER_TEXT,
    "snoozed_until": None,
    "superseded_by": "evt_2",
    "group_id": "grp_1",
    "muted": True,
}
RECEIPT = Receipt(
    event_id=EventId("evt_1"),
    project_id=PROJECT_ID,
    livemode=False,
    state=ReceiptState.RECOVERED,
    provider=Provider.SHOPIFY,
    provider_event_id="98d3",
    stripe_event_id=None,
    event_type=EventType.ORDERS_PAID,
    effect_type=EffectType.CREDIT_GRANT,
    internal_reference="order 1",
    shopify_shop_domain="shop.example",
    occurred_at=AT,
    accepted_at=AT,
    timeout_at=LATER,
    deadline_at=LATER,
    flags=(Flag.CONTRADICTION,),
    request_id="req_1",
    expected_at=None,
    source_id=None,
    listed_at=AT,
    amount=4900,
    currency="EUR",
    customer_reference="customer 7",
)
EVENT_JSON = {
    "event_id": "evt_1",
    "state": "recovered",
    "livemode": False,
    "provider": "shopify",
    "provider_event_id": "98d3",
    "stripe_event_id": None,
    "event_type": "orders/paid",
    "effect_type": "credit_grant",
    "internal_reference": "order 1",
    "customer_reference": "customer 7",
    "amount": 4900,
    "currency": "EUR",
    "effect_key": "shopify:98d3:credit_grant",
    "occurred_at": AT_TEXT,
    "expected_at": None,
    "accepted_at": AT_TEXT,
    "timeout_at": LATER_TEXT,
    "deadline_at": LATER_TEXT,
    "flags": ["contradiction"],
    "incident": INCIDENT_JSON,
}
REPAIR = Repair(
    replay_id=ReplayId("rpl_1"),
    incident_id=IncidentId("inc_1"),
    event_id=EventId("evt_1"),
    state=RepairState.FAILED,
    cause=RepairCause.EXHAUSTED,
    requested_by="usr_1",
    requested_at=AT,
    result_deadline_at=LATER,
    attempts=(Attempt(1, AT, AttemptState.FINISHED, 502, 31, None, "busy", LATER),),
)
PROJECT = Project(
    id=PROJECT_ID,
    name="shop",
    livemode=False,
    repair_url=None,
    repair_url_gone=False,
    timeout_minutes=30.0,
    late_result=LateResult.RESOLVE,
    snapshots=False,
    alert_destinations=(
        AlertDestination(DestinationId("dst_1"), AlertChannel.EMAIL, "ops@shop.example"),
    ),
    is_suspended=True,
    created_at=AT,
    providers=OwnNames(("paddle",), ("retired",)),
)
PROJECT_JSON = {
    "project_id": "prj_1",
    "name": "shop",
    "mode": "test",
    "livemode": False,
    "repair_url": None,
    "repair_url_gone": False,
    "timeout_minutes": 30,
    "late_result": "resolve",
    "early_results": "refuse",
    "snapshots": False,
    "acknowledge_minutes": 240,
    "silent_after_minutes": None,
    "silent_event_types": {},
    "alert_emails": ["ops@shop.example"],
    "providers": ["paddle"],
    "event_types": [],
    "effect_types": [],
    "group_window_minutes": 60,
    "alert_window_minutes": 5,
    "suspended": True,
    "created_at": AT_TEXT,
}
KEY = Key(
    id=KeyId("key_1"),
    project_id=PROJECT_ID,
    label="first key",
    hint="sk_test_…3f",
    scopes=frozenset({Scope.READ, Scope.INGEST}),
    created_at=AT,
    expires_at=LATER,
    revoked_at=None,
    last_used_at=None,
)
KEY_JSON = {
    "key_id": "key_1",
    "label": "first key",
    "hint": "sk_test_…3f",
    "scopes": ["ingest", "read"],
    "created_at": AT_TEXT,
    "expires_at": LATER_TEXT,
    "revoked_at": None,
    "last_used_at": None,
}
ENTRY = AuditEntry(
    sequence=7,
    at=AT,
    actor="usr_1",
    address="192.0.2.1",
    request_id=None,
    action="key_revoked",
    subject_type="key",
    subject_id="key_1",
    project_id=PROJECT_ID,
    details='{"by":"console","n":1}',
    previous_hash=GENESIS,
    hash="a" * 64,
)
ENTRY_JSON = {
    "hash": "a" * 64,
    "at": AT_TEXT,
    "actor": "usr_1",
    "address": "192.0.2.1",
    "request_id": None,
    "action": "key_revoked",
    "subject_type": "key",
    "subject_id": "key_1",
    "project_id": "prj_1",
    "details": {"by": "console", "n": 1},
}


def text(value: object) -> str:
    """The JSON text, which also compares the order of names and 30 with 30.0."""
    return json.dumps(value)


def test_incident_is_serialized() -> None:
    page = Page((IncidentRow(INCIDENT, RECEIPT),), "next")

    assert text(incidents.Incident.of(INCIDENT).to_json()) == text(INCIDENT_JSON)
    assert text(incidents.IncidentList.of(page).to_json()) == text(
        {"data": [INCIDENT_JSON], "has_more": True, "next_cursor": "next"}
    )


def test_event_is_serialized() -> None:
    page = Page((EventRow(RECEIPT, None),), None)

    assert text(events.Event.of(EventRow(RECEIPT, INCIDENT)).to_json()) == text(EVENT_JSON)
    assert text(events.EventList.of(page).to_json()) == text(
        {"data": [{**EVENT_JSON, "incident": None}], "has_more": False, "next_cursor": None}
    )


def test_full_event_has_its_repairs_timeline_and_sources() -> None:
    timeline = (TimelineEntry(AT, TimelineKind.NOTED, {"text": "moved"}),)
    saw = (
        SeenBy(SourceId("src_1"), "List", SourceKind.STRIPE_API, AT, LATER),
        SeenBy(SourceId("src_2"), "Newer", "paddle_api", AT, LATER),
    )
    full = EventFull(RECEIPT, INCIDENT, (REPAIR,), timeline, "older", saw)
    times = {"occurred_at": AT_TEXT, "seen_at": LATER_TEXT}
    attempt = {"number": 1, "at": AT_TEXT, "status": 502, "duration_ms": 31, "error_class": None}
    attempt |= {"answer_excerpt": "busy", "next_attempt_at": LATER_TEXT}
    repair = {
        "replay_id": "rpl_1",
        "state": "failed",
        "cause": "exhausted",
        "requested_by": "usr_1",
        "requested_at": AT_TEXT,
        "result_deadline_at": LATER_TEXT,
        "attempts": [attempt],
    }

    assert text(events.FullEvent.of(full).to_json()) == text(
        {
            **EVENT_JSON,
            "repairs": [repair],
            "timeline": [{"at": AT_TEXT, "kind": "noted", "text": "moved"}],
            "sources": [
                {"source_id": "src_1", "name": "List", "kind": "stripe_api", **times},
                {"source_id": "src_2", "name": "Newer", "kind": "paddle_api", **times},
            ],
        }
    )


def test_timeline_entry_has_its_fields_in_their_order_with_instants_as_text() -> None:
    fields = {"timeout_at": LATER, "request_id": "req_1", "value": None, "odd": "half \ud83d"}
    entry = TimelineEntry(AT, TimelineKind.RECEIPT_ACCEPTED, fields)

    page = events.TimelinePage.of(Page((entry,), None)).to_json()

    assert text(page["data"]) == text(
        [
            {
                "at": AT_TEXT,
                "kind": "receipt_accepted",
                "timeout_at": LATER_TEXT,
                "request_id": "req_1",
                "value": None,
                "odd": "half \ud83d",
            }
        ]
    )


def test_project_is_serialized() -> None:
    short = replace(PROJECT, livemode=True, timeout_minutes=0.5, is_suspended=False)
    changed = {"mode": "live", "livemode": True, "timeout_minutes": 0.5, "suspended": False}

    assert text(projects.Project.of(PROJECT).to_json()) == text(PROJECT_JSON)
    assert text(projects.Project.of(short).to_json()) == text(PROJECT_JSON | changed)
    assert text(projects.ProjectInRotation.of(PROJECT, LATER).to_json()) == text(
        {**PROJECT_JSON, "signature_overlap_ends_at": LATER_TEXT}
    )


def test_created_and_deleted_project_is_serialized() -> None:
    created = CreatedProject(PROJECT, KEY, api_key="sk_test_1", signing_secret="whsec_1")
    deleted = DeletedProject(PROJECT_ID, "shop", 2)

    assert text(projects.CreatedProject.of(created).to_json()) == text(
        {
            **PROJECT_JSON,
            "key_id": "key_1",
            "api_key": "sk_test_1",
            "signing_secret": "whsec_1",
        }
    )
    assert text(projects.Deletion.of(deleted).to_json()) == text(
        {"project_id": "prj_1", "name": "shop", "deleted": True, "receipts_ended": 2}
    )


def test_key_and_signing_secret_are_serialized() -> None:
    rotated = CreatedSigningSecret(PROJECT_ID, "whsec_2", LATER)

    assert text(projects.KeyList.of([KEY]).to_json()) == text({"data": [KEY_JSON]})
    assert text(projects.KeyWithText.of(CreatedKey(KEY, "sk_test_1")).to_json()) == text(
        {**KEY_JSON, "api_key": "sk_test_1"}
    )
    assert text(projects.SigningSecret.of(rotated).to_json()) == text(
        {"project_id": "prj_1", "signing_secret": "whsec_2", "overlap_ends_at": LATER_TEXT}
    )


def test_audit_entry_is_serialized_with_its_chain_only_for_the_whole_log() -> None:
    chained = {"sequence": 7, **ENTRY_JSON, "previous_hash": GENESIS}

    assert text(audit.AuditList.of(Page((ENTRY,), None)).to_json()) == text(
        {"data": [ENTRY_JSON], "has_more": False, "next_cursor": None}
    )
    assert audit.json_lines([ENTRY], with_chain=False).decode() == text(ENTRY_JSON) + "\n"
    assert audit.json_lines([ENTRY], with_chain=True).decode() == text(chained) + "\n"


def test_audit_entry_that_was_tampered_with_is_shown_as_it_is() -> None:
    shown = audit.AuditEntry.of(replace(ENTRY, details="{not JSON", hash="?")).to_json()

    assert (shown["details"], shown["hash"]) == ({"text": "{not JSON"}, "?")
