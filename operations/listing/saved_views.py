"""The operations on saved views: list, save and remove those of a person and of their projects."""

from collections.abc import Collection
from typing import Annotated
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict, StringConstraints

from domain.errors import Forbidden, NotFound
from domain.ids import ProjectId
from domain.incidents import IncidentState
from domain.search.query import parse_query
from domain.search.saved_views import LONGEST_ADDRESS, LONGEST_NAME, SavedView
from domain.search.sorting import Sort
from domain.users import Access, Role
from operations.validation import Json, check_texts, known_id, validated
from store.crypto.tokens import new_view_id
from store.db.database import Database
from store.people import saved_views


class ViewBody(BaseModel):
    """A name, and the query of the list's address."""

    model_config = ConfigDict(frozen=True)

    name: Annotated[
        str,
        StringConstraints(
            min_length=1,
            max_length=LONGEST_NAME,
            strip_whitespace=True,
            pattern=r"^[^\x00-\x1f]*$",
        ),
    ]
    query: Annotated[str, StringConstraints(max_length=LONGEST_ADDRESS)]


class SharedViewBody(BaseModel):
    """A search of incidents for the members of the project. `q` is that of `GET /incidents`;
    `state` is the tab of the console, Open without it.
    """

    model_config = ConfigDict(frozen=True, title="SaveView")

    name: str
    q: str | None = None
    state: IncidentState | None = None
    sort: Sort | None = None


class SavedViewOperations:
    """Saved views of an opened store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_views(
        self, user_id: str | None, projects: Collection[ProjectId] | None
    ) -> list[SavedView]:
        """The private views of the user, None for none, and those of the projects, None for all."""
        async with self._database.reading() as session:
            return await saved_views.list_views(session, user_id, projects)

    async def save_view(
        self, user_id: str, access: Access, *, name: str, query: str, project_id: str | None
    ) -> SavedView:
        """Save a view, private without a project. One of the same name is replaced.

        Raises: NotFound, Forbidden: the project is not the user's, or their role is too low.
            ValidationFailed: the name, or too many views.
        """
        body = validated(ViewBody, {"name": name, "query": query})
        check_texts(name=body.name, query=body.query)
        shared_with = None if project_id is None else ProjectId(known_id(project_id))
        if shared_with is not None:
            _check_role(access, shared_with, Role.OPERATOR, "There is no such project.")
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            view = SavedView(new_view_id(), user_id, shared_with, body.name, body.query, now)
            await saved_views.save_view(session, view)
        return view

    async def save_shared_view(
        self, user_id: str, access: Access, project_id: str, content: Json
    ) -> SavedView:
        """Save a view for the members of a project. `content` is the body of REST.

        Raises: as `save_view`, and ValidationFailed for a refused search.
        """
        body = validated(SharedViewBody, content)
        check_texts(q=body.q)
        parse_query(body.q)
        given = {"state": body.state, "q": body.q, "sort": body.sort}
        query = urlencode({key: value for key, value in given.items() if value})
        return await self.save_view(
            user_id, access, name=body.name, query=query, project_id=project_id
        )

    async def remove_view(self, user_id: str, access: Access, view_id: str) -> SavedView:
        """Remove a view of the user, or as an owner one of the project.

        Raises: NotFound; Forbidden: another member's view.
        """
        missing = "There is no such view."
        async with self._database.transaction() as session:
            view = await saved_views.read_view(session, known_id(view_id))
            if view is None:
                raise NotFound(missing)
            if view.project_id is None and view.user_id != user_id:
                raise NotFound(missing)
            if view.project_id is not None and view.user_id != user_id:
                _check_role(access, view.project_id, Role.OWNER, missing)
            await saved_views.remove_view(session, view.id)
        return view


def _check_role(access: Access, project_id: ProjectId, needed: Role, missing: str) -> None:
    own = access.role_in(project_id)
    if own is None:
        raise NotFound(missing)
    if not own.allows(needed):
        raise Forbidden(f"Your role in this project is {own.value}. This requires {needed.value}.")
