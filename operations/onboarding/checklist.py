"""The operations on a project's checklist: read it, hide it from other pages, show it again.

A step is done when the store holds what it asks for. The checklist keeps nothing of its own but
which users hide it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from domain.ids import ProjectId, UserId
from operations.validation import known_id
from store.db.database import Database
from store.projects import first_steps
from store.projects.first_steps import FirstSteps, SeenIncident
from store.projects.projects import read_project


class Step(StrEnum):
    """The steps, in their order."""

    KEY = "key"
    RECEIPT = "receipt"
    RESULT = "result"
    TIMEOUT = "timeout"
    ALERT = "alert"
    REPAIR = "repair"
    RESOLVED = "resolved"


@dataclass(frozen=True, slots=True)
class Checklist:
    """Which steps are done. `incidents` and `open_incident` are those of `FirstSteps`."""

    done: frozenset[Step]
    incidents: int
    open_incident: SeenIncident | None

    @property
    def steps(self) -> int:
        """The number of all steps."""
        return len(Step)

    @property
    def is_complete(self) -> bool:
        return len(self.done) == self.steps

    @classmethod
    def of(cls, steps: FirstSteps) -> "Checklist":
        is_done = {
            Step.KEY: steps.has_key,
            Step.RECEIPT: steps.has_receipt,
            Step.RESULT: steps.has_result,
            Step.TIMEOUT: steps.has_timeout,
            Step.ALERT: steps.has_alert,
            Step.REPAIR: steps.has_repair_call,
            Step.RESOLVED: steps.has_resolved,
        }
        done = frozenset(step for step, is_it in is_done.items() if is_it)
        return cls(done, steps.incidents, steps.open_incident)


class ChecklistOperations:
    """Checklists of an opened store's projects."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def read_checklist(self, project_id: ProjectId) -> Checklist:
        """The checklist of a project that exists."""
        async with self._database.reading(project_id) as session:
            now = await self._database.now(session)
            return Checklist.of(await first_steps.read_first_steps(session, project_id, now))

    async def hidden(self, user_id: UserId, among: Collection[ProjectId]) -> frozenset[ProjectId]:
        """Those of these projects whose checklist the user hides."""
        async with self._database.reading() as session:
            return await first_steps.hidden_checklists(session, user_id, among)

    async def set_hidden(self, project_id: str, user_id: UserId, *, is_hidden: bool) -> None:
        """Hide the checklist from other pages for this user, or show it again. Raises: NotFound."""
        known = ProjectId(known_id(project_id))
        async with self._database.transaction(known) as session:
            await read_project(session, known)
            change = first_steps.hide_checklist if is_hidden else first_steps.show_checklist
            await change(session, known, user_id)
