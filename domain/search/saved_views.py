"""Saved views: a named search of the list of incidents, private or shared with a project."""

from dataclasses import dataclass
from datetime import datetime

from domain.ids import ProjectId

MOST_VIEWS = 50
LONGEST_NAME = 100
LONGEST_ADDRESS = 4_000


@dataclass(frozen=True, slots=True)
class SavedView:
    """A named search. `query` is that of the list's address in the console.

    `project_id` None: only its user sees it; otherwise every member of the project does.
    """

    id: str
    user_id: str
    project_id: ProjectId | None
    name: str
    query: str
    created_at: datetime
