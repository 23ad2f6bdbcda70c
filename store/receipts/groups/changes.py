"""What a transaction changes in groups, gathered so that it is applied last and in one order.

`store.receipts.transitions` adds the changes. A transaction of one receipt applies them at once
(`store.receipts.groups.apply`), a batch at its end: a batch of 200 failures with one cause changes
one group once.

Order of locks: a transaction locks its receipts first, then groups. Groups are locked in the order
of their causes; of one cause stored groups by id, then the one that takes more. After a group no
receipt is locked, and of a group its row comes before its windows and amounts.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from domain.groups.group import Cause
from domain.ids import EventId, GroupId, IncidentId, ProjectId
from domain.incidents import AlertKind, IncidentState

Amount = tuple[int | None, str | None]  # in the minor unit, and its currency


@dataclass(frozen=True, slots=True)
class GroupWindows:
    """A project's windows: how long a group takes more, and how long its alerts are gathered."""

    group: timedelta
    alerts: timedelta


NO_WINDOWS = GroupWindows(timedelta(0), timedelta(0))


@dataclass(frozen=True, slots=True)
class OpenedIncident:
    """An incident that this transaction opens."""

    incident_id: IncidentId
    event_id: EventId
    cause: Cause
    amount: Amount


@dataclass(frozen=True, slots=True)
class MovedIncident:
    """An incident that changes its state or is alerted again, and the alert that this causes.

    `group_id` is None for an incident of this transaction, and for one without a group. `about` is
    the `replay_id` of a failed repair, or the `round_name` of an incident that is alerted again.
    """

    incident_id: IncidentId
    event_id: EventId
    cause: Cause
    group_id: GroupId | None
    before: IncidentState
    after: IncidentState
    alert: AlertKind | None = None
    about: str = ""


@dataclass(frozen=True, slots=True)
class ChangedAmount:
    """A stored incident that gets the amount of its late receipt."""

    cause: Cause
    group_id: GroupId
    before: Amount
    after: Amount


@dataclass(slots=True)
class GroupChanges:
    """The changes of one transaction, in the order in which they happened."""

    opened: list[OpenedIncident] = field(default_factory=list)
    moved: list[MovedIncident] = field(default_factory=list)
    amounts: list[ChangedAmount] = field(default_factory=list)
    windows: dict[ProjectId, GroupWindows] = field(default_factory=dict)

    def causes(self) -> Sequence[Cause]:
        """The causes that change, in the order in which their groups are locked."""
        opened = {one.cause for one in self.opened}
        moved = {one.cause for one in self.moved}
        return sorted(opened | moved | {one.cause for one in self.amounts})

    def of(self, cause: Cause) -> "GroupChanges":
        """The changes of one cause."""
        return GroupChanges(
            [one for one in self.opened if one.cause == cause],
            [one for one in self.moved if one.cause == cause],
            [one for one in self.amounts if one.cause == cause],
            self.windows,
        )
