"""Maps rows to domain values, with one function for each domain type. Rows never leave `store`.

A row is a SQLAlchemy row with the column names of `tables.py`. It may have further columns.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Row

from domain.alerts import AlertDestination
from domain.audit import AuditEntry
from domain.ids import (
    DestinationId,
    EventId,
    IncidentId,
    KeyId,
    ProjectId,
    ReplayId,
    ResultId,
    UserId,
)
from domain.incidents import (
    TIMELINE_INSTANTS,
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
from domain.projects import Key, Project, Scope
from domain.receipts import EffectType, EventType, Flag, Provider, Receipt, ReceiptState
from domain.results import LateResult, Result, ResultFacts, ResultStatus
from domain.users import User
from domain.values.text import well_formed
from store.schema.tables import RECEIPTS

# Without `payload`, which has up to 32 KiB and is not needed in a list.
RECEIPT_COLUMNS = tuple(column for column in RECEIPTS.c if column.name != "payload")


def project_from(row: Row[Any], alert_destinations: Sequence[AlertDestination]) -> Project:
    return Project(
        id=ProjectId(row.id),
        name=row.name,
        livemode=row.mode == "live",
        repair_url=row.repair_url,
        repair_url_gone=row.repair_url_gone,
        timeout_minutes=row.timeout_minutes,
        late_result=LateResult(row.late_result),
        snapshots=row.snapshots,
        alert_destinations=tuple(alert_destinations),
        is_suspended=row.suspended_at is not None,
        created_at=row.created_at,
    )


def destination_from(row: Row[Any]) -> AlertDestination:
    return AlertDestination(
        id=DestinationId(row.id),
        channel=row.channel,
        target=row.target,
        events=None if row.events is None else frozenset(row.events.split()),
    )


def key_from(row: Row[Any]) -> Key:
    return Key(
        id=KeyId(row.id),
        project_id=ProjectId(row.project_id),
        label=row.label,
        hint=row.hint,
        scopes=frozenset(Scope(scope) for scope in row.scopes.split()),
        created_at=row.created_at,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
        last_used_at=row.last_used_at,
    )


def user_from(row: Row[Any]) -> User:
    return User(user_id=UserId(row.id), email=row.email, has_password=row.password_hash is not None)


def receipt_from(row: Row[Any]) -> Receipt:
    return Receipt(
        event_id=EventId(row.event_id),
        project_id=ProjectId(row.project_id),
        livemode=row.livemode,
        state=ReceiptState(row.state),
        provider=Provider(row.provider),
        provider_event_id=row.provider_event_id,
        stripe_event_id=row.stripe_event_id,
        event_type=EventType(row.event_type),
        effect_type=EffectType(row.effect_type),
        internal_reference=row.internal_reference,
        shopify_shop_domain=row.shopify_shop_domain,
        occurred_at=row.occurred_at,
        accepted_at=row.accepted_at,
        timeout_at=row.timeout_at,
        deadline_at=row.deadline_at,
        flags=tuple(Flag(flag) for flag in row.flags.split()),
        request_id=row.request_id,
    )


def incident_from(row: Row[Any], *, active_replay_id: str | None) -> Incident:
    return Incident(
        id=IncidentId(row.id),
        event_id=EventId(row.event_id),
        project_id=ProjectId(row.project_id),
        state=IncidentState(row.state),
        reason=Reason(row.reason),
        error_code=row.error_code,
        error_message=row.error_message,
        opened_at=row.opened_at,
        acknowledged_at=row.acknowledged_at,
        resolved_at=row.resolved_at,
        resolution=None if row.resolution is None else Resolution(row.resolution),
        active_replay_id=None if active_replay_id is None else ReplayId(active_replay_id),
        resolving_replay_id=None
        if row.resolving_replay_id is None
        else ReplayId(row.resolving_replay_id),
    )


def repair_from(row: Row[Any], *, attempts: Sequence[Attempt]) -> Repair:
    return Repair(
        replay_id=ReplayId(row.replay_id),
        incident_id=IncidentId(row.incident_id),
        event_id=EventId(row.event_id),
        state=RepairState(row.state),
        cause=None if row.cause is None else RepairCause(row.cause),
        requested_by=row.requested_by,
        requested_at=row.requested_at,
        result_deadline_at=row.result_deadline_at,
        attempts=tuple(attempts),
    )


def attempt_from(row: Row[Any]) -> Attempt:
    return Attempt(
        number=row.number,
        at=row.at,
        state=AttemptState(row.state),
        status=row.status,
        duration_ms=row.duration_ms,
        error_class=row.error_class,
    )


def result_from(row: Row[Any]) -> Result:
    said = ResultFacts(
        status=ResultStatus(row.status),
        replay_id=None if row.replay_id is None else ReplayId(row.replay_id),
        error_code=row.error_code,
        error_message=row.error_message,
    )
    return Result(
        id=ResultId(row.id),
        event_id=EventId(row.event_id),
        received_at=row.received_at,
        said=said,
        repeats=row.repeats,
        repeated_at=row.repeated_at,
    )


def timeline_entry_from(row: Row[Any]) -> TimelineEntry:
    fields = {name: _timeline_field(name, value) for name, value in json.loads(row.fields).items()}
    return TimelineEntry(at=row.at, kind=TimelineKind(row.kind), fields=fields)


def _timeline_field(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    if name in TIMELINE_INSTANTS:
        return datetime.fromisoformat(value)
    # JSON may contain lone surrogates, which cannot be encoded in a response.
    return well_formed(value, characters=len(value))


def audit_entry_from(row: Row[Any]) -> AuditEntry:
    return AuditEntry(
        sequence=row.sequence,
        at=row.at,
        actor=row.actor,
        address=row.address,
        request_id=row.request_id,
        action=row.action,
        subject_type=row.subject_type,
        subject_id=row.subject_id,
        project_id=None if row.project_id is None else ProjectId(row.project_id),
        details=row.details,
        previous_hash=row.previous_hash,
        hash=row.hash,
    )
