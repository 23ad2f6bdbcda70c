"""Where alerts go: the channels, and the destinations of a project.

The kinds of alerts, and why one ends unsent, are in `domain.incidents`. The senders are in
`activities.alerts`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum

from domain.ids import DestinationId

_ID = re.compile(r"dst_[0-9a-f]{32}")


class AlertChannel(StrEnum):
    """A way to send an alert. Each has one sender in `activities.alerts`."""

    EMAIL = "email"


@dataclass(frozen=True, slots=True)
class AlertDestination:
    """One place that a project's alerts go to.

    `channel` is an `AlertChannel`, or the text of a newer version. `target` is what the channel
    sends to, such as an address. None: it is a secret, and only the sender decrypts it. `events`
    are the kinds of alerts that it gets, as `AlertKind` spells them; None: all.
    """

    id: DestinationId
    channel: str
    target: str | None
    events: frozenset[str] | None = None

    @property
    def name(self) -> str:
        """How alerts and timelines name it: the target, or the id if the target is a secret."""
        return self.id if self.target is None else self.target


def is_destination_id(name: str) -> bool:
    """Whether an alert's destination is the id of one whose target is a secret."""
    return _ID.fullmatch(name) is not None
