"""Round-robin order, so that one project's many items do not delay another project's."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

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
