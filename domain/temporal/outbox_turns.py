"""Whose outbox rows are leased next: projects take turns. Pure.

`store.receipts.outbox_heads` finds the heads; a dispatcher keeps its `ClaimWalk` between claims.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime

from domain.values.round_robin import round_robin

MOST_SERVED = 1_000
# At most one slot in so many goes to heads that were tried before, while others are free.
TRIED_PART = 4

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
    receipts, plain rows. `served` has the projects that got slots, the last one at the end.
    """

    urgent: str | None = None
    due: tuple[datetime, str] | None = None
    fresh: Place | None = None
    tried: Place | None = None
    served: dict[str, None] = field(default_factory=dict)

    def in_turn(self, heads: Iterable[Head]) -> list[Head]:
        """The heads, those of projects that were served longest ago first."""
        turns = {project_id: turn for turn, project_id in enumerate(self.served)}
        return sorted(heads, key=lambda head: turns.get(head.project_id, -1))

    def serve(self, heads: Iterable[Head]) -> None:
        """Note that the projects of these heads got slots."""
        for head in heads:
            self.served.pop(head.project_id, None)
            self.served[head.project_id] = None
        while len(self.served) > MOST_SERVED:
            del self.served[next(iter(self.served))]


def share_slots(heads: list[Head], slots: int, walk: ClaimWalk) -> list[Head]:
    """Share the slots: projects in turns, also over several claims; heads that failed before get at
    most a quarter while others are free.
    """
    turns = round_robin(walk.in_turn(heads), lambda head: head.project_id)
    fresh, tried = (
        [head for head in turns if head.is_fresh],
        [head for head in turns if not head.is_fresh],
    )
    again = tried[: max(min(1, slots), slots // TRIED_PART, slots - len(fresh))]
    chosen = (fresh[: slots - len(again)] + again)[:slots]
    walk.serve(chosen)
    return chosen


def order(place: Place) -> tuple[float, int]:
    until, row_id = place
    return 0.0 if until is None else until.timestamp(), row_id


def in_order(heads: Iterable[Head]) -> list[Head]:
    """Each head once: the untried, then those that were tried longest ago."""
    return sorted(set(heads), key=lambda head: order(head.place))
