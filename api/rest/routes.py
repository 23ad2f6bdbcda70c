"""REST for operators and machines under `/api/v1`: routes only. What they do is `operations.incidents`; who may,
`api.auth.api_keys`.

A handler takes the caller before anything else, so that a key is judged before what it asks for. Handlers' docstrings are the
reference's text.
"""

from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Query, Request

from api.auth.audit_actor import actor_of
from api.ingest.schemas import WireInstant
from api.rest import response_models as answers
from api.rest.dependencies import Admin, Operator, Reader, TheOperations, json_body
from api.rest.response_models import problem_responses
from domain.audit import AuditAction
from domain.errors import Code
from domain.incidents import IncidentState
from domain.receipts import EffectType, EventType, Provider, ReceiptState
from operations.audit import AuditFilters
from operations.incidents import DEFAULT_LIMIT, MAXIMUM_LIMIT, ListFilters, refuse_live
from operations.inputs import ProjectPatch
from operations.validation import Json, Reference, ResolveBody, validated

EVERY_CALL = (
    Code.UNAUTHORIZED,
    Code.SUBSCRIPTION_REQUIRED,
    Code.FORBIDDEN,
    Code.RATE_LIMITED,
    Code.METHOD_NOT_ALLOWED,
    Code.INTERNAL_ERROR,
    Code.UNAVAILABLE,
)
WITH_BODY = (Code.UNSUPPORTED_MEDIA_TYPE, Code.PAYLOAD_TOO_LARGE, Code.TOO_MANY_FIELDS, Code.VALIDATION_ERROR)

Limit = Annotated[int, Query(ge=1, le=MAXIMUM_LIMIT)]
Cursor = Annotated[Reference | None, Query(description="`next_cursor` of the page before.")]
Since = Annotated[WireInstant | None, Query(description="After this instant.")]
Until = Annotated[WireInstant | None, Query(description="Before this instant.")]
Search = Annotated[
    Reference | None,
    Query(description="Part of the internal reference or of the provider's id of the event, or a whole id of ours."),
]


class Narrowing:
    """The filters that both lists share."""

    def __init__(
        self,
        provider: Annotated[Provider | None, Query()] = None,
        event_type: Annotated[EventType | None, Query()] = None,
        effect_type: Annotated[EffectType | None, Query()] = None,
        internal_reference: Annotated[Reference | None, Query()] = None,
        created_after: Since = None,
        created_before: Until = None,
        q: Search = None,
    ) -> None:
        self._fields: dict[str, Any] = {  # Any: each of the type that its filter has
            "provider": provider,
            "event_type": event_type,
            "effect_type": effect_type,
            "internal_reference": internal_reference,
            "created_after": created_after,
            "created_before": created_before,
            "q": q,
        }

    def at(self, state: str | None) -> ListFilters:
        """With the state that the list has."""
        return ListFilters(state=state, **self._fields)


TheNarrowing = Annotated[Narrowing, Depends()]


