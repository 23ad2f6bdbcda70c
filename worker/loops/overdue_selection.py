"""Chooses the overdue receipts that one turn of `worker.loops.overdue` handles.

1. Each turn takes the first few overdue receipts of every project.
2. Then it takes a further part of some projects that have more, in turn.

So a project with many overdue receipts does not delay the incidents of other projects.
"""

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import ProjectId
from store.receipts.reconcile.overdue import OverdueReceipt, overdue_of_each, overdue_receipts

# Receipts in a turn: OF_EACH of each project, then WALKED_PART more of each of WALKED_AT_ONCE
# projects that have more.
PROJECTS_CHECKED, OF_EACH = 2_000, 20
WALKED_AT_ONCE, WALKED_PART = 10, 1_000


@dataclass(frozen=True, slots=True)
class _Walk:
    """How far a project's further receipts were taken, and in which turn."""

    after: OverdueReceipt | None
    turn: int


class OverdueSelection:
    """How far the turns of one worker process have come, and what its next turn handles."""

    def __init__(self) -> None:
        self._after_project: ProjectId | None = None
        self._walks: dict[ProjectId, _Walk] = {}
        self._turn = 0

    @property
    def has_more(self) -> bool:
        """Whether the next turn takes receipts that no turn has taken yet."""
        is_walking = any(walk.after is not None for walk in self._walks.values())
        return is_walking or self._after_project is not None

    def continue_after(self, project_id: ProjectId) -> None:
        """Take the projects after this one first in the next turn."""
        self._after_project = project_id

    async def select(self, session: AsyncSession, until: datetime) -> list[OverdueReceipt]:
        """The first few receipts of each project, and a further part of some projects that have
        more.

        Projects that have waited longest for a further part come first.
        """
        part = await overdue_of_each(
            session, until, after=self._after_project, projects=PROJECTS_CHECKED, of_each=OF_EACH
        )
        self._after_project = part.last
        self._turn += 1
        found: dict[ProjectId, list[OverdueReceipt]] = {}
        for receipt in part.receipts:
            found.setdefault(receipt.project_id, []).append(receipt)
        full = [
            project_id for project_id, of_project in found.items() if len(of_project) == OF_EACH
        ]
        for project_id in found.keys() - set(full):
            self._walks.pop(project_id, None)
        unwalked = _Walk(None, 0)
        for project_id in sorted(
            full, key=lambda project_id: self._walks.get(project_id, unwalked).turn
        )[:WALKED_AT_ONCE]:
            after = self._walks.get(project_id, unwalked).after or found[project_id][-1]
            further = await overdue_receipts(
                session, until, after=after, limit=WALKED_PART, project_id=project_id
            )
            self._walks[project_id] = _Walk(
                further[-1] if len(further) == WALKED_PART else None, self._turn
            )
            found[project_id] += further
        return [receipt for of_project in found.values() for receipt in of_project]
