from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from domain.sources.events import ProviderEvent, sightings_of
from tests.domain.sources.examples import expects, make_source

CREATED_AT = datetime(2026, 11, 1, 12, 0, 0, 900_000, tzinfo=UTC)
EVENT = ProviderEvent(
    id="evt_1",
    type="invoice.paid",
    livemode=True,
    occurred_at=datetime(2026, 11, 1, 12, tzinfo=UTC),
    references={None: "in_1"},
)


@pytest.mark.parametrize(
    ("earlier", "seen"), [(timedelta(0), 1), (timedelta(milliseconds=1), 0), (timedelta(days=1), 0)]
)
def test_event_of_the_second_in_which_the_source_was_added_counts(
    earlier: timedelta, seen: int
) -> None:
    source = replace(make_source(expects("invoice.paid")), created_at=CREATED_AT)

    found = sightings_of(source, [replace(EVENT, occurred_at=EVENT.occurred_at - earlier)])

    assert len(found) == seen


@pytest.mark.parametrize(
    ("earlier", "seen"), [(timedelta(0), 1), (timedelta(milliseconds=1), 0), (timedelta(days=1), 0)]
)
def test_event_counts_from_the_second_in_which_its_expectation_was_added(
    earlier: timedelta, seen: int
) -> None:
    added = replace(expects("invoice.paid"), since=CREATED_AT, effect_type="credit_grant")
    source = make_source(expects("invoice.paid"), added, created_at=CREATED_AT - timedelta(days=9))

    found = sightings_of(source, [replace(EVENT, occurred_at=EVENT.occurred_at - earlier)])

    effects = [one.receipt.effect_type for one in found]
    assert effects == ["access_unlock", "credit_grant"][: 1 + seen]


@pytest.mark.parametrize("change", [{"livemode": False}, {"type": "invoice.voided"}], ids=str)
def test_event_of_the_other_mode_or_of_another_type_makes_nothing(change: dict[str, Any]) -> None:
    source = replace(make_source(expects("invoice.paid")), created_at=CREATED_AT)

    assert sightings_of(source, [replace(EVENT, **change)]) == []
