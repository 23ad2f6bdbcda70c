"""The facts of an alert for programs: what a webhook sends as `data`, and what a pager shows as
one alert. Pure.

The names are those of the REST API. There is no secret and no payload in it.
"""

from datetime import datetime

from domain.incidents import AlertKind
from domain.values.timestamps import to_iso, to_iso_or_none
from store.alerts.due import AlertDue, AlertFacts, SourceAlertFacts, UnclaimedFacts

Data = dict[str, object]


def alert_data(alert: AlertDue) -> Data:
    """The facts of an alert as JSON values. Without facts: its ids."""
    match alert.facts:
        case AlertFacts() as facts:
            return _of_incident(alert, facts)
        case SourceAlertFacts() as facts:
            return _of_source(facts)
        case UnclaimedFacts() as facts:
            return _of_results(facts)
        case None:
            return {"event_id": alert.event_id, "incident_id": alert.incident_id}


def dedup_key(alert: AlertDue) -> str:
    """What a pager shows as one alert: the group of an incident, or the incident itself.

    A notice about a destination is an alert of its own, which nothing resolves.
    """
    if alert.kind == AlertKind.DESTINATION_FAILING:
        return f"destination-{alert.about}"
    incident = alert.facts.incident if isinstance(alert.facts, AlertFacts) else None
    return getattr(incident, "group_id", None) or alert.incident_id


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


def _of_results(facts: UnclaimedFacts) -> Data:
    oldest_at: datetime | None = facts.unclaimed.oldest_at
    return {
        "project_id": facts.project_id,
        "results": facts.unclaimed.count,
        "oldest_at": to_iso_or_none(oldest_at),
        "is_over": facts.is_over,
        "destination": facts.failing,
    }
