"""REST: bulk repairs."""

from typing import Any

from fastapi import Request
from starlette.responses import JSONResponse

from api.auth.audit_actor import actor_of
from api.rest.dependencies import (
    OperationsParameter,
    Operator,
    Reader,
    json_body_with_list,
)
from api.rest.parameters import Cursor, Limit
from api.rest.routing import route
from domain.errors import Code
from operations.lists import DEFAULT_LIMIT
from operations.repairing.inputs import BulkRepairBody
from operations.responses.repairing import (
    BulkRepair,
    BulkRepairEstimate,
    BulkRepairList,
    BulkRepairStarted,
    FullBulkRepair,
)
from operations.validation import validated


@route(
    "POST",
    "/bulk-repairs",
    "Start a bulk repair",
    Code.NOT_FOUND,
    Code.REPAIR_URL_MISSING,
    status=202,
    body=BulkRepairBody,
    answer=BulkRepairStarted,
    dry_answer=BulkRepairEstimate,
)
async def start_bulk_repair(
    caller: Operator, operations: OperationsParameter, request: Request
) -> JSONResponse:
    """Repair many incidents in steps. The incidents are fixed now.

    With `dry_run`, the answer is 200 with what it would do: `matched`, `repairable`, `superseded`,
    `held`, `without_repair_url` and `amounts`. A body with `incident_ids` may have 512 KiB.
    Scope `operate`.
    """
    content = await json_body_with_list(request, "incident_ids")
    project_id, bulk_repairs = caller.project.id, operations.bulk_repairs
    if validated(BulkRepairBody, content).dry_run:
        found = await bulk_repairs.estimate(project_id, content)
        return _answer(200, BulkRepairEstimate.of(found).to_json())
    actor = actor_of(request, caller.key.id)
    started = await bulk_repairs.start(project_id, content, actor=actor)
    return _answer(202, BulkRepairStarted(bulk_id=started.id).to_json())


@route("GET", "/bulk-repairs", "List bulk repairs")
async def list_bulk_repairs(
    caller: Reader,
    operations: OperationsParameter,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> BulkRepairList:
    """Bulk repairs, newest first. Scope `read`."""
    project_id = caller.project.id
    page = await operations.bulk_repairs.list_bulk_repairs(project_id, limit, cursor)
    return BulkRepairList.of(page)


@route("GET", "/bulk-repairs/{bulk_id}", "Read a bulk repair", Code.NOT_FOUND)
async def read_bulk_repair(
    caller: Reader,
    operations: OperationsParameter,
    bulk_id: str,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> FullBulkRepair:
    """A bulk repair with a page of its incidents. Scope `read`."""
    found = await operations.bulk_repairs.read_bulk_repair(
        caller.project.id, bulk_id, limit, cursor
    )
    return FullBulkRepair.of_items(found)


@route("POST", "/bulk-repairs/{bulk_id}/pause", "Pause a bulk repair", Code.NOT_FOUND)
async def pause_bulk_repair(
    caller: Operator, operations: OperationsParameter, bulk_id: str, request: Request
) -> BulkRepair:
    """Begin no more repairs until it is resumed. One that has ended stays so. Scope `operate`."""
    actor = actor_of(request, caller.key.id)
    bulk = await operations.bulk_repairs.pause(caller.project.id, bulk_id, actor=actor)
    return BulkRepair.of(bulk)


@route("POST", "/bulk-repairs/{bulk_id}/resume", "Resume a bulk repair", Code.NOT_FOUND)
async def resume_bulk_repair(
    caller: Operator, operations: OperationsParameter, bulk_id: str, request: Request
) -> BulkRepair:
    """Go on where it was paused. One that has ended stays so. Scope `operate`."""
    actor = actor_of(request, caller.key.id)
    bulk = await operations.bulk_repairs.resume(caller.project.id, bulk_id, actor=actor)
    return BulkRepair.of(bulk)


@route("POST", "/bulk-repairs/{bulk_id}/abort", "Abort a bulk repair", Code.NOT_FOUND)
async def abort_bulk_repair(
    caller: Operator, operations: OperationsParameter, bulk_id: str, request: Request
) -> BulkRepair:
    """Begin no more repairs. What it has begun runs on. Scope `operate`."""
    actor = actor_of(request, caller.key.id)
    bulk = await operations.bulk_repairs.abort(caller.project.id, bulk_id, actor=actor)
    return BulkRepair.of(bulk)


# Any: JSON values.
def _answer(status: int, content: dict[str, Any]) -> JSONResponse:
    return JSONResponse(content, status_code=status)


ROUTES = (
    start_bulk_repair,
    list_bulk_repairs,
    read_bulk_repair,
    pause_bulk_repair,
    resume_bulk_repair,
    abort_bulk_repair,
)
