"""REST: results that came before their receipt."""

from api.rest.dependencies import OperationsParameter, Reader
from api.rest.parameters import Cursor, Limit
from api.rest.routing import route
from operations.lists import DEFAULT_LIMIT
from operations.responses.early_results import EarlyResultList


@route("GET", "/early-results", "List early results")
async def list_early_results(
    caller: Reader,
    operations: OperationsParameter,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> EarlyResultList:
    """Held results that no receipt has claimed, newest first. Scope `read`.

    Only a project with `early_results: hold` holds more. Each is deleted after 24 hours.
    """
    project_id = caller.project.id
    page = await operations.early_results.list_early_results(project_id, limit, cursor)
    return EarlyResultList.of(page)


ROUTES = (list_early_results,)
