"""REST: events, their timeline, and the actions on one."""

from typing import Annotated

from fastapi import Query, Request

from api.auth.audit_actor import actor_of
from api.rest.dependencies import Admin, OperationsParameter, Operator, Reader
from api.rest.parameters import Cursor, EventSortOrder, Limit, ListQueryParameters
from api.rest.routing import route
from domain.errors import Code
from domain.receipts import ReceiptState
from operations.events import refuse_live
from operations.lists import DEFAULT_LIMIT
from operations.responses.callbacks import Payload, RepairCallback
from operations.responses.events import Event, EventList, FullEvent, TimelinePage


@route("GET", "/events", "List events")
async def list_events(
    caller: Reader,
    operations: OperationsParameter,
    query: ListQueryParameters,
    state: Annotated[ReceiptState | None, Query()] = None,
    sort: EventSortOrder = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> EventList:
    """Events, newest first without `sort`. Scope `read`."""
    filters = query.filters(caller.project, state)
    page = await operations.events.list_events(filters, limit, cursor, sort=sort)
    return EventList.of(page)


@route("GET", "/events/{event_id}", "Read an event", Code.NOT_FOUND)
async def read_event(caller: Reader, operations: OperationsParameter, event_id: str) -> FullEvent:
    """An event with its incident, its newest repairs and timeline entries. Scope `read`."""
    return FullEvent.of(await operations.events.read_event(caller.project.id, event_id))


@route("GET", "/events/{event_id}/timeline", "Read an event's timeline", Code.NOT_FOUND)
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


@route("GET", "/events/{event_id}/repairs/{replay_id}", "Read a repair's callback", Code.NOT_FOUND)
async def read_callback(
    caller: Reader, operations: OperationsParameter, event_id: str, replay_id: str
) -> RepairCallback:
    """A repair with the exact body and headers of each signed call, and the beginning of each
    answer. Scope `read`.
    """
    project_id = caller.project.id
    return RepairCallback.of(await operations.events.read_callback(project_id, event_id, replay_id))


@route("GET", "/events/{event_id}/payload", "Read a receipt's payload", Code.NOT_FOUND)
async def read_payload(
    caller: Admin, operations: OperationsParameter, event_id: str, request: Request
) -> Payload:
    """The payload that the app sent with the receipt, if the project keeps payload snapshots.

    Each reading is in the audit log. Scope `admin`.
    """
    actor = actor_of(request, caller.key.id)
    found = await operations.events.read_payload(caller.project.id, event_id, actor=actor)
    return Payload(event_id=found.event_id, payload=found.value, deleted_at=found.deleted_at)


@route(
    "POST", "/events/{event_id}/expire", "Let a receipt expire", Code.NOT_FOUND, Code.NOT_WAITING
)
async def expire(
    caller: Operator, operations: OperationsParameter, event_id: str, request: Request
) -> Event:
    """Set the deadline of a receipt to now. Test projects only. Scope `operate`."""
    # Refused before the look-up, which is the last check.
    refuse_live(caller.project.livemode)
    actor = actor_of(request, caller.key.id)
    return Event.of(await operations.events.expire(caller.project.id, event_id, actor=actor))


@route("POST", "/events/{event_id}/restart", "Restart a workflow", Code.NOT_FOUND, status=202)
async def restart(
    caller: Operator, operations: OperationsParameter, event_id: str, request: Request
) -> Event:
    """Terminate a stuck workflow of a receipt and start it again.

    The new run continues from the stored state. Scope `operate`.
    """
    actor = actor_of(request, caller.key.id)
    return Event.of(await operations.runs.restart(caller.project.id, event_id, actor=actor))


ROUTES = (list_events, read_event, read_timeline, read_callback, read_payload, expire, restart)
