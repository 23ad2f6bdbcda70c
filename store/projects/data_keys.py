"""Reads the sealed data key of a project, the rows of projects that are not deleted, and the
projects that rows hold.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import Row, Select, select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import NotFound
from domain.ids import ProjectId
from domain.projects import Project
from store.alerts.destinations import read_destinations
from store.schema.mappers import project_from
from store.schema.tables import PROJECTS

# A deleted project is never found: see `store.projects.deletion`.
NOT_DELETED = PROJECTS.c.deleted_at.is_(None)


async def read_data_key(session: AsyncSession, project_id: ProjectId) -> bytes:
    """The project's data key, sealed, as `Sealer` takes it. Raises: NotFound."""
    sealed: bytes = (
        await project_row(
            session, select(PROJECTS.c.data_key).where(PROJECTS.c.id == project_id, NOT_DELETED)
        )
    ).data_key
    return sealed


async def project_row(session: AsyncSession, query: Select[Any]) -> Row[Any]:
    """The first row of the query. Raises: NotFound."""
    row: Row[Any] | None = (await session.execute(query)).first()
    if row is None:
        raise NotFound("There is no such project.")
    return row


async def projects_of(session: AsyncSession, rows: Sequence[Row[Any]]) -> list[Project]:
    """The projects of these rows, in their order, with their alert destinations."""
    destinations = await read_destinations(session, [ProjectId(row.id) for row in rows])
    return [project_from(row, destinations[ProjectId(row.id)]) for row in rows]
