"""A group: the incidents of one cause that opened one soon after the other (contract, "Groups").

1. The cause is project, effect type, reason and error code. An incident joins the newest group of
   its cause if that group's last incident opened at most the project's `group_window_minutes`
   earlier. Otherwise it is the first incident of a new group.
2. A group is `open` while a further incident would join it and some of its incidents are
   unresolved, `quiet` when none would join any more, and `resolved` when all are resolved.
3. The amounts are those of all its incidents, for each currency.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from domain.ids import GroupId, ProjectId
from domain.incidents import Reason

DEFAULT_GROUP_WINDOW_MINUTES = 60.0
DEFAULT_ALERT_WINDOW_MINUTES = 5.0
# A week and a day.
LONGEST_GROUP_WINDOW_MINUTES = 10_080
LONGEST_ALERT_WINDOW_MINUTES = 1_440
LONGEST_MUTE = timedelta(days=365)


class GroupState(StrEnum):
    """Whether a group grows, no longer grows, or has ended."""

    OPEN = "open"
    QUIET = "quiet"
    RESOLVED = "resolved"


class Cause(NamedTuple):
    """What the incidents of a group have in common. `error_code` is empty for none."""

    project_id: ProjectId
    effect_type: str
    reason: str
    error_code: str


@dataclass(frozen=True, slots=True)
class GroupCounts:
    """The number of a group's incidents in each state."""

    open: int
    repairing: int
    resolved: int

    @property
    def unresolved(self) -> int:
        return self.open + self.repairing

    @property
    def total(self) -> int:
        return self.unresolved + self.resolved


@dataclass(frozen=True, slots=True)
class Group:
    """A stored group at the moment when it was read.

    `amounts` are sums in the minor unit, by currency. `muted_until` is None when it is not muted at
    that moment.
    """

    id: GroupId
    project_id: ProjectId
    livemode: bool
    state: GroupState
    effect_type: str
    reason: Reason | str
    error_code: str | None
    first_at: datetime
    last_at: datetime
    counts: GroupCounts
    amounts: Mapping[str, int]
    muted_until: datetime | None


def group_state(
    counts: GroupCounts, *, last_at: datetime, now: datetime, window: timedelta
) -> GroupState:
    """The state of a group at `now`. `window` is its project's group window."""
    if not counts.unresolved:
        return GroupState.RESOLVED
    return GroupState.OPEN if last_at >= now - window else GroupState.QUIET
