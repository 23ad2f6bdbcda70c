"""REST: groups of incidents, and the actions of operators on all incidents of one."""

from typing import Annotated

from fastapi import Query, Request

from api.auth.audit_actor import actor_of
from api.rest.dependencies import OperationsParameter, Operator, Reader, json_body
from api.rest.parameters import Cursor, Limit
from api.rest.routing import route
from domain.errors import Code
from domain.groups.group import GroupState
from operations.groups.groups import MuteBody
from operations.incidents import ResolveBody
from operations.lists import DEFAULT_LIMIT
from operations.responses.groups import Group, GroupAct, GroupList
from operations.validation import validated
from store.receipts.groups.queries import GroupFilters


@route("GET", "/groups", "List groups")
async def list_groups(
    caller: Reader,
    operations: OperationsParameter,
    state: Annotated[GroupState | None, Query()] = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> GroupList:
    """Groups of incidents with one cause, the one with the newest incident first. Scope `read`."""
    filters = GroupFilters(caller.project.id, state=state)
    return GroupList.of(await operations.groups.list_groups(filters, limit, cursor))


@route("GET", "/groups/{group_id}", "Read a group", Code.NOT_FOUND)
async def read_group(caller: Reader, operations: OperationsParameter, group_id: str) -> Group:
    """A group of incidents with one cause. Scope `read`."""
    return Group.of(await operations.groups.read_group(caller.project.id, group_id))


@route("POST", "/groups/{group_id}/mute", "Mute a group", Code.NOT_FOUND, body=MuteBody)
async def mute_group(
    caller: Operator, operations: OperationsParameter, group_id: str, request: Request
) -> GroupAct:
    """Mute a group: it alerts nothing until then. Scope `operate`."""
    content = await json_body(request)
    actor = actor_of(request, caller.key.id)
    return GroupAct.of(
        await operations.groups.mute(caller.project.id, group_id, content, actor=actor)
    )


@route("POST", "/groups/{group_id}/unmute", "Unmute a group", Code.NOT_FOUND)
async def unmute_group(
    caller: Operator, operations: OperationsParameter, group_id: str, request: Request
) -> GroupAct:
    """End the mute of a group. What opened meanwhile is not alerted. Scope `operate`."""
    actor = actor_of(request, caller.key.id)
    return GroupAct.of(await operations.groups.unmute(caller.project.id, group_id, actor=actor))


@route(
    "POST",
    "/groups/{group_id}/acknowledge",
    "Acknowledge a group",
    Code.NOT_FOUND,
    Code.INCIDENT_RESOLVED,
)
async def acknowledge_group(
    caller: Operator, operations: OperationsParameter, group_id: str, request: Request
) -> GroupAct:
    """Acknowledge all unresolved incidents of a group. Scope `operate`."""
    actor = actor_of(request, caller.key.id)
    return GroupAct.of(
        await operations.groups.acknowledge(caller.project.id, group_id, actor=actor)
    )


@route(
    "POST",
    "/groups/{group_id}/resolve",
    "Resolve a group manually",
    Code.NOT_FOUND,
    Code.INCIDENT_RESOLVED,
    body=ResolveBody,
)
async def resolve_group(
    caller: Operator, operations: OperationsParameter, group_id: str, request: Request
) -> GroupAct:
    """Resolve all unresolved incidents of a group manually, with a reason. Scope `operate`."""
    reason = validated(ResolveBody, await json_body(request)).reason
    actor = actor_of(request, caller.key.id)
    return GroupAct.of(
        await operations.groups.resolve(caller.project.id, group_id, reason, actor=actor)
    )


ROUTES = (
    list_groups,
    read_group,
    mute_group,
    unmute_group,
    acknowledge_group,
    resolve_group,
)
