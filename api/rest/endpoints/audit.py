"""REST: the project's audit log."""

from typing import Annotated

from fastapi import Query

from api.rest.dependencies import Admin, OperationsParameter
from api.rest.parameters import CreatedAfter, CreatedBefore, Cursor, Limit
from api.rest.routing import route
from domain.audit import AuditAction
from operations.lists import DEFAULT_LIMIT
from operations.responses.audit import AuditList
from operations.validation import Reference
from store.audit.log import AuditFilters


@route("GET", "/audit", "List the audit log")
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


ROUTES = (list_audit,)
