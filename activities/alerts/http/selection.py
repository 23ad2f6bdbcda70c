"""The facts of an alert that people in a chat need: what, who, how much, how long. Pure."""

from activities.alerts.channels import AlertMessage, FactLines
from domain.values.text import one_line

# As many as Slack shows in one block.
MOST_FACTS = 10
VALUE_CHARACTERS = 300
SENTENCE_CHARACTERS = 500
_ON_THE_PAGE = frozenset({"Provider ID", "Occurred", "Deadline", "Opened", "Resolved"})
_IDS = ("Event ID", "Incident ID", "Repair ID", "Source ID", "Project ID", "Group ID")


def chat_facts(message: AlertMessage) -> FactLines:
    """The facts that a chat message shows, each cut. The others are on the page of the link."""
    shown = [
        (name, one_line(value, longest=VALUE_CHARACTERS))
        for name, value in (*message.facts, *message.details)
        if value.strip() and name not in _ON_THE_PAGE and name not in _IDS
    ]
    return tuple(shown[:MOST_FACTS])


def ids(message: AlertMessage) -> tuple[str, ...]:
    """The ids of what the alert is about."""
    return tuple(value for name, value in (*message.facts, *message.details) if name in _IDS)


def project(message: AlertMessage) -> str:
    """The project's name and mode, cut."""
    return one_line(message.project, longest=VALUE_CHARACTERS) or "Makegood"
