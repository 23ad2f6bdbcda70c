"""Writes an alert about several incidents of one cause in words and facts, for every channel.

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
from domain.groups.group import Group
from domain.incidents import AlertKind
from domain.values.amounts import format_amount
from domain.values.text import one_line
from domain.wording.dates import ReaderDates
from domain.wording.harm import harm_title
from domain.wording.states import humanize, reason_label
from store.alerts.due import AlertDue, GroupAlertFacts

_ORANGE, _RED, _GREEN, _GREY = "#c2410c", "#b91c1c", "#15803d", "#6b7280"


def write_group_message(
    alert: AlertDue, facts: GroupAlertFacts, *, at: datetime, public_url: str
) -> AlertMessage:
    """The message of an alert about a group, sent at `at`."""
    wording = _wording(alert, facts)
    group = facts.group
    marked = "" if group.livemode else "[test] "
    cause = group.error_code or _lowered(reason_label(group.reason))
    summary = f"{marked}{wording.title}: {_lowered(_harm(group))} · {cause}"
    mode = "live" if group.livemode else "test"
    return compose_message(
        alert,
        wording,
        at=at,
        public_url=public_url,
        summary=one_line(summary, longest=SUMMARY_CHARACTERS),
        facts=_facts(facts, alert.dates),
        project=f"{one_line(facts.project_name)} ({mode})",
    )


def _wording(alert: AlertDue, facts: GroupAlertFacts) -> Wording:
    title, sentence, color = _texts(alert, facts)
    return Wording(title, sentence, link_label="Open the group", color=color)


def _texts(alert: AlertDue, facts: GroupAlertFacts) -> tuple[str, str, str]:
    """Title, sentence and color. Raises: LookupError for a kind of a newer version."""
    group, count = facts.group, facts.count
    match alert.kind:
        case AlertKind.GROUP_GREW:
            more = "1 more incident" if count == 1 else f"{count:,} more incidents"
            have = "has" if count == 1 else "have"
            sentence = f"{_harm(group)}: {more} of the same cause {have} opened."
            return (
                f"{more} of one cause",
                f"{sentence} {_cause(group)}. {_state(group)}",
                _ORANGE,
            )
        case AlertKind.REPAIR_FAILED:
            failed = "1 repair failed" if count == 1 else f"{count:,} repairs failed"
            return failed, f"{failed} in a group of incidents. {_state(group)}", _RED
        case AlertKind.INCIDENT_RESOLVED:
            these = "1 incident" if count == 1 else f"{count:,} incidents"
            are = "is" if count == 1 else "are"
            return (
                f"{these} resolved",
                f"{these} of one cause {are} resolved. {_state(group)}",
                (_ORANGE if group.counts.unresolved else _GREEN),
            )
        case AlertKind.DESTINATION_FAILING:
            place = one_line(facts.failing or "a destination")
            sentence = f"The alert about this group of incidents did not reach {place}."
            advice = "Check the destination on the project's page."
            return DESTINATION_TITLE, f"{sentence} {advice}", _RED
        case AlertKind.INCIDENT_OPENED:
            these = "1 incident" if count == 1 else f"{count:,} incidents"
            are = "is" if count == 1 else "are"
            why = "acknowledged or snoozed no longer, or reopened"
            return (
                f"{these} of one cause {are} still open",
                f"{these} of one cause {are} {why}. {_state(group)}",
                _ORANGE,
            )
        case AlertKind.INCIDENT_ACKNOWLEDGED:
            sentence = "Someone is investigating the incidents of the group."
            return "Incidents of one cause acknowledged", sentence, _GREY
        case _:
            raise LookupError("an unknown kind of alert, written by a newer version")


def _cause(group: Group) -> str:
    """The cause in words, as in `The app reported a failure (seat_limit_reached)`."""
    reason = reason_label(group.reason)
    return f"{reason} ({one_line(group.error_code)})" if group.error_code else reason


def _harm(group: Group) -> str:
    """What is missing, as in `Access not unlocked`. On one line: a type may be a project's own."""
    return one_line(harm_title(group.effect_type, group.reason))


def _lowered(text: str) -> str:
    return f"{text[:1].lower()}{text[1:]}"


def _state(group: Group) -> str:
    counts = group.counts
    if not counts.unresolved:
        return f"All {counts.total:,} incidents of the group are resolved."
    return f"{counts.unresolved:,} of the group's {counts.total:,} incidents are not resolved."


def _facts(facts: GroupAlertFacts, dates: ReaderDates) -> FactLines:
    """The facts of the message, without those that have no value."""
    group, counts = facts.group, facts.group.counts
    amounts = [format_amount(amount, currency) for currency, amount in group.amounts.items()]
    lines = (
        ("Effect", humanize(group.effect_type)),
        ("Reason", reason_label(group.reason)),
        ("Error", group.error_code or ""),
        ("Open", f"{counts.open:,}"),
        ("Repairing", f"{counts.repairing:,}" if counts.repairing else ""),
        ("Resolved", f"{counts.resolved:,}" if counts.resolved else ""),
        ("Amounts", ", ".join(amounts)),
        ("Not reached", facts.failing or ""),
        ("First", dates.beside_utc(group.first_at)),
        ("Last", dates.beside_utc(group.last_at)),
        ("Group ID", group.id),
    )
    return with_values(lines)
