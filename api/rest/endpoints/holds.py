"""REST: holds."""

from fastapi import Request

from api.auth.audit_actor import actor_of
from api.rest.dependencies import OperationsParameter, Operator, Reader, json_body
from api.rest.routing import route
from domain.errors import Code
from operations.repairing.inputs import HoldBody
from operations.responses.repairing import Hold, HoldList


@route("POST", "/holds", "Add a hold", status=201, body=HoldBody)
async def add_hold(caller: Operator, operations: OperationsParameter, request: Request) -> Hold:
    """Hold repairs: none begins while the hold matches its incident, and none is lost.

    What has begun runs on. Scope `operate`.
    """
    content = await json_body(request)
    actor = actor_of(request, caller.key.id)
    return Hold.of(await operations.holds.add_hold(caller.project.id, content, actor=actor))


@route("GET", "/holds", "List holds")
async def list_holds(caller: Reader, operations: OperationsParameter) -> HoldList:
    """The active holds, oldest first. Scope `read`."""
    return HoldList.of(await operations.holds.list_holds(caller.project.id))


@route("DELETE", "/holds/{hold_id}", "Remove a hold", Code.NOT_FOUND)
async def remove_hold(
    caller: Operator, operations: OperationsParameter, hold_id: str, request: Request
) -> Hold:
    """End a hold. The repairs that it holds begin, in order. Scope `operate`."""
    actor = actor_of(request, caller.key.id)
    return Hold.of(await operations.holds.remove_hold(caller.project.id, hold_id, actor=actor))


ROUTES = (add_hold, list_holds, remove_hold)
