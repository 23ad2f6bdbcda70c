"""The response models of REST, for the OpenAPI document and as a check on each response.

`operations.serializers` creates the values.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.http.problems import PROBLEM_TYPES
from domain.audit import AuditAction, SubjectType
from domain.errors import Code
from domain.incidents import (
    IncidentState,
    Reason,
    RepairCause,
    RepairState,
    Resolution,
    TimelineKind,
)
from domain.receipts import EffectType, EventType, Flag, Provider, ReceiptState
from domain.results import LateResult

At = Annotated[
    str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-23T11:13:55.123Z"])
]
EventIdText = Annotated[str, Field(examples=["evt_019ab01c2d3e7f4a8b5c6d7e8f901234"])]
IncidentIdText = Annotated[str, Field(examples=["inc_019ab01c2d3e7f4a8b5c6d7e8f901234"])]
ReplayIdText = Annotated[str, Field(examples=["rpl_019ab01c2d3e7f4a8b5c6d7e8f901234"])]


class AcceptedReceipt(BaseModel):
    """The receipt is stored on disk."""

    accepted: Literal[True]
    event_id: EventIdText
    timeout_at: At


class AcceptedResult(BaseModel):
    """The result is stored on disk. `state` is the receipt's state after it."""

    accepted: Literal[True]
    event_id: EventIdText
    state: ReceiptState


class Incident(BaseModel):
    """A payment event whose business effect failed or is overdue."""

    id: IncidentIdText
    event_id: EventIdText
    state: IncidentState
    reason: Reason
    error_code: str | None
    error_message: str | None
    opened_at: At
    acknowledged_at: At | None
    resolved_at: At | None
    resolution: Resolution | None
    active_replay_id: ReplayIdText | None


class Attempt(BaseModel):
    """A signed call of the repair URL. `status` and `duration_ms` are null while it runs."""

    number: int
    at: At
    status: int | None
    duration_ms: int | None
    error_class: str | None


class Repair(BaseModel):
    """A repair, identified by its `replay_id`."""

    replay_id: ReplayIdText
    state: RepairState
    cause: RepairCause | None
    requested_by: str
    requested_at: At
    attempts: list[Attempt]


class TimelineEntry(BaseModel):
    """An entry of an event's history, with additional fields by `kind`."""

    model_config = ConfigDict(extra="allow")

    at: At
    kind: TimelineKind


class Event(BaseModel):
    """A receipt and its incident, as in a list."""

    event_id: EventIdText
    state: ReceiptState
    livemode: bool
    provider: Provider
    provider_event_id: str
    stripe_event_id: str | None
    event_type: EventType
    effect_type: EffectType
    internal_reference: str
    occurred_at: At
    accepted_at: At
    timeout_at: At
    deadline_at: At
    flags: list[Flag]
    incident: Incident | None


class FullEvent(Event):
    """A receipt with its newest 100 repairs and timeline entries, both oldest first.

    `GET /events/{event_id}/timeline` has the complete timeline.
    """

    repairs: list[Repair]
    timeline: list[TimelineEntry]


class TimelinePage(BaseModel):
    """A page of an event's timeline, newest first."""

    data: list[TimelineEntry]
    has_more: bool
    next_cursor: str | None


class EventList(BaseModel):
    """A page of events, newest first."""

    data: list[Event]
    has_more: bool
    next_cursor: str | None


class IncidentList(BaseModel):
    """A page of incidents, newest first."""

    data: list[Incident]
    has_more: bool
    next_cursor: str | None


class RepairRequested(BaseModel):
    """The running repair, which this call or an earlier one started."""

    replay_id: ReplayIdText
    incident_id: IncidentIdText


class Project(BaseModel):
    """A project's settings, without its secrets."""

    project_id: str
    name: str
    mode: Literal["test", "live"]
    livemode: bool
    repair_url: str | None
    repair_url_gone: bool
    timeout_minutes: int | float
    late_result: LateResult
    snapshots: bool
    alert_emails: list[str]
    suspended: bool
    created_at: At


class AuditEntry(BaseModel):
    """An action of a user, a key, the command line or Temporal's UI, identified by its hash."""

    hash: str = Field(pattern="^[0-9a-f]{64}$")
    at: At
    actor: str = Field(
        description="The id of a user or key, `cli:` and the system's user, or `temporal`."
    )
    address: str | None = Field(description="The address of the client.")
    request_id: str | None
    action: str = Field(examples=[AuditAction.KEY_REVOKED.value])
    subject_type: str | None = Field(
        description="The type of the object that was changed.", examples=[SubjectType.KEY.value]
    )
    subject_id: str | None
    project_id: str | None
    details: dict[str, Any]  # Any: JSON, by the action


class AuditList(BaseModel):
    """A page of the audit log, newest first."""

    data: list[AuditEntry]
    has_more: bool
    next_cursor: str | None


class FieldProblem(BaseModel):
    """An error in one field or parameter of a request."""

    pointer: str = Field(
        description="The JSON pointer (RFC 6901) of the field in the body, or of the parameter."
    )
    code: str
    message: str


class Problem(BaseModel):
    """The body of every error response (RFC 9457)."""

    type: str = Field(
        description="The URL of the page about the code.", json_schema_extra={"format": "uri"}
    )
    title: str
    status: int
    detail: str
    code: Code
    request_id: str
    retryable: bool = Field(description="Whether the same request may succeed later.")
    errors: list[FieldProblem] | None = Field(
        default=None, description="Present for `validation_error` only."
    )


# Any: FastAPI's annotation of `responses`.
def problem_responses(*codes: Code) -> dict[int | str, dict[str, Any]]:
    """The OpenAPI responses of an operation's refusals, by status."""
    by_status: dict[int | str, list[Code]] = {}
    for code in codes:
        by_status.setdefault(PROBLEM_TYPES[code].status, []).append(code)
    return {status: _problem_response(listed) for status, listed in by_status.items()}


def _problem_response(codes: list[Code]) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {
        "description": " ".join(f"`{code.value}`: {PROBLEM_TYPES[code].cause}" for code in codes),
        "content": {
            name: {"schema": schema} for name in ("application/problem+json", "application/json")
        },
    }
