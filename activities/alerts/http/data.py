"""The facts of an alert for programs: what a webhook sends as `data`, and what a pager shows as
one alert. Pure.

The names are those of the REST API. There is no secret and no payload in it.
"""

from dataclasses import asdict
from datetime import datetime

from domain.ids import is_group_id
from domain.incidents import AlertKind
from domain.repairing.rules import Rule
from domain.values.timestamps import to_iso, to_iso_or_none
from store.alerts.due import (
    AlertDue,
    AlertFacts,
    GroupAlertFacts,
    RepairingFacts,
    SourceAlertFacts,
    UnclaimedFacts,
)
from store.overview.silence import SilenceFacts

Data = dict[str, object]


def alert_data(alert: AlertDue) -> Data:
    """The facts of an alert as JSON values. Without facts: its ids."""
    match alert.facts:
        case AlertFacts() as facts:
            return _of_incident(alert, facts)
        case SourceAlertFacts() as facts:
            return _of_source(facts)
        case SilenceFacts() as facts:
            return _of_silence(facts)
        case UnclaimedFacts() as facts:
            return _of_results(facts)
        case GroupAlertFacts() as facts:
            return _of_group(facts)
        case RepairingFacts() as facts:
            return _of_repairing(facts)
        case None:
            return {"event_id": alert.event_id, "incident_id": alert.incident_id}


def dedup_key(alert: AlertDue) -> str:
    """What a pager shows as one alert: the group of an incident, or the incident itself.

    A notice about a destination is an alert of its own, which nothing resolves.
    """
    if alert.kind == AlertKind.DESTINATION_FAILING:
        return f"destination-{alert.about}"
    if alert.kind == AlertKind.PROJECT_SILENT:
        return f"silence-{alert.incident_id}-{alert.about}"
    incident = alert.facts.incident if isinstance(alert.facts, AlertFacts) else None
    return (incident and incident.group_id) or alert.incident_id


def closes(alert: AlertDue) -> bool:
    """Whether what a pager shows as one alert is over: its last incident is resolved.

    Without facts: an incident that is resolved.
    """
    if alert.kind != AlertKind.INCIDENT_RESOLVED:
        return False
    match alert.facts:
        case AlertFacts() as facts:
            return not facts.has_unresolved_group
        case GroupAlertFacts() as facts:
            return facts.is_over
        case _:
            return not is_group_id(alert.incident_id)


def livemode_of(alert: AlertDue) -> bool | None:
    """Whether the alert is about a live project; None without facts."""
    match alert.facts:
        case AlertFacts() as facts:
            return facts.receipt.livemode
        case None:
            return None
        case facts:
            return facts.livemode


def _of_incident(alert: AlertDue, facts: AlertFacts) -> Data:
    incident, receipt = facts.incident, facts.receipt
    repair = {"replay_id": alert.replay_id, "cause": facts.cause}
    return {
        "incident": {
            "id": incident.id,
            "event_id": incident.event_id,
            "group_id": incident.group_id,
            "state": incident.state,
            "reason": incident.reason,
            "error_code": incident.error_code,
            "error_message": incident.error_message,
            "opened_at": to_iso(incident.opened_at),
            "acknowledged_at": to_iso_or_none(incident.acknowledged_at),
            "resolved_at": to_iso_or_none(incident.resolved_at),
            "resolution": incident.resolution,
        },
        "event": {
            "event_id": receipt.event_id,
            "provider": receipt.provider,
            "provider_event_id": receipt.provider_event_id,
            "event_type": receipt.event_type,
            "effect_type": receipt.effect_type,
            "internal_reference": receipt.internal_reference,
            "customer_reference": receipt.customer_reference,
            "amount": receipt.amount,
            "currency": receipt.currency,
            "occurred_at": to_iso(receipt.occurred_at),
        },
        "repair": repair if alert.replay_id is not None else None,
        "destination": facts.failing,
    }


def _of_source(facts: SourceAlertFacts) -> Data:
    source, gap = facts.source, facts.gap
    span = None if gap is None else {"from_at": gap.from_at, "until_at": gap.until_at}
    return {
        "source": {
            "id": source.id,
            "kind": source.kind,
            "name": source.name,
            "state": source.state,
            "problem": source.problem,
            "problem_since": to_iso_or_none(source.problem_since),
            "silent_since": to_iso_or_none(source.silent_since),
            "last_event_at": to_iso_or_none(source.last_event_at),
        },
        "gap": None if span is None else {name: to_iso(at) for name, at in span.items()},
        "is_over": facts.is_over,
        "destination": facts.failing,
    }


def _of_group(facts: GroupAlertFacts) -> Data:
    group, counts = facts.group, facts.group.counts
    return {
        "group": {
            "id": group.id,
            "state": group.state,
            "effect_type": group.effect_type,
            "reason": group.reason,
            "error_code": group.error_code,
            "first_at": to_iso(group.first_at),
            "last_at": to_iso(group.last_at),
            "counts": {
                "open": counts.open,
                "repairing": counts.repairing,
                "resolved": counts.resolved,
            },
            "amounts": dict(group.amounts),
        },
        "incidents": facts.count,
        "destination": facts.failing,
    }


def _of_results(facts: UnclaimedFacts) -> Data:
    oldest_at: datetime | None = facts.unclaimed.oldest_at
    return {
        "project_id": facts.project_id,
        "results": facts.unclaimed.count,
        "oldest_at": to_iso_or_none(oldest_at),
        "is_over": facts.is_over,
        "destination": facts.failing,
    }


def _of_repairing(facts: RepairingFacts) -> Data:
    subject = facts.subject
    if isinstance(subject, Rule):
        rule = {
            "name": subject.spec.name,
            "failures": subject.failures,
            "disarm_after_failures": subject.spec.disarm_after_failures,
            "disarmed_at": to_iso_or_none(subject.disarmed_at),
        }
        return {"rule": rule, "is_over": facts.is_over, "destination": facts.failing}
    bulk_repair = {
        "bulk_id": subject.id,
        "state": subject.state,
        "reason": subject.reason,
        "requested_by": subject.requested_by,
        "stopped_because": subject.stopped_because,
        "counts": asdict(subject.counts),
        "created_at": to_iso(subject.created_at),
        "ended_at": to_iso_or_none(subject.ended_at),
    }
    return {"bulk_repair": bulk_repair, "destination": facts.failing}


def _of_silence(facts: SilenceFacts) -> Data:
    return {
        "project_id": facts.project_id,
        "event_type": facts.event_type or None,
        "silent_since": to_iso(facts.since),
        "has_receipts": facts.has_receipts,
        "silent_after_minutes": facts.minutes,
        "is_over": facts.is_over,
        "destination": None,
    }
