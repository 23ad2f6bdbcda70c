"""Whose outbox rows are leased next: projects take turns. Pure.

`store.receipts.outbox_heads` finds the heads; a dispatcher keeps its `ClaimWalk` between claims.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from domain.values.round_robin import Turns

# At most one slot in so many goes to heads that were tried before, while others are free.
TRIED_PART = 4
# One slot in so many goes to projects without due heads, while others have many.
BESIDE_PART = 4

Place = tuple[datetime | None, int]  # of a row: `claimed_until` and `id`


@dataclass(frozen=True, slots=True)
class Head:
    """The oldest row of a receipt, free to lease. `claimed_until` None: nobody has tried it yet."""

    row_id: int
    event_id: str
    project_id: str
    claimed_until: datetime | None

    @property
    def is_fresh(self) -> bool:
        return self.claimed_until is None

    @property
    def place(self) -> Place:
        return self.claimed_until, self.row_id


@dataclass(slots=True)
class ClaimWalk:
    """What a dispatcher remembers between its claims. It is a hint: nothing is lost with it.

    `urgent`, `due`, `fresh` and `tried` are its positions: receipts with operator requests, due
    receipts, plain rows. `turns` are those of projects.
    """

    urgent: str | None = None
    due: tuple[datetime, str] | None = None
    fresh: Place | None = None
    tried: Place | None = None
    turns: Turns = field(default_factory=Turns)


def share_slots(heads: list[Head], slots: int, walk: ClaimWalk) -> list[Head]:
    """Share the slots: projects in turns, also over several claims; heads that failed before get at
    most a quarter while others are free.
    """
    turns = walk.turns.in_turns(heads, lambda head: head.project_id)
    fresh, tried = (
        [head for head in turns if head.is_fresh],
        [head for head in turns if not head.is_fresh],
    )
    again = tried[: max(min(1, slots), slots // TRIED_PART, slots - len(fresh))]
    chosen = (fresh[: slots - len(again)] + again)[:slots]
    walk.turns.serve(head.project_id for head in chosen)
    return chosen


def slots_beside(due: list[Head], others: list[Head], limit: int, slots: int) -> int:
    """How many of the slots stay for projects that have no due head; at most half, if there are
    only a few slots.
    """
    projects = {head.project_id for head in due}
    beside = [head for head in others if head.project_id not in projects]
    return min(len(beside), max(1, limit // BESIDE_PART), slots // 2)


def order(place: Place) -> tuple[float, int]:
    until, row_id = place
    return 0.0 if until is None else until.timestamp(), row_id


def in_order(heads: Iterable[Head]) -> list[Head]:
    """Each head once: the untried, then those that were tried longest ago."""
    return sorted(set(heads), key=lambda head: order(head.place))
