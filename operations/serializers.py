"""Domain values as the contract's JSON. One function per noun; each is the only place that spells that noun's fields.

Rows of lists are the same objects without `timeline` and `repairs`. Shared by REST, console and command line.
"""

import json

from domain.audit import AuditEntry
from domain.incidents import Attempt, Incident, Repair, TimelineEntry
from domain.projects import CreatedProject, Key, Project
from domain.receipts import Receipt
from domain.values.timestamps import to_iso, to_iso_or_none
from operations.validation import Json


def event_view(receipt: Receipt, incident: Incident | None) -> Json:
    """An event as a row of a list."""
    return {
        "event_id": receipt.event_id,
        "state": receipt.state.value,
        "livemode": receipt.livemode,
        "provider": receipt.provider.value,
        "provider_event_id": receipt.provider_event_id,
        "stripe_event_id": receipt.stripe_event_id,
        "event_type": receipt.event_type.value,
        "effect_type": receipt.effect_type.value,
        "internal_reference": receipt.internal_reference,
        "occurred_at": to_iso(receipt.occurred_at),
        "accepted_at": to_iso(receipt.accepted_at),
        "timeout_at": to_iso(receipt.timeout_at),
        "deadline_at": to_iso(receipt.deadline_at),
        "flags": [flag.value for flag in receipt.flags],
        "incident": None if incident is None else incident_view(incident),
    }


def full_event_view(
    receipt: Receipt,
    incident: Incident | None,
    repairs: tuple[Repair, ...],
    timeline: tuple[TimelineEntry, ...],
) -> Json:
    """An event with its newest repairs and the newest part of its timeline."""
    return {
        **event_view(receipt, incident),
        "repairs": [repair_view(repair) for repair in repairs],
        "timeline": [timeline_view(entry) for entry in timeline],
    }


def incident_view(incident: Incident) -> Json:
    return {
        "id": incident.id,
        "event_id": incident.event_id,
        "state": incident.state.value,
        "reason": incident.reason.value,
        "error_code": incident.error_code,
        "error_message": incident.error_message,
        "opened_at": to_iso(incident.opened_at),
        "acknowledged_at": to_iso_or_none(incident.acknowledged_at),
        "resolved_at": to_iso_or_none(incident.resolved_at),
        "resolution": None if incident.resolution is None else incident.resolution.value,
        "active_replay_id": incident.active_replay_id,
    }


def repair_view(repair: Repair) -> Json:
    return {
        "replay_id": repair.replay_id,
        "state": repair.state.value,
        "cause": None if repair.cause is None else repair.cause.value,
        "requested_by": repair.requested_by,
        "requested_at": to_iso(repair.requested_at),
        "attempts": [attempt_view(attempt) for attempt in repair.attempts],
    }


def attempt_view(attempt: Attempt) -> Json:
    return {
        "number": attempt.number,
        "at": to_iso(attempt.at),
        "status": attempt.status,
        "duration_ms": attempt.duration_ms,
        "error_class": attempt.error_class,
    }


def timeline_view(entry: TimelineEntry) -> Json:
    return {"at": to_iso(entry.at), "kind": entry.kind.value, **entry.fields}


def project_view(project: Project) -> Json:
    """A project; its secrets are never among its fields."""
    return {
        "project_id": project.id,
        "name": project.name,
        "mode": "live" if project.livemode else "test",
        "livemode": project.livemode,
        "repair_url": project.repair_url,
        "repair_url_gone": project.repair_url_gone,
        "timeout_minutes": whole_if_whole(project.timeout_minutes),
        "late_result": project.late_result.value,
        "snapshots": project.snapshots,
        "alert_emails": list(project.alert_emails),
        "suspended": project.is_suspended,
        "created_at": to_iso(project.created_at),
    }


def created_project_view(created: CreatedProject) -> Json:
    """A new project with its key and signing secret, this once."""
    shown = {"api_key": created.api_key, "signing_secret": created.signing_secret}
    return {**project_view(created.project), "key_id": created.key.id, **shown}


def key_view(key: Key) -> Json:
    """A key by its hint; never its text."""
    return {
        "key_id": key.id,
        "label": key.label,
        "hint": key.hint,
        "scopes": sorted(scope.value for scope in key.scopes),
        "created_at": to_iso(key.created_at),
        "expires_at": to_iso_or_none(key.expires_at),
        "revoked_at": to_iso_or_none(key.revoked_at),
        "last_used_at": to_iso_or_none(key.last_used_at),
    }


def audit_view(entry: AuditEntry) -> Json:
    """An entry of the audit log, known by its hash; its place among those of other projects is not told."""
    return {
        "hash": entry.hash,
        "at": to_iso(entry.at),
        "actor": entry.actor,
        "address": entry.address,
        "request_id": entry.request_id,
        "action": entry.action,
        "subject_type": entry.subject_type,
        "subject_id": entry.subject_id,
        "project_id": entry.project_id,
        "details": _details(entry.details),
    }


def whole_if_whole(number: float) -> float | int:
    """30 rather than 30.0, as JSON readers expect of minutes."""
    return int(number) if number.is_integer() else number


def _details(text: str) -> Json:
    """The object that was written; what somebody put in its place in the store is told as text."""
    try:
        details = json.loads(text)
    except ValueError:
        details = None
    return details if isinstance(details, dict) else {"text": text}
