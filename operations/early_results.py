"""The operation on results that came before their receipt: list those that no receipt claimed."""

from domain.results import EarlyResult
from operations.lists import ALL_PROJECTS, DEFAULT_LIMIT, project_or_none
from store.db.database import Database
from store.db.paging import Page
from store.receipts.early_results import lists


class EarlyResultOperations:
    """Held results of an opened store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def list_early_results(
        self, project_id: str | None, limit: int = DEFAULT_LIMIT, cursor: str | None = None
    ) -> Page[EarlyResult]:
        """A page of held results, newest first.

        Raises: ValidationFailed for a cursor that this service did not issue.
        """
        async with self._database.reading(project_id or ALL_PROJECTS) as session:
            now = await self._database.now(session)
            return await lists.list_early_results(
                session, project_or_none(project_id), now, limit=limit, cursor=cursor
            )
