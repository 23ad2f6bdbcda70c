"""The limits of lists, and the check of their filters."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import ProjectId
from domain.search.query import asks_for_now
from operations.validation import check_texts, known_id
from store.db.database import Database
from store.receipts.queries import ListFilters

DEFAULT_LIMIT = 20
MAXIMUM_LIMIT = 100
# The store limits queries per caller. Callers that see every project, the console and the command
# line, share this name.
ALL_PROJECTS = "*"


async def checked_filters(
    database: Database, session: AsyncSession, filters: ListFilters
) -> ListFilters:
    """The filters with an id that can be looked up, and the instant of the search.

    Raises: ValidationFailed for bad text, and for a refused search.
    """
    check_texts(q=filters.q, internal_reference=filters.internal_reference)
    now = filters.now or await instant_of_search(database, session, filters.q)
    return replace(filters, project_id=project_or_none(filters.project_id), now=now)


async def instant_of_search(
    database: Database, session: AsyncSession, q: str | None
) -> datetime | None:
    """The instant that ages and mutes of a search are compared with. None for a search without.

    Raises: ValidationFailed for a refused search.
    """
    return await database.now(session) if asks_for_now(q) else None


def project_or_none(project_id: str | None) -> ProjectId | None:
    """The id as the store takes it; None means every project."""
    return None if project_id is None else ProjectId(known_id(project_id))
