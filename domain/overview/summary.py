"""The numbers of the overview: of today, of 30 days and of each of them, and what is open now."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from domain.ids import EventId
from domain.overview.counts import ENDS, Measure, Outcome
from domain.overview.durations import percentile, propose_minutes


@dataclass(frozen=True, slots=True)
class Counts:
    """How many receipts had each outcome."""

    accepted: int = 0
    applied: int = 0
    late: int = 0
    repaired: int = 0
    closed: int = 0
    opened: int = 0

    @classmethod
    def of(cls, by_outcome: Mapping[str, int]) -> "Counts":
        """The counts by outcome; one of a newer version is left out."""
        return cls(**{one.value: by_outcome.get(one, 0) for one in Outcome})

    @property
    def ended(self) -> int:
        """How many receipts ended, however."""
        return sum(int(getattr(self, end)) for end in ENDS)

    def plus(self, other: "Counts") -> "Counts":
        """The sums."""
        return Counts(**{one.value: getattr(self, one) + getattr(other, one) for one in Outcome})


@dataclass(frozen=True, slots=True)
class DayCounts:
    """The counts of a day (UTC), which begins at `day`."""

    day: datetime
    counts: Counts


@dataclass(frozen=True, slots=True)
class KindCounts:
    """The counts of 30 days of an effect and a provider."""

    effect_type: str
    provider: str
    counts: Counts


@dataclass(frozen=True, slots=True)
class CurrencyAmounts:
    """Sums of amounts in the minor unit of a currency: of 30 days by outcome, and open now."""

    currency: str
    amounts: Counts
    open: int


@dataclass(frozen=True, slots=True)
class Times:
    """The seconds within which half of the durations ended, and 95 of a hundred; None without."""

    samples: int
    p50_seconds: float | None
    p95_seconds: float | None


@dataclass(frozen=True, slots=True)
class EffectTimes:
    """The time from receipt to success of an effect, and the deadline that fits it; None: too few
    are known.
    """

    effect_type: str
    samples: int
    p50_seconds: float | None
    p99_seconds: float | None
    proposed_minutes: int | None


@dataclass(frozen=True, slots=True)
class Activity:
    """Whether receipts of a project come. `last_receipt_at` None: there was none yet.

    `receipts_in_24_hours` is rounded to whole hours. `is_open_bounded`: there may be more than
    `open` open incidents.
    """

    last_receipt_at: datetime | None
    receipts_in_24_hours: int
    open: int
    is_open_bounded: bool


# Durations by measure and effect: how many are in each bucket.
Durations = Mapping[tuple[str, str], Mapping[int, int]]


@dataclass(frozen=True, slots=True)
class Overview:
    """The overview of some projects at `at`.

    1. `days` has a day for each of 30, oldest first; the last is today, and not over.
    2. `counted_until` is set if more facts are not counted yet than a page may count. Then what
        happened after it is missing.
    3. `oldest_event_id` is the event of the incident that has been open longest.
    """

    at: datetime
    days: tuple[DayCounts, ...]
    kinds: tuple[KindCounts, ...]
    currencies: tuple[CurrencyAmounts, ...]
    durations: Durations
    open: int
    repairing: int
    oldest_open_at: datetime | None
    oldest_event_id: EventId | None
    counted_until: datetime | None = None

    @property
    def today(self) -> Counts:
        return self.days[-1].counts

    @property
    def total(self) -> Counts:
        """The counts of all days."""
        total = Counts()
        for one in self.days:
            total = total.plus(one.counts)
        return total

    @property
    def detecting(self) -> Times:
        """From the receipt to the opening of its incident."""
        return self._times(Measure.DETECT)

    @property
    def recovering(self) -> Times:
        """From the opening of the incident to its success."""
        return self._times(Measure.RECOVER)

    @property
    def effects(self) -> tuple[EffectTimes, ...]:
        """The time from receipt to success of each effect, with the deadline that fits it."""
        return tuple(
            EffectTimes(
                effect_type,
                sum(buckets.values()),
                percentile(buckets, 50),
                percentile(buckets, 99),
                propose_minutes(buckets),
            )
            for (measure, effect_type), buckets in sorted(self.durations.items())
            if measure == Measure.APPLY
        )

    @property
    def proposed_minutes(self) -> int | None:
        """The deadline that fits every effect of which enough is known; None: of none."""
        proposed = [one.proposed_minutes for one in self.effects if one.proposed_minutes]
        return max(proposed, default=None)

    def _times(self, measure: Measure) -> Times:
        buckets = merged(found for (name, _), found in self.durations.items() if name == measure)
        return Times(sum(buckets.values()), percentile(buckets, 50), percentile(buckets, 95))


def merged(all_buckets: Iterable[Mapping[int, int]]) -> dict[int, int]:
    """The sums of several counts of durations."""
    sums: dict[int, int] = {}
    for buckets in all_buckets:
        for bucket, count in buckets.items():
            sums[bucket] = sums.get(bucket, 0) + count
    return sums


def most_first(kinds: Iterable[KindCounts]) -> Sequence[KindCounts]:
    """The kinds by the number of incidents, then of receipts, then by name."""
    return sorted(
        kinds,
        key=lambda one: (
            -one.counts.opened,
            -one.counts.accepted,
            one.effect_type,
            one.provider,
        ),
    )
