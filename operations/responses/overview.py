"""The JSON of the overview of a project."""

from typing import Self

from pydantic import Field

from domain.overview import silence, summary
from domain.values.timestamps import to_iso
from operations.overview.overview import ProjectOverview
from operations.responses.base import At, EventIdText, Response
from operations.responses.projects import int_if_whole


class Counts(Response):
    """How many receipts had each outcome, or the sums of their amounts."""

    accepted: int
    applied: int = Field(description="Success without an incident.")
    late: int = Field(description="Success after the incident opened, without a repair.")
    repaired: int
    closed: int = Field(description="Resolved by hand. A reopened incident counts at each end.")
    opened: int = Field(description="Incidents that opened.")

    @classmethod
    def of(cls, counts: summary.Counts) -> Self:
        return cls.from_value(counts)


class Day(Counts):
    """The counts of a day (UTC). Today is not over."""

    day: str = Field(examples=["2026-11-23"])

    @classmethod
    def of_day(cls, one: summary.DayCounts) -> Self:
        return cls.from_value(one.counts, day=to_iso(one.day)[:10])


class KindOfEffect(Counts):
    """The counts of 30 days of an effect and a provider."""

    effect_type: str
    provider: str

    @classmethod
    def of_kind(cls, one: summary.KindCounts) -> Self:
        return cls.from_value(one.counts, effect_type=one.effect_type, provider=one.provider)


class Amounts(Counts):
    """Sums of amounts, in the minor unit of the currency. `open`: of unresolved incidents now."""

    currency: str
    open: int

    @classmethod
    def of_currency(cls, one: summary.CurrencyAmounts) -> Self:
        return cls.from_value(one.amounts, currency=one.currency, open=one.open)


class Times(Response):
    """The seconds within which 50 and 95 of a hundred ended; null without any."""

    samples: int
    p50_seconds: float | None
    p95_seconds: float | None

    @classmethod
    def of(cls, times: summary.Times) -> Self:
        return cls.from_value(times)


class EffectDeadline(Response):
    """The time from receipt to success of an effect, and the deadline that fits it."""

    effect_type: str
    samples: int
    p50_seconds: float | None
    p99_seconds: float | None
    proposed_minutes: int | None = Field(description="Null: too few successes are known.")

    @classmethod
    def of(cls, effect: summary.EffectTimes) -> Self:
        return cls.from_value(effect)


class Silence(Response):
    """After how many minutes without a receipt it is silent, and whether it is."""

    event_type: str | None = Field(description="Null: all receipts of the project.")
    minutes: int | None = Field(description="Null: never, or too little is known yet.")
    is_learned: bool
    silent_since: At | None = Field(description="The last receipt before the silence.")

    @classmethod
    def of(cls, watch: silence.Watch) -> Self:
        return cls.from_value(watch, event_type=watch.event_type or None)


class Overview(Response):
    """What happened to the receipts of a project today and in 30 days, and what is open now."""

    project_id: str
    at: At
    counted_until: At | None = Field(
        description="Later facts are missing, because too many are not counted yet. Null: none is."
    )
    open: int
    repairing: int
    oldest_open_at: At | None
    oldest_event_id: EventIdText | None
    today: Counts
    last_30_days: Counts
    days: list[Day] = Field(description="Of each of 30 days, oldest first.")
    kinds: list[KindOfEffect]
    amounts: list[Amounts]
    time_to_detect: Times = Field(description="From the receipt to its incident.")
    time_to_recover: Times = Field(description="From the incident to its success.")
    timeout_minutes: int | float
    proposed_timeout_minutes: int | None = Field(
        description="Twice the slowest hundredth. Null: too little is known, or it is set already."
    )
    effects: list[EffectDeadline]
    last_receipt_at: At | None
    receipts_in_24_hours: int
    silences: list[Silence] = Field(description="The whole project first. Empty while suspended.")

    @classmethod
    def of(cls, found: ProjectOverview) -> Self:
        overview = found.overview
        return cls.from_value(
            overview,
            project_id=found.project.id,
            today=Counts.of(overview.today),
            last_30_days=Counts.of(overview.total),
            days=[Day.of_day(one) for one in overview.days],
            kinds=[KindOfEffect.of_kind(one) for one in overview.kinds],
            amounts=[Amounts.of_currency(one) for one in overview.currencies],
            time_to_detect=Times.of(overview.detecting),
            time_to_recover=Times.of(overview.recovering),
            timeout_minutes=int_if_whole(found.project.timeout_minutes),
            proposed_timeout_minutes=found.proposed_minutes,
            effects=[EffectDeadline.of(one) for one in overview.effects],
            last_receipt_at=found.activity.last_receipt_at,
            receipts_in_24_hours=found.activity.receipts_in_24_hours,
            silences=[Silence.of(one) for one in found.watches],
        )
