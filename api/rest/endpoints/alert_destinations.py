"""REST: the places that a project's alerts go to."""

from fastapi import Request

from api.auth.audit_actor import actor_of
from api.rest.dependencies import Admin, OperationsParameter, json_body
from api.rest.routing import route
from domain.errors import Code
from operations.alerts.inputs import DestinationPatch, NewDestinationBody
from operations.responses.alert_destinations import (
    AlertDestination,
    AlertDestinationList,
    AlertDestinationTest,
    CreatedAlertDestination,
    RemovedAlertDestination,
)


@route("GET", "/alert-destinations", "List alert destinations")
async def list_alert_destinations(
    caller: Admin, operations: OperationsParameter
) -> AlertDestinationList:
    """All alert destinations of the project, by kind. Scope `admin`."""
    return AlertDestinationList.of(
        await operations.destinations.list_destinations(caller.project.id)
    )


@route(
    "POST",
    "/alert-destinations",
    "Add an alert destination",
    status=201,
    body=NewDestinationBody,
)
async def add_alert_destination(
    caller: Admin, operations: OperationsParameter, request: Request
) -> CreatedAlertDestination:
    """Add a destination. Alerts from now on go there too. Scope `admin`.

    A URL or a key is stored encrypted, and no response shows it. The signing secret of a webhook
    is in this response alone.
    """
    content = await json_body(request)
    actor = actor_of(request, caller.key.id)
    added = await operations.destinations.add_destination(caller.project.id, content, actor=actor)
    return CreatedAlertDestination.of(added)


@route(
    "PATCH",
    "/alert-destinations/{destination_id}",
    "Change an alert destination",
    Code.NOT_FOUND,
    body=DestinationPatch,
)
async def change_alert_destination(
    caller: Admin, operations: OperationsParameter, destination_id: str, request: Request
) -> AlertDestination:
    """Change, disable or enable a destination. Omitted fields keep their value. Scope `admin`."""
    changes = await json_body(request)
    actor = actor_of(request, caller.key.id)
    changed = await operations.destinations.change_destination(
        caller.project.id, destination_id, changes, actor=actor
    )
    return AlertDestination.of(changed)


@route(
    "DELETE",
    "/alert-destinations/{destination_id}",
    "Remove an alert destination",
    Code.NOT_FOUND,
)
async def remove_alert_destination(
    caller: Admin, operations: OperationsParameter, destination_id: str, request: Request
) -> RemovedAlertDestination:
    """Remove a destination. Its unsent alerts are not sent. Scope `admin`."""
    actor = actor_of(request, caller.key.id)
    removed = await operations.destinations.remove_destination(
        caller.project.id, destination_id, actor=actor
    )
    return RemovedAlertDestination.of(removed)


@route(
    "POST",
    "/alert-destinations/{destination_id}/test",
    "Test an alert destination",
    Code.NOT_FOUND,
)
async def test_alert_destination(
    caller: Admin, operations: OperationsParameter, destination_id: str, request: Request
) -> AlertDestinationTest:
    """Send a test alert now, and answer what the other side said. Scope `admin`.

    A project sends at most six test alerts a minute.
    """
    actor = actor_of(request, caller.key.id)
    tried = await operations.destinations.test_destination(
        caller.project.id, destination_id, actor=actor
    )
    return AlertDestinationTest.of(tried)


ROUTES = (
    list_alert_destinations,
    add_alert_destination,
    change_alert_destination,
    remove_alert_destination,
    test_alert_destination,
)
