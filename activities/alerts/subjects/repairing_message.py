"""Writes an alert about a bulk repair that ended, or a rule that disarmed itself.

Pure, as `activities.alerts.message`. Called by `activities.alerts.delivery`.
"""

from datetime import datetime

from activities.alerts.channels import AlertMessage, FactLines
from activities.alerts.incident_texts import (
    DESTINATION_TITLE,
    SUMMARY_CHARACTERS,
    Wording,
    with_values,
)
from activities.alerts.message import compose_message
from domain.incidents import AlertKind
from domain.repairing.bulk import BulkRepair, BulkState
from domain.repairing.rules import Rule
from domain.values.text import one_line
from store.alerts.due import AlertDue, RepairingFacts

_RED, _ORANGE, _GREEN = "#b91c1c", "#c2410c", "#15803d"


def write_repairing_message(
    alert: AlertDue, facts: RepairingFacts, *, at: datetime, public_url: str
) -> AlertMessage:
    """The message of an alert about a bulk repair or a rule, sent at `at`."""
    wording = _wording(alert, facts)
    mode = "live" if facts.livemode else "test"
    marked = "" if facts.livemode else "[test] "
    summary = f"{marked}{wording.title}: {_name(facts)}"
    return compose_message(
        alert,
        wording,
        at=at,
        public_url=public_url,
        summary=one_line(summary, longest=SUMMARY_CHARACTERS),
        facts=_facts(facts),
        project=f"{one_line(facts.project_name)} ({mode})",
    )


def _wording(alert: AlertDue, facts: RepairingFacts) -> Wording:
    is_rule = isinstance(facts.subject, Rule)
    label = "Open the rules" if is_rule else "Open the bulk repair"
    if alert.kind == AlertKind.DESTINATION_FAILING:
        place = one_line(facts.failing or "a destination")
        what = "rule" if is_rule else "bulk repair"
        sentence = (
            f"The alert about this {what} did not reach {place}."
            " Check the destination on the project's page."
        )
        return Wording(DESTINATION_TITLE, sentence, label, _RED)
    if isinstance(facts.subject, Rule):
        return _rule_wording(facts.subject, label)
    return _bulk_wording(facts.subject, label)


def _rule_wording(rule: Rule, label: str) -> Wording:
    if rule.disarmed_at is None:
        sentence = "The rule had disarmed itself, and somebody armed it again."
        return Wording("Rule armed again", sentence, label, _GREEN)
    sentence = (
        f"{rule.failures} of its repairs failed in a row, so the rule repairs nothing any more."
        " Fix the cause, then arm it again."
    )
    return Wording("Rule disarmed", sentence, label, _RED)


def _bulk_wording(bulk: BulkRepair, label: str) -> Wording:
    match bulk.state:
        case BulkState.STOPPED:
            because = bulk.stopped_because or "Too many repairs failed."
            sentence = f"The bulk repair stopped itself. {because} What it began runs on."
            return Wording("Bulk repair stopped", sentence, label, _RED)
        case BulkState.ABORTED:
            sentence = "Somebody aborted the bulk repair. What it began runs on."
            return Wording("Bulk repair aborted", sentence, label, _ORANGE)
        case _:
            sentence = "Each incident of the bulk repair is decided or was skipped."
            color = _GREEN if bulk.counts.failed == 0 else _ORANGE
            return Wording("Bulk repair finished", sentence, label, color)


def _name(facts: RepairingFacts) -> str:
    subject = facts.subject
    return subject.spec.name if isinstance(subject, Rule) else subject.reason


def _facts(facts: RepairingFacts) -> FactLines:
    """The facts of the message, without those that have no value."""
    subject = facts.subject
    lines: tuple[tuple[str, str], ...]
    if isinstance(subject, Rule):
        lines = (
            ("Rule", subject.spec.name),
            ("Failures in a row", str(subject.failures)),
            ("Disarmed after", str(subject.spec.disarm_after_failures)),
            ("Not reached", facts.failing or ""),
            ("Rule ID", subject.id),
        )
    else:
        counts = subject.counts
        lines = (
            ("Reason", subject.reason),
            ("Succeeded", f"{counts.succeeded:,}"),
            ("Failed", f"{counts.failed:,}"),
            ("Skipped", f"{counts.skipped:,}"),
            ("Still repairing", f"{counts.repairing:,}" if counts.repairing else ""),
            ("Not begun", f"{counts.waiting:,}" if counts.waiting else ""),
            ("Not reached", facts.failing or ""),
            ("Bulk repair ID", subject.id),
        )
    return with_values(lines)
