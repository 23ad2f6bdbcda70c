"""The JSON of incidents, and of their repairs with the attempts."""

from typing import Self

from pydantic import Field

from domain import incidents
from domain.incidents import IncidentState, Reason, RepairCause, RepairState, Resolution
from operations.responses.base import (
    At,
    EventIdText,
    GroupIdText,
    IncidentIdText,
    OrNewer,
    ReplayIdText,
    Response,
)
from store.db.paging import Page
from store.receipts.queries import IncidentRow


class Incident(Response):
    """A payment event whose business effect failed or is overdue."""

    id: IncidentIdText
    event_id: EventIdText
    state: OrNewer[IncidentState]
    reason: OrNewer[Reason]
    error_code: str | None
    error_message: str | None
    opened_at: At
    acknowledged_at: At | None
    resolved_at: At | None
    resolution: OrNewer[Resolution] | None
    active_replay_id: ReplayIdText | None
    amount: int | None
    currency: str | None
    customer_reference: str | None
    assignee: str | None = Field(description="The e-mail address of the member.")
    acknowledged_by: str | None = Field(
        description="The e-mail address of the user, or the label of the API key."
    )
    acknowledged_until: At | None
    snoozed_until: At | None
    superseded_by: EventIdText | None = Field(
        description="The later event of the same reference that makes a repair doubtful."
    )
    group_id: GroupIdText | None
    muted: bool

    @classmethod
    def of(cls, incident: incidents.Incident) -> Self:
        return cls.from_value(incident)


class IncidentList(Response):
    """A page of incidents, newest first."""

    data: list[Incident]
    has_more: bool
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page[IncidentRow]) -> Self:
        return cls.from_value(
            page,
            data=[Incident.of(row.incident) for row in page.rows],
            has_more=page.next_cursor is not None,
        )


class Attempt(Response):
    """A signed call of the repair URL. `status` and `duration_ms` are null while it runs."""

    number: int
    at: At
    status: int | None
    duration_ms: int | None
    error_class: str | None

    @classmethod
    def of(cls, attempt: incidents.Attempt) -> Self:
        return cls.from_value(attempt)


class Repair(Response):
    """A repair, identified by its `replay_id`."""

    replay_id: ReplayIdText
    state: OrNewer[RepairState]
    cause: OrNewer[RepairCause] | None
    requested_by: str
    requested_at: At
    attempts: list[Attempt]

    @classmethod
    def of(cls, repair: incidents.Repair) -> Self:
        return cls.from_value(repair, attempts=[Attempt.of(one) for one in repair.attempts])


class RepairRequested(Response):
    """The running repair, which this call or an earlier one started."""

    replay_id: ReplayIdText
    incident_id: IncidentIdText
