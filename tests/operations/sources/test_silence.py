"""How soon a source may be called silent: a listing sees nothing between two of its times."""

import pytest

from domain.errors import ValidationFailed
from domain.sources.changes import SourceChanges
from tests.operations.sources.test_rules import changes_of, stored


def test_longer_interval_must_fit_the_silence_that_is_stored() -> None:
    with pytest.raises(ValidationFailed) as refusal:
        changes_of(stored(silent_after_minutes=10), {"every_minutes": 6})

    assert [error.pointer for error in refusal.value.errors] == ["/silent_after_minutes"]


@pytest.mark.parametrize(("kind", "silent"), [("stripe_api", 10), ("stripe_webhook", 1)])
def test_listing_may_be_silent_for_twice_its_interval(kind: str, silent: int) -> None:
    assert changes_of(stored(kind), {"silent_after_minutes": silent}) == SourceChanges(
        silent_after_minutes=silent
    )
