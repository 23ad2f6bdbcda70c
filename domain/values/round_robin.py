"""Turns: so that what one project has much of keeps no other waiting."""

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TypeVar

T = TypeVar("T")


def round_robin(items: Iterable[T], owner_of: Callable[[T], str]) -> list[T]:
    """The items, each owner's first before any owner's second; of one owner, and within a round, the order is kept."""
    taken: Counter[str] = Counter()
    ranked: list[tuple[int, T]] = []
    for item in items:
        owner = owner_of(item)
        ranked.append((taken[owner], item))
        taken[owner] += 1
    return [item for _, item in sorted(ranked, key=lambda ranked_item: ranked_item[0])]
