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


class IncidentLine(Incident):
    """An incident in an export, with the facts of its event and project."""

    project_id: str
    provider: str
    provider_event_id: str
    event_type: str
    effect_type: str
    internal_reference: str
    livemode: bool
    accepted_at: At | None
    deadline_at: At

    @classmethod
    def of_row(cls, row: IncidentRow) -> Self:
        receipt = row.receipt
        names = cls.model_fields.keys() - Incident.model_fields.keys()
        of_event = {name: getattr(receipt, name) for name in names}
        return cls.from_value(row.incident, **of_event)


class IncidentList(Response):
    """A page of incidents, in the order asked for."""

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
    """A signed call of the repair URL. `status` and `duration_ms` are null while it runs.

    `answer_excerpt` is the beginning of the endpoint's answer, at most 500 characters.
    `next_attempt_at` is when the next attempt is due, null when none follows.
    """

    number: int
    at: At
    status: int | None
    duration_ms: int | None
    error_class: str | None
    answer_excerpt: str | None
    next_attempt_at: At | None

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
    result_deadline_at: At | None = Field(
        description="When the app's result is due. Null until the callback is accepted."
    )
    attempts: list[Attempt]

    @classmethod
    def of(cls, repair: incidents.Repair) -> Self:
        return cls.from_value(repair, attempts=[Attempt.of(one) for one in repair.attempts])


class RepairRequested(Response):
    """The running repair, which this call or an earlier one started."""

    replay_id: ReplayIdText
    incident_id: IncidentIdText
