"""REST: the overview of the key's project."""

from api.rest.dependencies import OperationsParameter, Reader
from api.rest.routing import route
from operations.responses.overview import Overview


@route("GET", "/overview", "Read the overview")
async def read_overview(caller: Reader, operations: OperationsParameter) -> Overview:
    """What happened today and in the last 30 days, and what is open now. Scope `read`.

    A fact counts on the day (UTC) on which it happened. Amounts of two currencies are never added.
    """
    return Overview.of(await operations.overview.read_project_overview(caller.project.id))


ROUTES = (read_overview,)
