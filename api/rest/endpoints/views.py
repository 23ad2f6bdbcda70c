"""REST: the saved views of the list of incidents that members of the project share."""

from fastapi import Request

from api.rest.dependencies import OperationsParameter, Operator, Reader, json_body
from api.rest.routing import route
from domain.errors import Code
from domain.projects import AuthenticatedKey, Scope
from domain.users import Access, Role
from operations.listing.saved_views import SharedViewBody
from operations.responses.saved_views import RemovedView, SavedView, SavedViewList


@route("GET", "/views", "List saved views")
async def list_views(caller: Reader, operations: OperationsParameter) -> SavedViewList:
    """The views that are shared with the project, by name. Scope `read`."""
    return SavedViewList.of(await operations.saved_views.list_views(None, [caller.project.id]))


@route("POST", "/views", "Save a view", status=201, body=SharedViewBody)
async def save_view(
    caller: Operator, operations: OperationsParameter, request: Request
) -> SavedView:
    """Save a search of incidents for the members of the project.

    The key's view of the same name is replaced. A key has at most 50 views. Scope `operate`.
    """
    content = await json_body(request)
    view = await operations.saved_views.save_shared_view(
        caller.key.id, _access(caller), caller.project.id, content
    )
    return SavedView.of(view)


@route("DELETE", "/views/{view_id}", "Remove a saved view", Code.NOT_FOUND, Code.FORBIDDEN)
async def remove_view(
    caller: Operator, operations: OperationsParameter, view_id: str
) -> RemovedView:
    """Remove a view that this key saved, or with the scope `admin` any of the project. Scope
    `operate`.
    """
    view = await operations.saved_views.remove_view(caller.key.id, _access(caller), view_id)
    return RemovedView.of(view)


def _access(caller: AuthenticatedKey) -> Access:
    role = Role.OWNER if Scope.ADMIN in caller.key.scopes else Role.OPERATOR
    return Access(is_administrator=False, roles={caller.project.id: role})


ROUTES = (list_views, save_view, remove_view)
