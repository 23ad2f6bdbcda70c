"""Writes an alert in words and facts, for every channel.

Pure: the same alert always gives the same message except for its instant. Messages hold no secrets
and no payloads. Text from outside is reduced to one line. Called by `activities.alerts.delivery`.
"""

from dataclasses import replace
from datetime import datetime

from activities.alerts.channels import AlertMessage, FactLines
from activities.alerts.http.data import alert_data, closes, dedup_key, livemode_of
from activities.alerts.incident_texts import (
    DESTINATION_TITLE,
    SUMMARY_CHARACTERS,
    THREADED,
    Wording,
    incident_details,
    incident_facts,
    incident_line,
    incident_wording,
    thread_of,
    with_values,
)
from domain.ids import is_bulk_id, is_group_id, is_project_id, is_rule_id
from domain.incidents import AlertKind
from domain.sources.source import is_source_id
from domain.values.text import one_line
from store.alerts.due import AlertDue, AlertFacts, SourceAlertFacts, UnclaimedFacts
from store.overview.silence import SilenceFacts

_PLAIN_TITLES: dict[str, str] = {
    AlertKind.INCIDENT_OPENED: "Incident open",
    AlertKind.REPAIR_FAILED: "Repair failed",
    AlertKind.INCIDENT_RESOLVED: "Incident resolved",
    AlertKind.INCIDENT_ASSIGNED: "Incident assigned to you",
    AlertKind.GROUP_GREW: "More incidents of one cause",
    AlertKind.DESTINATION_FAILING: DESTINATION_TITLE,
    AlertKind.INCIDENT_ACKNOWLEDGED: "Incident acknowledged",
    AlertKind.SOURCE_SILENT: "A source needs attention",
    AlertKind.EARLY_RESULTS_UNCLAIMED: "Results without a receipt",
    AlertKind.BULK_REPAIR_ENDED: "Bulk repair ended",
    AlertKind.RULE_DISARMED: "Rule disarmed",
    AlertKind.PROJECT_SILENT: "No receipts",
}


def write_message(alert: AlertDue, *, at: datetime, public_url: str) -> AlertMessage:
    """The message of an alert, sent at `at`. An alert without facts gets the plain message."""
    if not isinstance(alert.facts, AlertFacts):
        return write_plain_message(alert, at=at, public_url=public_url)
    facts = alert.facts
    wording = incident_wording(alert, facts)
    return compose_message(
        alert,
        wording,
        at=at,
        public_url=public_url,
        summary=incident_line(facts, wording.title),
        facts=incident_facts(facts, alert.dates),
        details=incident_details(alert, facts),
        project=_project(facts.project_name, facts.receipt.livemode),
        thread=thread_of(alert.kind, facts),
    )


def write_plain_message(alert: AlertDue, *, at: datetime, public_url: str) -> AlertMessage:
    """The plain message: only ids, kind and link. Nothing in it comes from outside."""
    subject = _subject(alert)
    wording = Wording(
        title=_PLAIN_TITLES.get(alert.kind, "Incident update"),
        sentence=f"This alert could not be sent with its details. Open the {subject} to see them.",
        link_label=f"Open the {subject}",
        color="#c2410c",
    )
    is_of_event = subject == "event"
    ids = (
        (f"{subject.capitalize()} ID", alert.event_id),
        ("Incident ID", alert.incident_id if is_of_event else ""),
        ("Repair ID", alert.replay_id or ""),
    )
    return compose_message(
        alert,
        wording,
        at=at,
        public_url=public_url,
        summary=f"{wording.title}: {alert.event_id}",
        facts=with_values(ids),
        thread=f"Incident: {alert.event_id}" if alert.kind in THREADED else "",
    )


def compose_message(
    alert: AlertDue,
    wording: Wording,
    *,
    at: datetime,
    public_url: str,
    summary: str,
    facts: FactLines,
    details: FactLines = (),
    project: str = "",
    thread: str = "",
) -> AlertMessage:
    """The message with these texts. Without a `project` it is plain."""
    return AlertMessage(
        incident_id=alert.incident_id,
        event_id=alert.event_id,
        kind=alert.kind,
        subject_id=alert.replay_id or alert.about,
        destination=alert.destination,
        at=at,
        title=wording.title,
        summary=summary,
        sentence=wording.sentence,
        facts=facts,
        details=details,
        link=f"{public_url}/{_path(alert)}",
        link_label=wording.link_label,
        color=wording.color,
        project=project,
        is_plain=not project,
        thread=thread,
        dedup_key=dedup_key(alert),
        closes=closes(alert),
        data=alert_data(alert if project else replace(alert, facts=None)),
        livemode=livemode_of(alert),
        created_at=alert.created_at,
    )


def compose_named_message(
    alert: AlertDue,
    about: SourceAlertFacts | UnclaimedFacts | SilenceFacts,
    texts: tuple[str, str],
    *,
    name: str,
    link_label: str,
    lines: FactLines,
    at: datetime,
    public_url: str,
) -> AlertMessage:
    """The message about a source or a project, known by its `name`. `texts`: title and sentence.

    It is green once it is over. Lines without a value are left out.
    """
    title, sentence = texts
    color = "#15803d" if about.is_over else "#b91c1c"
    summary = f"{_mark(about.livemode)}{title}: {name}"
    return compose_message(
        alert,
        Wording(title, sentence, link_label=link_label, color=color),
        at=at,
        public_url=public_url,
        summary=one_line(summary, longest=SUMMARY_CHARACTERS),
        facts=with_values(lines),
        project=_project(about.project_name, about.livemode),
    )


def _subject(alert: AlertDue) -> str:
    """What the alert is about: an event, a source, a project, a group, a bulk repair or a rule."""
    if is_group_id(alert.incident_id):
        return "group"
    if is_source_id(alert.incident_id):
        return "source"
    if is_bulk_id(alert.incident_id):
        return "bulk repair"
    if is_rule_id(alert.incident_id):
        return "rule"
    return "project" if is_project_id(alert.incident_id) else "event"


def _path(alert: AlertDue) -> str:
    """The page of what the alert is about."""
    match _subject(alert):
        case "source":
            return f"projects/{alert.project_id}/sources/{alert.incident_id}"
        case "group":
            return f"groups/{alert.incident_id}"
        case "project":
            is_silence = alert.kind == AlertKind.PROJECT_SILENT
            return f"projects/{alert.incident_id}#{'silence' if is_silence else 'early-results'}"
        case "bulk repair":
            return f"bulk-repairs/{alert.incident_id}"
        case "rule":
            return f"projects/{alert.project_id}#repair-rules"
        case _:
            return f"events/{alert.event_id}"


def _mark(livemode: bool) -> str:
    return "" if livemode else "[test] "


def _project(name: str, livemode: bool) -> str:
    return f"{one_line(name)} ({'live' if livemode else 'test'})"
