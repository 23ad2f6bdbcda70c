"""The operations on the overview: its numbers, the silence and the activity of projects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from domain.ids import ProjectId
from domain.overview.silence import Watch
from domain.overview.summary import Activity, Overview
from domain.projects import Project
from operations.lists import ALL_PROJECTS
from operations.validation import known_id
from store.db.database import Database
from store.overview.activity import read_activity
from store.overview.figures import read_overview
from store.overview.silence import WHOLE, read_watches
from store.projects import projects

# An overview adds the numbers of so many projects, the newest.
MOST_PROJECTS = 50


@dataclass(frozen=True, slots=True)
class ProjectOverview:
    """The overview of one project. `watches` are empty while it is suspended."""

    project: Project
    overview: Overview
    activity: Activity
    watches: tuple[Watch, ...]

    @property
    def proposed_minutes(self) -> int | None:
        """The deadline that fits, if it is not the project's; None: there is nothing to propose."""
        proposed = self.overview.proposed_minutes
        return None if proposed == self.project.timeout_minutes else proposed

    @property
    def whole(self) -> Watch | None:
        """The silence of the whole project."""
        return next((one for one in self.watches if one.event_type == WHOLE), None)


@dataclass(frozen=True, slots=True)
class Receiving:
    """Whether receipts of some projects come. Suspended ones have no `watches`."""

    activities: Mapping[ProjectId, Activity]
    watches: tuple[Watch, ...]


class OverviewOperations:
    """The overview of an opened store."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_project_overview(
        self, project_id: str, *, asked_by: str | None = None
    ) -> ProjectOverview:
        """The overview of one project. `asked_by` None: the project itself.

        Raises: NotFound; Unavailable when it takes too long; RateLimited.
        """
        known = ProjectId(known_id(project_id))
        async with self._database.searching(asked_by or known) as session:
            project = await projects.read_project(session, known)
            now = await self._database.now(session)
            overview = await read_overview(session, [known], now)
            activity = (await read_activity(session, [known], now))[known]
            watches = await read_watches(session, [known])
        return ProjectOverview(project, overview, activity, tuple(watches))

    async def read_receiving(self, project_ids: Sequence[ProjectId]) -> Receiving:
        """Whether receipts of these projects come, and what is watched."""
        async with self._database.reading() as session:
            now = await self._database.now(session)
            activities = await read_activity(session, project_ids, now)
            return Receiving(activities, tuple(await read_watches(session, project_ids)))

    async def read_overview(
        self, project_ids: Sequence[ProjectId], *, asked_by: str = ALL_PROJECTS
    ) -> Overview:
        """The overview of several projects together: their numbers added.

        Raises: Unavailable when it takes too long; RateLimited.
        """
        async with self._database.searching(asked_by) as session:
            now = await self._database.now(session)
            return await read_overview(session, project_ids, now)

    async def read_activity(
        self, project_ids: Sequence[ProjectId], *, asked_by: str = ALL_PROJECTS
    ) -> dict[ProjectId, Activity]:
        """Whether receipts of each of these projects come.

        Raises: Unavailable when it takes too long; RateLimited.
        """
        async with self._database.searching(asked_by) as session:
            now = await self._database.now(session)
            return await read_activity(session, project_ids, now)
