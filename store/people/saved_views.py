"""The saved views of people. Called by `operations.listing.saved_views`; nothing here commits."""

from collections.abc import Collection
from dataclasses import asdict

from sqlalchemy import and_, delete, func, insert, or_, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import FieldError, ValidationFailed
from domain.ids import ProjectId
from domain.search.saved_views import MOST_VIEWS, SavedView
from store.db.paging import LISTED_AT_MOST
from store.people.members import lock_project
from store.schema.mappers import saved_view_from
from store.schema.tables import SAVED_VIEWS, USERS


async def list_views(
    session: AsyncSession, user_id: str | None, projects: Collection[ProjectId] | None
) -> list[SavedView]:
    """The private views of a user, and those shared with the projects, by name.

    `user_id` None: no private ones. `projects` None: all.
    """
    owner, project = SAVED_VIEWS.c.user_id, SAVED_VIEWS.c.project_id
    shared = project.is_not(None) if projects is None else project.in_(projects)
    visible = or_(and_(owner == user_id, project.is_(None)), shared)
    query = select(SAVED_VIEWS).where(visible).order_by(SAVED_VIEWS.c.id).limit(LISTED_AT_MOST)
    views = [saved_view_from(row) for row in await session.execute(query)]
    return sorted(views, key=lambda view: (view.name.lower(), view.id))


async def read_view(session: AsyncSession, view_id: str) -> SavedView | None:
    row = (await session.execute(select(SAVED_VIEWS).where(SAVED_VIEWS.c.id == view_id))).first()
    return None if row is None else saved_view_from(row)


async def save_view(session: AsyncSession, view: SavedView) -> None:
    """Save the view; one of the same name, user and project is replaced.

    Raises: NotFound: no such project. ValidationFailed: the user has as many as are allowed.
    """
    table = SAVED_VIEWS
    # Two of one user, saved at once, wait for each other.
    await session.execute(select(USERS.c.id).where(USERS.c.id == view.user_id).with_for_update())
    if view.project_id is not None:
        await lock_project(session, view.project_id)
    same_project = (
        table.c.project_id.is_(None)
        if view.project_id is None
        else table.c.project_id == view.project_id
    )
    await session.execute(
        delete(table).where(
            table.c.user_id == view.user_id, table.c.name == view.name, same_project
        )
    )
    query = select(func.count()).select_from(table).where(table.c.user_id == view.user_id)
    if (await session.scalar(query) or 0) >= MOST_VIEWS:
        message = f"You have {MOST_VIEWS} saved views. Remove one first."
        raise ValidationFailed(errors=(FieldError("/name", "too_long", message),))
    await session.execute(insert(table).values(**asdict(view)))


async def remove_view(session: AsyncSession, view_id: str) -> None:
    await session.execute(delete(SAVED_VIEWS).where(SAVED_VIEWS.c.id == view_id))
