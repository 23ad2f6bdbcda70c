"""REST: incidents, their repair and manual resolution. For the other actions see `triage`."""

from typing import Annotated

from fastapi import Query, Request
from starlette.responses import Response, StreamingResponse

from api.auth.audit_actor import actor_of
from api.rest.dependencies import (
    OperationsParameter,
    Operator,
    Reader,
    json_body,
    json_body_or_none,
)
from api.rest.parameters import Cursor, Limit, ListQueryParameters, SortOrder
from api.rest.routing import route
from domain.errors import Code
from domain.incidents import IncidentState
from operations.incidents import ReprocessBody, ResolveBody
from operations.listing.export import FILE_TYPES, MEDIA_TYPES, ExportFormat, attachment
from operations.lists import DEFAULT_LIMIT
from operations.responses.incidents import Incident, IncidentList, RepairRequested
from operations.validation import validated


@route("GET", "/incidents", "List incidents")
async def list_incidents(
    caller: Reader,
    operations: OperationsParameter,
    query: ListQueryParameters,
    state: Annotated[IncidentState | None, Query()] = None,
    sort: SortOrder = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> IncidentList:
    """Incidents, newest first without `sort`. Scope `read`."""
    filters = query.filters(caller.project, state)
    page = await operations.incidents.list_incidents(filters, limit, cursor, sort=sort)
    return IncidentList.of(page)


@route("GET", "/incidents/export", "Export incidents", media_types=FILE_TYPES)
async def export_incidents(
    caller: Reader,
    operations: OperationsParameter,
    query: ListQueryParameters,
    export_format: Annotated[ExportFormat, Query(alias="format")],
    state: Annotated[IncidentState | None, Query()] = None,
    sort: SortOrder = None,
) -> Response:
    """The whole filtered list as a stream: `csv`, or `jsonl` with a JSON object a line. A cell of
    CSV that a spreadsheet would run as a formula begins with `'`. Scope `read`.
    """
    filters = query.filters(caller.project, state)
    parts = await operations.exports.export_incidents(filters, export_format, sort=sort)
    headers = attachment(export_format)
    return StreamingResponse(parts, media_type=MEDIA_TYPES[export_format], headers=headers)


@route("GET", "/incidents/{incident_id}", "Read an incident", Code.NOT_FOUND)
async def read_incident(
    caller: Reader, operations: OperationsParameter, incident_id: str
) -> Incident:
    """An incident. Scope `read`."""
    return Incident.of(await operations.incidents.read_incident(caller.project.id, incident_id))


@route(
    "POST",
    "/incidents/{incident_id}/reprocess",
    "Reprocess",
    Code.NOT_FOUND,
    Code.INCIDENT_RESOLVED,
    Code.REPAIR_URL_MISSING,
    Code.SUPERSEDED,
    status=202,
    body=ReprocessBody,
    needs_body=False,
)
async def reprocess(
    caller: Operator, operations: OperationsParameter, incident_id: str, request: Request
) -> RepairRequested:
    """Start a repair, which calls the repair URL. The body is optional.

    If a repair is already running, the response has its `replay_id` and no new repair starts. A
    later event of the same reference can make a repair doubtful, such as a refund
    (`superseded_by`). Such a repair starts only with `confirm`. Scope `operate`.
    """
    confirm = validated(ReprocessBody, await json_body_or_none(request)).confirm
    actor = actor_of(request, caller.key.id)
    replay_id = await operations.incidents.reprocess(
        caller.project.id, incident_id, actor=actor, confirm=confirm
    )
    return RepairRequested(replay_id=replay_id, incident_id=incident_id)


@route(
    "POST",
    "/incidents/{incident_id}/resolve",
    "Resolve manually",
    Code.NOT_FOUND,
    Code.INCIDENT_RESOLVED,
    body=ResolveBody,
)
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


@route(
    "POST",
    "/incidents/{incident_id}/stop-repair",
    "Stop the repair",
    Code.NOT_FOUND,
    Code.INCIDENT_RESOLVED,
)
async def stop_repair(
    caller: Operator, operations: OperationsParameter, incident_id: str, request: Request
) -> Incident:
    """Stop the running repair: no further call begins, and the incident is open again.

    Without a running repair nothing changes. Scope `operate`.
    """
    actor = actor_of(request, caller.key.id)
    incident = await operations.incidents.stop_repair(caller.project.id, incident_id, actor=actor)
    return Incident.of(incident)


ROUTES = (list_incidents, export_incidents, read_incident, reprocess, resolve, stop_repair)
