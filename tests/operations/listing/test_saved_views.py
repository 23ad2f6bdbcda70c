"""Saved views: private ones are seen by their user alone, shared ones by the project's members."""

import pytest

from domain.errors import Forbidden, NotFound, ValidationFailed
from domain.projects import CreatedProject
from domain.search.saved_views import MOST_VIEWS
from domain.users import Access, Role
from operations.listing.saved_views import SavedViewOperations
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.projects.deletion import delete_project

NADIA, OMAR = "usr_nadia", "usr_omar"


@pytest.fixture
def views(database: Database) -> SavedViewOperations:
    return SavedViewOperations(database)


def access(project: CreatedProject, role: Role) -> Access:
    return Access(is_administrator=False, roles={project.project.id: role})


NOBODY = Access(is_administrator=False, roles={})


async def save(
    views: SavedViewOperations, user: str, of: Access, name: str, **fields: str | None
) -> str:
    given = {"query": "q=error%3Ax", "project_id": None, **fields}
    query, project_id = given["query"], given["project_id"]
    assert query is not None
    view = await views.save_view(user, of, name=name, query=query, project_id=project_id)
    return view.id


async def names(views: SavedViewOperations, user: str, of: Access) -> list[str]:
    return [view.name for view in await views.list_views(user, of.projects)]


async def test_views_are_private_or_shared_with_a_project(
    views: SavedViewOperations, project: CreatedProject
) -> None:
    operator = access(project, Role.OPERATOR)
    await save(views, NADIA, operator, "b mine")
    await save(views, NADIA, operator, "A shared", project_id=project.project.id)

    assert await names(views, NADIA, operator) == ["A shared", "b mine"]
    assert await names(views, OMAR, access(project, Role.VIEWER)) == ["A shared"]
    assert await names(views, OMAR, NOBODY) == []
    # Who left the project no longer sees its views, also not an own one.
    assert await names(views, NADIA, NOBODY) == ["b mine"]


async def test_view_of_the_same_name_is_replaced(
    views: SavedViewOperations, project: CreatedProject
) -> None:
    await save(views, NADIA, NOBODY, "mine", query="q=a")
    await save(views, NADIA, NOBODY, "mine", query="q=b")

    assert [view.query for view in await views.list_views(NADIA, ())] == ["q=b"]


async def test_person_has_a_bounded_number_of_views(views: SavedViewOperations) -> None:
    for number in range(MOST_VIEWS):
        await save(views, NADIA, NOBODY, f"view {number}")

    with pytest.raises(ValidationFailed) as refused:
        await save(views, NADIA, NOBODY, "one more")
    assert [error.pointer for error in refused.value.errors] == ["/name"]
    await save(views, NADIA, NOBODY, "view 7", query="q=again")
    await save(views, OMAR, NOBODY, "another's")


@pytest.mark.parametrize("name", ["", "  ", "a\nb", "x" * 101, "\ud800"], ids=ascii)
async def test_wrong_name_is_refused(views: SavedViewOperations, name: str) -> None:
    with pytest.raises(ValidationFailed):
        await save(views, NADIA, NOBODY, name)


async def test_sharing_and_removing_take_a_role(
    views: SavedViewOperations, project: CreatedProject
) -> None:
    project_id = project.project.id
    operator, viewer = access(project, Role.OPERATOR), access(project, Role.VIEWER)
    with pytest.raises(Forbidden):
        await save(views, OMAR, viewer, "shared", project_id=project_id)
    with pytest.raises(NotFound):
        await save(views, OMAR, NOBODY, "shared", project_id=project_id)
    shared = await save(views, NADIA, operator, "shared", project_id=project_id)
    private = await save(views, NADIA, operator, "private")

    for of, refusal in ((operator, Forbidden), (NOBODY, NotFound)):
        with pytest.raises(refusal):
            await views.remove_view(OMAR, of, shared)
    for of in (operator, access(project, Role.OWNER)):
        with pytest.raises(NotFound):
            await views.remove_view(OMAR, of, private)
    await views.remove_view(OMAR, access(project, Role.OWNER), shared)
    await views.remove_view(NADIA, operator, private)
    assert await names(views, NADIA, operator) == []


async def test_views_of_a_deleted_project_are_gone(
    views: SavedViewOperations, project: CreatedProject, database: Database, sealer: Sealer
) -> None:
    operator = access(project, Role.OPERATOR)
    await save(views, NADIA, operator, "shared", project_id=project.project.id)

    async with database.transaction() as session:
        now = await database.now(session)
        await delete_project(session, project.project.id, now=now, end_open=False)

    assert await names(views, NADIA, operator) == []
