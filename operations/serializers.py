"""Serializes domain values as the contract's JSON, for REST, the console and the command line.

There is one function per noun, and only it spells that noun's fields. Rows of lists are the same
objects without `timeline` and `repairs`.
"""

import json

from domain.audit import AuditEntry
from domain.incidents import Attempt, Incident, Repair, TimelineEntry
from domain.projects import CreatedProject, Key, Project
from domain.receipts import Receipt
from domain.users import Invitation, Member, OpenSession, User
from domain.values.timestamps import to_iso, to_iso_or_none
from operations.validation import Json


def event_view(receipt: Receipt, incident: Incident | None) -> Json:
    """An event without its repairs and timeline, as in a list."""
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
    """An event with its newest repairs and timeline entries."""
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
    """A project without its secrets."""
    return {
        "project_id": project.id,
        "name": project.name,
        "mode": "live" if project.livemode else "test",
        "livemode": project.livemode,
        "repair_url": project.repair_url,
        "repair_url_gone": project.repair_url_gone,
        "timeout_minutes": int_if_whole(project.timeout_minutes),
        "late_result": project.late_result.value,
        "snapshots": project.snapshots,
        "alert_emails": list(project.alert_emails),
        "suspended": project.is_suspended,
        "created_at": to_iso(project.created_at),
    }


def created_project_view(created: CreatedProject) -> Json:
    """A new project with its key and signing secret, which no later response contains."""
    return {
        **project_view(created.project),
        "key_id": created.key.id,
        "api_key": created.api_key,
        "signing_secret": created.signing_secret,
    }


def key_view(key: Key) -> Json:
    """A key without its text; `hint` identifies it."""
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
    """An entry of the audit log, identified by its hash.

    The entry's number is omitted, because it shows how much other projects do.
    """
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


def user_view(user: User) -> Json:
    return {"user_id": user.user_id, "email": user.email, "has_password": user.has_password}


def member_view(member: Member) -> Json:
    return {
        "user_id": member.user_id,
        "email": member.email,
        "role": member.role.value,
        "since": to_iso(member.since),
    }


def invitation_view(invitation: Invitation) -> Json:
    return {
        "id": invitation.id,
        "project_name": invitation.project_name,
        "email": invitation.email,
        "role": invitation.role.value,
        "expires_at": to_iso(invitation.expires_at),
    }


def session_view(session: OpenSession) -> Json:
    """A session of a user; `is_this` marks the one that makes the request."""
    return {
        "id": session.id,
        "created_at": to_iso(session.created_at),
        "seen_at": to_iso(session.seen_at),
        "address": session.address,
        "user_agent": session.user_agent,
        "is_this": session.is_this,
    }


def int_if_whole(number: float) -> float | int:
    """A whole number as an int, so that JSON has 30 instead of 30.0."""
    return int(number) if number.is_integer() else number


def _details(text: str) -> Json:
    """The JSON object that was written. If the row was tampered with, its text under `text`."""
    try:
        details = json.loads(text)
    except ValueError:
        details = None
    return details if isinstance(details, dict) else {"text": text}