async def list_events(
    caller: Reader,
    operations: TheOperations,
    narrowing: TheNarrowing,
    state: Annotated[ReceiptState | None, Query()] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Json:
    """Newest first. Scope `read`."""
    return await operations.list_events(caller.project.id, narrowing.at(state), limit, cursor)


async def read_event(caller: Reader, operations: TheOperations, event_id: str) -> Json:
    """With its incident, its newest repairs and the newest part of its timeline. Scope `read`."""
    return await operations.read_event(caller.project.id, event_id)


async def read_timeline(
    caller: Reader, operations: TheOperations, event_id: str, limit: Limit = DEFAULT_LIMIT, cursor: Cursor = None
) -> Json:
    """What happened to the event, newest first. Scope `read`."""
    return await operations.read_timeline(caller.project.id, event_id, limit, cursor)


async def expire(caller: Operator, operations: TheOperations, event_id: str, request: Request) -> Json:
    """The deadline is now; test projects only. Scope `operate`."""
    # The look-up is the last of the checks: in a live project there is nothing to look up.
    refuse_live(caller.project.livemode)
    return await operations.expire(caller.project.id, event_id, actor=actor_of(request, caller.key.id))


async def restart(caller: Operator, operations: TheOperations, event_id: str, request: Request) -> Json:
    """End the receipt's workflow and start it again, from where the store stands; for one that cannot go on. Scope `operate`."""
    return await operations.restart(caller.project.id, event_id, actor=actor_of(request, caller.key.id))


async def list_incidents(
    caller: Reader,
    operations: TheOperations,
    narrowing: TheNarrowing,
    state: Annotated[IncidentState | None, Query()] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Json:
    """Newest first. Scope `read`."""
    return await operations.list_incidents(caller.project.id, narrowing.at(state), limit, cursor)


async def read_incident(caller: Reader, operations: TheOperations, incident_id: str) -> Json:
    """Scope `read`."""
    return await operations.read_incident(caller.project.id, incident_id)


async def reprocess(caller: Operator, operations: TheOperations, incident_id: str, request: Request) -> Json:
    """Call the repair URL. While a repair runs nothing new begins: its `replay_id` is the answer. Scope `operate`."""
    return await operations.reprocess(caller.project.id, incident_id, actor=actor_of(request, caller.key.id))


async def resolve(caller: Operator, operations: TheOperations, incident_id: str, request: Request) -> Json:
    """Close the incident for a reason; a repair that runs ends. Scope `operate`."""
    body = validated(ResolveBody, await json_body(request))
    return await operations.resolve(caller.project.id, incident_id, body.reason, actor=actor_of(request, caller.key.id))


async def acknowledge(caller: Operator, operations: TheOperations, incident_id: str, request: Request) -> Json:
    """Tell the others that someone is looking at it. Scope `operate`."""
    return await operations.acknowledge(caller.project.id, incident_id, actor=actor_of(request, caller.key.id))


async def read_project(caller: Admin, operations: TheOperations) -> Json:
    """The project of this key. Scope `admin`."""
    return await operations.read_project(caller.project.id)


async def change_project(caller: Admin, operations: TheOperations, request: Request) -> Json:
    """What is not given stays. Saving a repair URL resolves its name. Scope `admin`."""
    changes = await json_body(request)
    return await operations.change_project(caller.project.id, changes, actor=actor_of(request, caller.key.id))


async def list_audit(
    caller: Admin,
    operations: TheOperations,
    actor: Annotated[Reference | None, Query(description="Who acted: an id, or `cli` for the command line.")] = None,
    action: Annotated[AuditAction | None, Query()] = None,
    created_after: Since = None,
    created_before: Until = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Json:
    """Who did what to this project, newest first. Scope `admin`."""
    filters = AuditFilters(actor, action, created_after, created_before)
    return await operations.list_audit(caller.project.id, filters, limit, cursor)


def manage_router() -> APIRouter:
    """Every route of operators."""
    router = APIRouter(prefix="/api/v1")
    gone, ended = Code.NOT_FOUND, Code.INCIDENT_RESOLVED
    _add(router, "GET", "/events", list_events, "List events", answers.EventList, Code.VALIDATION_ERROR)
    _add(router, "GET", "/events/{event_id}", read_event, "Read an event", answers.FullEvent, gone)
    path = "/events/{event_id}/timeline"
    _add(router, "GET", path, read_timeline, "Read an event's timeline", answers.TimelinePage, gone, Code.VALIDATION_ERROR)
    _add(router, "POST", "/events/{event_id}/expire", expire, "Let a receipt expire", answers.Event, gone, Code.NOT_WAITING)
    _add(router, "POST", "/events/{event_id}/restart", restart, "Restart a workflow", answers.Event, gone, status=202)
    _add(router, "GET", "/incidents", list_incidents, "List incidents", answers.IncidentList, Code.VALIDATION_ERROR)
    _add(router, "GET", "/incidents/{incident_id}", read_incident, "Read an incident", answers.Incident, gone)
    refused = (gone, ended, Code.REPAIR_URL_MISSING)
    path = "/incidents/{incident_id}/reprocess"
    _add(router, "POST", path, reprocess, "Reprocess", answers.RepairRequested, *refused, status=202)
    path = "/incidents/{incident_id}/resolve"
    _add(router, "POST", path, resolve, "Resolve by hand", answers.Incident, gone, ended, *WITH_BODY, body=ResolveBody)
    path = "/incidents/{incident_id}/acknowledge"
    _add(router, "POST", path, acknowledge, "Acknowledge", answers.Incident, gone, ended)
    _add(router, "GET", "/project", read_project, "Read the project", answers.Project)
    _add(router, "PATCH", "/project", change_project, "Change the project", answers.Project, *WITH_BODY, body=ProjectPatch)
    _add(router, "GET", "/audit", list_audit, "List the audit log", answers.AuditList, Code.VALIDATION_ERROR)
    return router


# Any: handlers have the parameters that their route needs.
def _add(
    router: APIRouter,
    method: str,
    path: str,
    handler: Callable[..., Any],
    summary: str,
    answer: type,
    *refusals: Code,
    status: int = 200,
    body: type | None = None,
) -> None:
    router.add_api_route(
        path,
        handler,
        methods=[method],
        summary=summary,
        tags=[path.split("/")[1]],
        operation_id=handler.__name__,
        status_code=status,
        response_model=answer,
        responses=problem_responses(*EVERY_CALL, *refusals),
        openapi_extra=None if body is None else _body(body),
    )


def _body(model: type) -> dict[str, Any]:
    """The body of an operation that FastAPI does not read, for the document."""
    schema = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
