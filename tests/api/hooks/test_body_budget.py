"""The memory of bodies is bounded, and one source cannot take it all."""

from contextlib import ExitStack

import pytest

from api.hooks.body_budget import (
    LEAST_BYTES,
    MAXIMUM_BYTES,
    MAXIMUM_BYTES_OF_SOURCE,
    BodyBudget,
)
from domain.errors import Unavailable
from domain.ids import SourceId

ONE, OTHER = SourceId("src_1"), SourceId("src_2")
MEBIBYTE = 1024 * 1024


def test_source_has_a_bounded_share_and_others_go_on() -> None:
    budget = BodyBudget()
    with ExitStack() as bodies:
        for _ in range(MAXIMUM_BYTES_OF_SOURCE // MEBIBYTE):
            bodies.enter_context(budget.reserved(ONE, MEBIBYTE))

        with pytest.raises(Unavailable) as refused, budget.reserved(ONE, 1):
            pass
        with budget.reserved(OTHER, MEBIBYTE):
            pass

    assert refused.value.retry_after_seconds == 1
    with budget.reserved(ONE, MEBIBYTE):
        pass


def test_all_sources_together_are_bounded() -> None:
    budget = BodyBudget()
    with ExitStack() as bodies:
        for number in range(MAXIMUM_BYTES // MAXIMUM_BYTES_OF_SOURCE):
            source_id = SourceId(f"src_{number}")
            bodies.enter_context(budget.reserved(source_id, MAXIMUM_BYTES_OF_SOURCE))

        with pytest.raises(Unavailable), budget.reserved(SourceId("src_new"), 1):
            pass


def test_empty_bodies_count_too() -> None:
    budget = BodyBudget()
    with ExitStack() as bodies:
        for _ in range(MAXIMUM_BYTES_OF_SOURCE // LEAST_BYTES):
            bodies.enter_context(budget.reserved(ONE, 0))

        with pytest.raises(Unavailable), budget.reserved(ONE, 0):
            pass


def test_body_that_fails_is_given_back() -> None:
    budget = BodyBudget()

    for _ in range(100):
        with pytest.raises(ZeroDivisionError), budget.reserved(ONE, MAXIMUM_BYTES_OF_SOURCE):
            raise ZeroDivisionError
