"""Texts of timeline entries about what operators do with an incident or a deadline. Pure."""

from collections.abc import Callable, Mapping

from api.console.ui.timeline.text import Fields, TimelineText, actor_text, facts_of
from domain.incidents import TimelineKind


def _acknowledged(fields: Fields) -> TimelineText:
    detail = actor_text(fields) or "Someone is investigating."
    until = facts_of(fields, "acknowledged_until")
    return TimelineText("eye", "quiet", "Incident acknowledged", detail, until)


def _unacknowledged(fields: Fields) -> TimelineText:
    if fields.get("requested_by"):
        return TimelineText("eye", "quiet", "Acknowledgement removed", actor_text(fields))
    detail = "Its time is over, and the incident is not resolved."
    return TimelineText("eye", "wait", "Acknowledgement ended", detail)


def _assigned(fields: Fields) -> TimelineText:
    assignee = fields.get("assignee")
    title = f"Assigned to {assignee}" if assignee else "Assignee removed"
    return TimelineText("hand", "quiet", title, actor_text(fields))


def _commented(fields: Fields) -> TimelineText:
    by = fields.get("requested_by")
    title = f"Comment by {by}" if by else "Comment"
    return TimelineText("note", "quiet", title, str(fields.get("text") or ""))


def _snoozed(fields: Fields) -> TimelineText:
    until = facts_of(fields, "snoozed_until")
    return TimelineText("clock", "quiet", "Alerts snoozed", actor_text(fields), until)


def _snooze_ended(fields: Fields) -> TimelineText:
    if fields.get("replay_id"):
        detail = "A repair failed, so alerts are sent again."
        return TimelineText("clock", "wait", "Snooze ended", detail, facts_of(fields, "replay_id"))
    return TimelineText("clock", "wait", "Snooze ended", "Alerts are sent again.")


def _reopened(fields: Fields) -> TimelineText:
    by, reason = fields.get("requested_by"), fields.get("reason")
    who, why = f" by {by}" if by else "", f": “{reason}”" if reason else "."
    return TimelineText("alert", "bad", "Incident reopened", f"Reopened{who}{why}")


def _deadline_moved(fields: Fields) -> TimelineText:
    moved = facts_of(fields, "deadline_at", "moved_from")
    return TimelineText("clock", "quiet", "Deadline moved", actor_text(fields), moved)


TRIAGE_RENDERERS: Mapping[str, Callable[[Fields], TimelineText]] = {
    TimelineKind.INCIDENT_ACKNOWLEDGED: _acknowledged,
    TimelineKind.INCIDENT_UNACKNOWLEDGED: _unacknowledged,
    TimelineKind.INCIDENT_ASSIGNED: _assigned,
    TimelineKind.INCIDENT_COMMENTED: _commented,
    TimelineKind.INCIDENT_SNOOZED: _snoozed,
    TimelineKind.SNOOZE_ENDED: _snooze_ended,
    TimelineKind.INCIDENT_REOPENED: _reopened,
    TimelineKind.DEADLINE_MOVED: _deadline_moved,
}
