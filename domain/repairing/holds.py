"""Holds: while one matches an incident, no repair of it begins."""

from dataclasses import dataclass
from datetime import datetime

from domain.ids import HoldId, ProjectId


@dataclass(frozen=True, slots=True)
class Hold:
    """A hold of a project. Without an effect type and a reference it matches every incident.

    `until` None: it ends when somebody removes it. `held` is the number of repairs that it holds,
    at most `HELD_COUNTED`.
    """

    id: HoldId
    project_id: ProjectId
    effect_type: str | None
    internal_reference: str | None
    reason: str
    until: datetime | None
    created_at: datetime
    created_by: str
    ended_at: datetime | None
    held: int = 0

    @property
    def is_of_all(self) -> bool:
        """Whether it matches every incident of the project."""
        return self.effect_type is None and self.internal_reference is None


HELD_COUNTED = 1_000
