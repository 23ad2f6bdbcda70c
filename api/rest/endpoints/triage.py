"""REST: the actions of people who look after incidents, and the deadline of a waiting receipt."""

from fastapi import Request

from api.auth.audit_actor import actor_of
from api.rest.dependencies import (
    OperationsParameter,
    Operator,
    json_body,
    json_body_or_none,
)
from api.rest.routing import route
from domain.errors import Code
from operations.responses.events import Event
from operations.responses.incidents import Incident
from operations.triage.actions import (
    AcknowledgeBody,
    AssignBody,
    CommentBody,
    DeadlineBody,
    ReopenBody,
    SnoozeBody,
)


@route(
    "POST",
    "/incidents/{incident_id}/acknowledge",
    "Acknowledge",
    Code.NOT_FOUND,
    Code.INCIDENT_RESOLVED,
    body=AcknowledgeBody,
    needs_body=False,
)
async def acknowledge(
    caller: Operator, operations: OperationsParameter, incident_id: str, request: Request
) -> Incident:
    """Record that somebody is investigating an incident. The body is optional.

    Without `until`, it ends after the project's `acknowledge_minutes`. If the incident is still
    open then, it is unacknowledged and its alerts are sent again. Scope `operate`.
    """
    body, actor = await json_body_or_none(request), actor_of(request, caller.key.id)
    return Incident.of(
        await operations.triage.acknowledge(caller.project.id, incident_id, body, actor=actor)
    )


@route(
    "DELETE",
    "/incidents/{incident_id}/acknowledge",
    "Take an acknowledgement back",
    Code.NOT_FOUND,
    Code.INCIDENT_RESOLVED,
)
async def unacknowledge(
    caller: Operator, operations: OperationsParameter, incident_id: str, request: Request
) -> Incident:
    """Nobody is investigating the incident any more. Nobody is alerted. Scope `operate`."""
    actor = actor_of(request, caller.key.id)
    return Incident.of(
        await operations.triage.unacknowledge(caller.project.id, incident_id, actor=actor)
    )


@route(
    "POST",
    "/incidents/{incident_id}/assign",
    "Assign",
    Code.NOT_FOUND,
    Code.INCIDENT_RESOLVED,
    body=AssignBody,
)
async def assign(
    caller: Operator, operations: OperationsParameter, incident_id: str, request: Request
) -> Incident:
    """Assign an incident to a member of the project, or to nobody.

    The assignee gets an e-mail. Scope `operate`.
    """
    body, actor = await json_body(request), actor_of(request, caller.key.id)
    return Incident.of(
        await operations.triage.assign(caller.project.id, incident_id, body, actor=actor)
    )


@route(
    "POST",
    "/incidents/{incident_id}/comments",
    "Comment",
    Code.NOT_FOUND,
    body=CommentBody,
)
async def comment(
    caller: Operator, operations: OperationsParameter, incident_id: str, request: Request
) -> Incident:
    """Add a comment to the timeline of an incident, resolved or not. Scope `operate`."""
    body, actor = await json_body(request), actor_of(request, caller.key.id)
    return Incident.of(
        await operations.triage.comment(caller.project.id, incident_id, body, actor=actor)
    )


@route(
    "POST",
    "/incidents/{incident_id}/snooze",
    "Snooze",
    Code.NOT_FOUND,
    Code.INCIDENT_RESOLVED,
    body=SnoozeBody,
)
async def snooze(
    caller: Operator, operations: OperationsParameter, incident_id: str, request: Request
) -> Incident:
    """Send no alerts about an incident until then, or until a repair fails.

    Then alerts are sent as for a new incident. Scope `operate`.
    """
    body, actor = await json_body(request), actor_of(request, caller.key.id)
    return Incident.of(
        await operations.triage.snooze(caller.project.id, incident_id, body, actor=actor)
    )


@route(
    "POST",
    "/incidents/{incident_id}/reopen",
    "Reopen",
    Code.NOT_FOUND,
    Code.NOT_CLOSED,
    body=ReopenBody,
)
async def reopen(
    caller: Operator, operations: OperationsParameter, incident_id: str, request: Request
) -> Incident:
    """Open an incident again that was resolved manually. Alerts are sent. Scope `operate`."""
    body, actor = await json_body(request), actor_of(request, caller.key.id)
    return Incident.of(
        await operations.triage.reopen(caller.project.id, incident_id, body, actor=actor)
    )


@route(
    "PATCH",
    "/events/{event_id}/deadline",
    "Move a deadline",
    Code.NOT_FOUND,
    Code.NOT_WAITING,
    body=DeadlineBody,
)
async def move_deadline(
    caller: Operator, operations: OperationsParameter, event_id: str, request: Request
) -> Event:
    """Move the deadline of a waiting receipt, at most 7 days ahead.

    `timeout_at` stays. Scope `operate`.
    """
    body, actor = await json_body(request), actor_of(request, caller.key.id)
    return Event.of(
        await operations.triage.move_deadline(caller.project.id, event_id, body, actor=actor)
    )


ROUTES = (acknowledge, unacknowledge, assign, comment, snooze, reopen, move_deadline)
