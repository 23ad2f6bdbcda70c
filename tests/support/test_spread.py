"""The sample of a test marked `spread` has every value of every dimension."""

from itertools import product

import pytest

from tests.support.spread import is_sampled


@pytest.mark.parametrize("sizes", [(1,), (5,), (2, 2), (3, 5), (18, 2), (2, 3, 7), (4, 4, 2)])
def test_sample_has_every_value_of_every_dimension(
    sizes: tuple[int, ...],
) -> None:
    names = "abc"[: len(sizes)]
    combinations = [
        dict(zip(names, numbers, strict=True)) for numbers in product(*map(range, sizes))
    ]

    kept = is_sampled(combinations)

    sample = [one for one, is_kept in zip(combinations, kept, strict=True) if is_kept]
    assert len(sample) == max(sizes)
    for name, size in zip(names, sizes, strict=True):
        assert {one[name] for one in sample} == set(range(size))
