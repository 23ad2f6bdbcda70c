"""A sample of the combinations of a test's parameters, for tests marked `spread`.

1. `make test` runs each value of the longest dimension once, with the values of the others in turn.
2. So each value of each dimension occurs at least once, and the sample is always the same.
3. `make faults` runs the other combinations: they are long.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import pytest


def left_out(items: Iterable[pytest.Item]) -> Iterator[pytest.Item]:
    """The items that are not in the sample of their test."""
    tests: dict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("spread") is not None:
            tests[item.nodeid.partition("[")[0]].append(item)
    for combinations in tests.values():
        sampled = is_sampled([_indices(item) for item in combinations])
        yield from (item for item, kept in zip(combinations, sampled, strict=True) if not kept)


def is_sampled(combinations: Sequence[Mapping[str, int]]) -> list[bool]:
    """Whether each combination, given by the numbers of its values, is in the sample."""
    sizes = {name: 1 + max(one[name] for one in combinations) for name in combinations[0]}
    longest = max(sizes, key=lambda name: sizes[name])
    return [
        all(one[name] == one[longest] % size for name, size in sizes.items())
        for one in combinations
    ]


def _indices(item: pytest.Item) -> dict[str, int]:
    """The number of each parameter's value; the store is no dimension."""
    indices: dict[str, int] = getattr(item, "callspec").indices  # noqa: B009 (of functions only)
    return {name: index for name, index in indices.items() if name != "database_url"}
