"""The handlers of the REST API for operators and programs, under `/api/v1`.

Each handler calls one operation of `operations.composition` and responds with a model of
`operations.responses`. Its first parameter is the caller, so that FastAPI checks the key before
everything else. The docstrings are the texts of the API reference.
"""

from typing import Annotated

from fastapi import Query, Request

from api.auth.audit_actor import actor_of
from api.rest.dependencies import Admin, OperationsParameter, Operator, Reader, json_body
from api.rest.parameters import (
    CreatedAfter,
    CreatedBefore,
    Cursor,
    Limit,
    ListQueryParameters,
)
from domain.audit import AuditAction
from domain.incidents import IncidentState
from domain.receipts import ReceiptState
from operations.events import refuse_live
from operations.lists import DEFAULT_LIMIT
from operations.responses.audit import AuditList
from operations.responses.events import Event, EventList, FullEvent, TimelinePage
from operations.responses.incidents import Incident, IncidentList, RepairRequested
from operations.responses.projects import Project
from operations.validation import Reference, ResolveBody, validated
from store.audit.log import AuditFilters


async def list_events(
    caller: Reader,
    operations: OperationsParameter,
    query: ListQueryParameters,
    state: Annotated[ReceiptState | None, Query()] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> EventList:
    """Events, newest first. Scope `read`."""
    filters = query.filters(caller.project.id, state)
    return EventList.of(await operations.events.list_events(filters, limit, cursor))


async def read_event(caller: Reader, operations: OperationsParameter, event_id: str) -> FullEvent:
    """An event with its incident, its newest repairs and timeline entries. Scope `read`."""
    return FullEvent.of(await operations.events.read_event(caller.project.id, event_id))


async def read_timeline(
    caller: Reader,
    operations: OperationsParameter,
    event_id: str,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> TimelinePage:
    """The timeline of an event, newest entry first. Scope `read`."""
    page = await operations.events.read_timeline(caller.project.id, event_id, limit, cursor)
    return TimelinePage.of(page)


async def expire(
    caller: Operator, operations: OperationsParameter, event_id: str, request: Request
) -> Event:
    """Set the deadline of a receipt to now. Test projects only. Scope `operate`."""
    # Refused before the look-up, which is the last check.
    refuse_live(caller.project.livemode)
    actor = actor_of(request, caller.key.id)
    return Event.of(await operations.events.expire(caller.project.id, event_id, actor=actor))


async def restart(
    caller: Operator, operations: OperationsParameter, event_id: str, request: Request
) -> Event:
    """Terminate a stuck workflow of a receipt and start it again.

    The new run continues from the stored state. Scope `operate`.
    """
    actor = actor_of(request, caller.key.id)
    return Event.of(await operations.runs.restart(caller.project.id, event_id, actor=actor))


async def list_incidents(
    caller: Reader,
    operations: OperationsParameter,
    query: ListQueryParameters,
    state: Annotated[IncidentState | None, Query()] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> IncidentList:
    """Incidents, newest first. Scope `read`."""
    filters = query.filters(caller.project.id, state)
    return IncidentList.of(await operations.incidents.list_incidents(filters, limit, cursor))


async def read_incident(
    caller: Reader, operations: OperationsParameter, incident_id: str
) -> Incident:
    """An incident. Scope `read`."""
    return Incident.of(await operations.incidents.read_incident(caller.project.id, incident_id))


async def reprocess(
    caller: Operator, operations: OperationsParameter, incident_id: str, request: Request
) -> RepairRequested:
    """Start a repair, which calls the repair URL.

    If a repair is already running, the response has its `replay_id` and no new repair starts.
    Scope `operate`.
    """
    actor = actor_of(request, caller.key.id)
    replay_id = await operations.incidents.reprocess(caller.project.id, incident_id, actor=actor)
    return RepairRequested(replay_id=replay_id, incident_id=incident_id)


async def resolve(
    caller: Operator, operations: OperationsParameter, incident_id: str, request: Request
) -> Incident:
    """Resolve an incident manually, with a reason. A running repair ends. Scope `operate`."""
    reason = validated(ResolveBody, await json_body(request)).reason
    actor = actor_of(request, caller.key.id)
    incident = await operations.incidents.resolve(
        caller.project.id, incident_id, reason, actor=actor
    )
    return Incident.of(incident)


async def acknowledge(
    caller: Operator, operations: OperationsParameter, incident_id: str, request: Request
) -> Incident:
    """Record that somebody is investigating an incident. Scope `operate`."""
    actor = actor_of(request, caller.key.id)
    incident = await operations.incidents.acknowledge(caller.project.id, incident_id, actor=actor)
    return Incident.of(incident)


async def read_project(caller: Admin, operations: OperationsParameter) -> Project:
    """The project of this key. Scope `admin`."""
    return Project.of(await operations.projects.read_project(caller.project.id))


async def change_project(
    caller: Admin, operations: OperationsParameter, request: Request
) -> Project:
    """Change settings of the project. Omitted settings keep their value.

    Saving a repair URL resolves its name. Scope `admin`.
    """
    changes = await json_body(request)
    actor = actor_of(request, caller.key.id)
    project = await operations.projects.change_project(caller.project.id, changes, actor=actor)
    return Project.of(project)


async def list_audit(
    caller: Admin,
    operations: OperationsParameter,
    actor: Annotated[
        Reference | None,
        Query(description="The id of the user or key that acted, or `cli` for the command line."),
    ] = None,
    action: Annotated[AuditAction | None, Query()] = None,
    created_after: CreatedAfter = None,
    created_before: CreatedBefore = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> AuditList:
    """The project's audit log, newest entry first. Scope `admin`."""
    filters = AuditFilters(
        project_id=caller.project.id,
        actor=actor,
        action=action,
        created_after=created_after,
        created_before=created_before,
    )
    return AuditList.of(await operations.audit.list_audit(filters, limit, cursor))
