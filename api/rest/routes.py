"""The routes of the REST API under `/api/v1`: a table of path, handler, response and refusals."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter
from pydantic import BaseModel

from api.rest import handlers
from api.rest.response_models import problem_responses
from domain.errors import Code
from operations.inputs import ProjectPatch
from operations.responses.audit import AuditList
from operations.responses.events import Event, EventList, FullEvent, TimelinePage
from operations.responses.incidents import Incident, IncidentList, RepairRequested
from operations.responses.projects import Project
from operations.validation import ResolveBody

EVERY_CALL = (
    Code.UNAUTHORIZED,
    Code.SUBSCRIPTION_REQUIRED,
    Code.FORBIDDEN,
    Code.RATE_LIMITED,
    Code.VALIDATION_ERROR,
    Code.METHOD_NOT_ALLOWED,
    Code.INTERNAL_ERROR,
    Code.UNAVAILABLE,
)
WITH_BODY = (
    Code.UNSUPPORTED_MEDIA_TYPE,
    Code.PAYLOAD_TOO_LARGE,
    Code.TOO_MANY_FIELDS,
)


@dataclass(frozen=True, slots=True)
class Route:
    """One operation of the API. `refusals` are those in addition to `EVERY_CALL`."""

    method: str
    path: str
    # Any: each handler has the parameters that its route needs.
    handler: Callable[..., Any]
    summary: str
    response: type[BaseModel]
    refusals: tuple[Code, ...] = ()
    status: int = 200
    body: type[BaseModel] | None = None


ROUTES = (
    Route(
        "GET",
        "/events",
        handlers.list_events,
        "List events",
        EventList,
    ),
    Route(
        "GET",
        "/events/{event_id}",
        handlers.read_event,
        "Read an event",
        FullEvent,
        (Code.NOT_FOUND,),
    ),
    Route(
        "GET",
        "/events/{event_id}/timeline",
        handlers.read_timeline,
        "Read an event's timeline",
        TimelinePage,
        (Code.NOT_FOUND,),
    ),
    Route(
        "POST",
        "/events/{event_id}/expire",
        handlers.expire,
        "Let a receipt expire",
        Event,
        (Code.NOT_FOUND, Code.NOT_WAITING),
    ),
    Route(
        "POST",
        "/events/{event_id}/restart",
        handlers.restart,
        "Restart a workflow",
        Event,
        (Code.NOT_FOUND,),
        status=202,
    ),
    Route(
        "GET",
        "/incidents",
        handlers.list_incidents,
        "List incidents",
        IncidentList,
    ),
    Route(
        "GET",
        "/incidents/{incident_id}",
        handlers.read_incident,
        "Read an incident",
        Incident,
        (Code.NOT_FOUND,),
    ),
    Route(
        "POST",
        "/incidents/{incident_id}/reprocess",
        handlers.reprocess,
        "Reprocess",
        RepairRequested,
        (Code.NOT_FOUND, Code.INCIDENT_RESOLVED, Code.REPAIR_URL_MISSING),
        status=202,
    ),
    Route(
        "POST",
        "/incidents/{incident_id}/resolve",
        handlers.resolve,
        "Resolve manually",
        Incident,
        (Code.NOT_FOUND, Code.INCIDENT_RESOLVED, *WITH_BODY),
        body=ResolveBody,
    ),
    Route(
        "POST",
        "/incidents/{incident_id}/acknowledge",
        handlers.acknowledge,
        "Acknowledge",
        Incident,
        (Code.NOT_FOUND, Code.INCIDENT_RESOLVED),
    ),
    Route("GET", "/project", handlers.read_project, "Read the project", Project),
    Route(
        "PATCH",
        "/project",
        handlers.change_project,
        "Change the project",
        Project,
        WITH_BODY,
        body=ProjectPatch,
    ),
    Route(
        "GET",
        "/audit",
        handlers.list_audit,
        "List the audit log",
        AuditList,
    ),
)


def rest_router() -> APIRouter:
    """A router with all routes of the table."""
    router = APIRouter(prefix="/api/v1")
    for route in ROUTES:
        router.add_api_route(
            route.path,
            route.handler,
            methods=[route.method],
            summary=route.summary,
            tags=[route.path.split("/")[1]],
            operation_id=route.handler.__name__,
            status_code=route.status,
            response_model=route.response,
            responses=problem_responses(*EVERY_CALL, *route.refusals),
            openapi_extra=None if route.body is None else _request_body(route.body),
        )
    return router


def _request_body(model: type[BaseModel]) -> dict[str, Any]:
    """The OpenAPI entry of a body, which FastAPI does not parse and so does not describe."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}
