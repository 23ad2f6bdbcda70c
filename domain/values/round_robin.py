"""Round-robin order, so that one project's many items do not delay another project's."""

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TypeVar

MOST_SERVED = 1_000

T = TypeVar("T")


def round_robin(items: Iterable[T], owner_of: Callable[[T], str]) -> list[T]:
    """The items in rounds: every owner's first item, then every owner's second, and so on.

    The order of one owner's items, and of the owners within a round, is preserved.
    """
    taken: Counter[str] = Counter()
    ranked: list[tuple[int, T]] = []
    for item in items:
        owner = owner_of(item)
        ranked.append((taken[owner], item))
        taken[owner] += 1
    return [item for _, item in sorted(ranked, key=lambda ranked_item: ranked_item[0])]


@dataclass(slots=True)
class Turns:
    """Whose turn is next, over several rounds. It is a hint: nothing is lost with it.

    `served` has the owners that were served, the last one at the end.
    """

    served: dict[str, None] = field(default_factory=dict)

    def in_turns(self, items: Iterable[T], owner_of: Callable[[T], str]) -> list[T]:
        """The items in rounds; in each, owners that were served longest ago come first."""
        turns = {owner: turn for turn, owner in enumerate(self.served)}
        return round_robin(sorted(items, key=lambda one: turns.get(owner_of(one), -1)), owner_of)

    def serve(self, owners: Iterable[str]) -> None:
        """Note that these owners were served, in this order."""
        for owner in owners:
            self.served.pop(owner, None)
            self.served[owner] = None
        while len(self.served) > MOST_SERVED:
            del self.served[next(iter(self.served))]
