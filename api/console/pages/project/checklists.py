"""Where other pages lead to the checklists of projects: those that are not done and not hidden."""

from collections.abc import Sequence

from api.console.base import Console
from api.console.sign_in.sessions import Viewer
from api.console.ui.filters import ListAddress
from api.console.ui.incident_tabs import ALL
from api.console.ui.list_queries import INCIDENT_TABS
from domain.ids import ProjectId
from domain.projects import Project
from operations.onboarding.checklist import Checklist

# An empty list of several projects names so many.
NAMED_AT_MOST = 5


async def unfinished_checklist(
    console: Console, viewer: Viewer, project_id: ProjectId
) -> Checklist | None:
    """The project's checklist. None if it is done, or if the viewer hides it."""
    checklists = console.operations.checklists
    if project_id in await checklists.hidden(viewer.user_id, [project_id]):
        return None
    checklist = await checklists.read_checklist(project_id)
    return None if checklist.is_complete else checklist


async def project_to_start(
    console: Console, viewer: Viewer, projects: Sequence[Project], address: ListAddress
) -> Project | None:
    """The project of an empty list of incidents if its checklist is not done and not hidden.

    None for a list of several projects, and for tabs that are often empty.
    """
    chosen = address.chosen.get("project")
    shown = [project for project in projects if chosen in (None, project.id)]
    return await only_project_to_start(
        console, viewer, shown if address.tab in (INCIDENT_TABS[0], ALL) else ()
    )


async def only_project_to_start(
    console: Console, viewer: Viewer, shown: Sequence[Project]
) -> Project | None:
    """The project if it is the only one, and its checklist is not done and not hidden."""
    if len(shown) != 1:
        return None
    checklist = await unfinished_checklist(console, viewer, shown[0].id)
    return None if checklist is None else shown[0]


async def projects_to_start(
    console: Console, viewer: Viewer, projects: Sequence[Project], chosen: str | None
) -> list[Project]:
    """The projects of an empty list of receipts, so that none of them has begun.

    `chosen` is the project that the list is narrowed to. Those that the viewer hides are left out.
    """
    shown = [project for project in projects if chosen in (None, project.id)]
    hidden = await console.operations.checklists.hidden(
        viewer.user_id, [project.id for project in shown[:NAMED_AT_MOST]]
    )
    return [project for project in shown[:NAMED_AT_MOST] if project.id not in hidden]
