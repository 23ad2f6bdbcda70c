"""A leased alert, and its contents beside ids.

`store.alerts.claims` leases it, `store.alerts.facts` reads the contents, and
`store.alerts.delivery` records the outcome.
"""

from dataclasses import dataclass
from datetime import datetime

from domain.alerts import AlertDestination
from domain.groups.group import Group, GroupState
from domain.ids import EventId, IncidentId, ProjectId, ReplayId
from domain.incidents import AlertEnd, AlertKind, Incident, IncidentState, RepairCause
from domain.receipts import Receipt
from domain.repairing.bulk import BulkRepair
from domain.repairing.rules import Rule
from domain.sources.source import Gap, Source
from domain.wording.dates import UTC_DATES, ReaderDates
from store.overview.silence import SilenceFacts
from store.people.email_addresses import same_address
from store.receipts.early_results.unclaimed import Unclaimed
from store.receipts.rows.failures import RepairFailure


@dataclass(frozen=True, slots=True)
class AlertFacts:
    """The contents of an alert beside ids.

    `destinations` are those that the project has now. `cause` is that of the repair which the alert
    reports, `repair_failure` what is known of its failure; both are None if it reports none.
    `failing` names the destination that a notice is about. `has_unresolved_group`: an incident of
    its group is not resolved.
    """

    incident: Incident
    receipt: Receipt
    project_name: str
    destinations: tuple[AlertDestination, ...]
    cause: RepairCause | str | None
    failing: str | None
    repair_failure: RepairFailure | None = None
    has_unresolved_group: bool = False

    @property
    def is_over(self) -> bool:
        """Whether the incident has ended."""
        return self.incident.state is IncidentState.RESOLVED

    @property
    def is_muted(self) -> bool:
        """Whether its group is muted now."""
        return self.incident.muted


@dataclass(frozen=True, slots=True)
class SourceAlertFacts:
    """The same of an alert about a source.

    `gap` is the gap that it is about, None if it is about a problem or a silence. `is_over`: that
    has ended, or the source was removed.
    """

    source: Source
    livemode: bool
    project_name: str
    destinations: tuple[AlertDestination, ...]
    gap: Gap | None
    failing: str | None
    is_over: bool


@dataclass(frozen=True, slots=True)
class UnclaimedFacts:
    """The same of an alert about results that no receipt has claimed."""

    project_id: ProjectId
    livemode: bool
    project_name: str
    destinations: tuple[AlertDestination, ...]
    unclaimed: Unclaimed
    failing: str | None

    @property
    def is_over(self) -> bool:
        """Whether receipts claimed all of them meanwhile, or they are deleted."""
        return self.unclaimed.oldest_at is None


@dataclass(frozen=True, slots=True)
class GroupAlertFacts:
    """The same of an alert about several incidents of a group. `count` is their number."""

    group: Group
    count: int
    project_name: str
    destinations: tuple[AlertDestination, ...]
    failing: str | None

    @property
    def livemode(self) -> bool:
        """Whether the group is of a live project."""
        return self.group.livemode

    @property
    def is_over(self) -> bool:
        """Whether all incidents of the group are resolved."""
        return self.group.state is GroupState.RESOLVED

    @property
    def is_muted(self) -> bool:
        """Whether the group is muted now."""
        return self.group.muted_until is not None


@dataclass(frozen=True, slots=True)
class RepairingFacts:
    """The same of an alert about a bulk repair that ended, or a rule that disarmed itself."""

    subject: BulkRepair | Rule
    livemode: bool
    project_name: str
    destinations: tuple[AlertDestination, ...]
    failing: str | None

    @property
    def is_over(self) -> bool:
        """Whether somebody armed the rule again. A bulk repair does not change after its end."""
        return isinstance(self.subject, Rule) and self.subject.disarmed_at is None


AnyFacts = (
    AlertFacts | SourceAlertFacts | UnclaimedFacts | SilenceFacts | GroupAlertFacts | RepairingFacts
)


@dataclass(frozen=True, slots=True)
class AlertDue:
    """A leased alert. `tries` counts the failures so far.

    `kind` is an `AlertKind` and `channel` an `AlertChannel`, or the texts of a newer version.
    `destination` is the target, or the destination's id if the target is a secret. `replay_id` is
    the repair that it reports, `about` the digest of the destination that a notice is about, the
    beginning of an episode of a source or of a project's silence, the day of unclaimed results, an
    assignment, the instant of an acknowledgement, the round of alerts of an incident that is
    alerted again, or an instant and the number of a group's incidents; None for other kinds.
    `facts` is None when they were not read or are unreadable: the alert then has ids only.
    `created_at` is when it became due. `dates` is how its reader sees times: the user whose address
    a mail goes to, else nobody, who gets UTC.
    """

    alert_id: int
    kind: str
    channel: str
    destination: str
    event_id: EventId
    incident_id: IncidentId
    replay_id: ReplayId | None
    about: str | None
    tries: int
    failing_since: datetime | None
    facts: AnyFacts | None = None
    project_id: str = ""
    created_at: datetime | None = None
    dates: ReaderDates = UTC_DATES

    @property
    def listed(self) -> AlertDestination | None:
        """The destination as the project has it now; None if it was removed, or without facts."""
        listed = () if self.facts is None else self.facts.destinations
        is_it = (
            one
            for one in listed
            if self.channel == one.channel and same_address(self.destination, one.name)
        )
        return next(is_it, None)

    @property
    def unwanted(self) -> AlertEnd | None:
        """Why the project does not want it at the destination any more, as far as is known.

        An assignment is wanted while the assignee is the same.
        """
        if self.facts is None:
            return None
        if self.kind == AlertKind.INCIDENT_ASSIGNED and isinstance(self.facts, AlertFacts):
            is_same = same_address(self.destination, self.facts.incident.assignee or "")
            return None if is_same else AlertEnd.ADDRESS_REMOVED
        if (listed := self.listed) is None:
            return AlertEnd.ADDRESS_REMOVED
        return None if listed.disabled_at is None else AlertEnd.DESTINATION_DISABLED
