"""What is counted of each day: receipts, how they ended, incidents, and how long that took.

1. A fact is counted on the day (UTC) on which it happened, once. So a past day does not change.
2. An incident that is resolved by hand and reopened ends once more: each end is counted.
3. Amounts of two currencies are never added.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from domain.overview.durations import bucket_of

DAY = timedelta(days=1)
# The overview shows today and the days before it.
SHOWN_DAYS = 30


class Outcome(StrEnum):
    """What happened. `ACCEPTED` and `OPENED` are beginnings, the others are ends of a receipt."""

    ACCEPTED = "accepted"
    # Its success came without an incident.
    APPLIED = "applied"
    # Its success came after the incident had opened, without a repair.
    LATE = "late"
    REPAIRED = "repaired"
    # By hand: nothing proves that the effect was applied.
    CLOSED = "closed"
    OPENED = "opened"


ENDS = (Outcome.APPLIED, Outcome.LATE, Outcome.REPAIRED, Outcome.CLOSED)


class Measure(StrEnum):
    """A duration. It is counted on the day on which it ends."""

    # From the receipt to a success that needed no repair.
    APPLY = "apply"
    # From the receipt to the opening of the incident.
    DETECT = "detect"
    # From the opening of the incident to its success.
    RECOVER = "recover"


@dataclass(frozen=True, slots=True)
class Fact:
    """Something that happened to a receipt at `at`. `lasted` are the durations that ended then."""

    outcome: Outcome
    at: datetime
    effect_type: str
    provider: str
    amount: int | None = None
    currency: str | None = None
    lasted: tuple[tuple[Measure, timedelta], ...] = ()


@dataclass(frozen=True, slots=True, order=True)
class CountKey:
    """What a count is of. `currency` is '' for receipts without an amount."""

    day: datetime
    outcome: str
    effect_type: str
    provider: str
    currency: str


@dataclass(frozen=True, slots=True, order=True)
class DurationKey:
    """Which durations are counted: those in one bucket of `domain.overview.durations`."""

    day: datetime
    measure: str
    effect_type: str
    bucket: int


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts, sums of amounts, and counted durations."""

    counts: Counter[CountKey] = field(default_factory=Counter)
    amounts: Counter[CountKey] = field(default_factory=Counter)
    durations: Counter[DurationKey] = field(default_factory=Counter)


def tally(facts: Iterable[Fact]) -> Tally:
    """Count the facts."""
    counted = Tally()
    for fact in facts:
        day, currency = day_of(fact.at), fact.currency or ""
        key = CountKey(day, fact.outcome, fact.effect_type, fact.provider, currency)
        counted.counts[key] += 1
        counted.amounts[key] += fact.amount or 0
        for measure, span in fact.lasted:
            bucket = bucket_of(span.total_seconds())
            counted.durations[DurationKey(day, measure, fact.effect_type, bucket)] += 1
    return counted


def day_of(at: datetime) -> datetime:
    """The beginning of the day (UTC) of an instant."""
    return at.replace(hour=0, minute=0, second=0, microsecond=0)
