"""The JSON of sources, their checks and their reports. No field shows a secret."""

from datetime import date
from typing import Annotated, Literal, Self

from pydantic import Field

from domain.sources import source as values
from domain.sources.source import ShopifyIdentity, SourceKind, SourceProblem, SourceState
from operations.names import EffectTypeText, EventTypeText
from operations.responses.base import WARNINGS, At, OrNewer, Response
from operations.responses.projects import int_if_whole
from operations.sources import sources
from operations.sources.sources import CheckedSource, SourceWithGaps
from store.sources import report

SourceIdText = Annotated[str, Field(examples=["src_019ab01c2d3e7f4a8b5c6d7e8f901234"])]
MinorUnits = Annotated[int, Field(description="In the minor unit of the currency.")]


class Expectation(Response):
    """A type of event that the app must send a receipt for."""

    event_type: EventTypeText
    effect_type: EffectTypeText
    within_minutes: int | float
    reference: str | None
    livemode: bool
    since: At = Field(
        description="When the pair of types was added to the source. Older events make nothing."
    )

    @classmethod
    def of(cls, source: values.Source, expects: values.Expects) -> Self:
        return cls.from_value(
            expects,
            within_minutes=int_if_whole(expects.within_minutes),
            since=source.expected_since(expects),
        )


class SourceFields(Response):
    """The fields that a source has in lists and alone."""

    id: SourceIdText
    kind: SourceKind
    name: str
    state: SourceState
    expects: list[Expectation]
    every_minutes: int | None = Field(description="Null for a webhook.")
    silent_after_minutes: int | None = Field(description="Null: it is never silent.")
    shop_domain: str | None = Field(description="Null for Stripe.")
    account: str | None = Field(description="The connected account that is listed, if any.")
    identity: ShopifyIdentity
    hook_path: str | None = Field(
        description="Of a webhook: the path of this installation that the provider calls."
    )
    created_at: At
    paused_at: At | None
    last_event_at: At | None = Field(description="When it last received an event, or listed one.")
    last_listed_at: At | None = Field(description="When its last listing ended well.")
    listed_until: At | None = Field(description="All events up to then are stored.")
    silent_since: At | None
    problem: OrNewer[SourceProblem] | None = Field(description="Why it is failing.")
    problem_detail: str | None
    problem_since: At | None
    schedule_pending: bool = Field(
        description="Of a listing: its Schedule at Temporal does not follow its last change yet."
    )
    schedule_retry_at: At | None = Field(
        description="When that is tried again, after it failed. Null: it did not fail."
    )

    @classmethod
    def from_source(cls, source: values.Source, **fields: object) -> Self:
        return cls.from_value(
            source,
            expects=[Expectation.of(source, expects) for expects in source.expects],
            hook_path=f"/hooks/{source.id}" if source.kind.is_webhook else None,
            schedule_pending=not source.is_scheduled,
            **fields,
        )


class Source(SourceFields):
    """A source, as in a list. No response has its secret."""

    @classmethod
    def of(cls, source: values.Source) -> Self:
        return cls.from_source(source)


class ChangedSource(SourceFields):
    """A source after a change."""

    warnings: list[str] = WARNINGS

    @classmethod
    def of(cls, changed: sources.ChangedSource) -> Self:
        return cls.from_source(changed.source, warnings=list(changed.warnings))


class SourceList(Response):
    """All sources of a project, oldest first: at most 50, so there is one page."""

    data: list[Source]
    has_more: Literal[False]
    next_cursor: None

    @classmethod
    def of(cls, sources: list[values.Source]) -> Self:
        data = [Source.of(source) for source in sources]
        return cls(data=data, has_more=False, next_cursor=None)


class Gap(Response):
    """A span of time whose events were not listed, and cannot be listed any more."""

    from_at: At
    until_at: At
    found_at: At

    @classmethod
    def of(cls, gap: values.Gap) -> Self:
        return cls.from_value(gap)


class FullSource(SourceFields):
    """A source with its newest 100 gaps, newest first."""

    gaps: list[Gap]

    @classmethod
    def of(cls, read: SourceWithGaps) -> Self:
        return cls.from_source(read.source, gaps=[Gap.of(gap) for gap in read.gaps])


class RemovedSource(Response):
    """A source that was removed. Its secret is erased; what it expected before stays."""

    id: SourceIdText
    removed: Literal[True]

    @classmethod
    def of(cls, source: values.Source) -> Self:
        return cls(id=source.id, removed=True)


class SourceCheck(Response):
    """What a check found: the answer of the provider, or of a webhook what came last."""

    id: SourceIdText
    ok: bool
    detail: str = Field(description="A sentence for people. It quotes nothing of the provider.")
    status: int | None = Field(description="The provider's HTTP status; null without an answer.")
    state: SourceState
    problem: OrNewer[SourceProblem] | None
    last_event_at: At | None
    last_listed_at: At | None

    @classmethod
    def of(cls, checked: CheckedSource) -> Self:
        asked = checked.asked
        return cls.from_value(checked.source, ok=asked.ok, detail=asked.detail, status=asked.status)


class CurrencySum(Response):
    """Sums of the amounts at the provider in one currency."""

    currency: str
    events: MinorUnits
    missing_receipts: MinorUnits
    missing_results: MinorUnits

    @classmethod
    def of(cls, summed: report.CurrencySum) -> Self:
        return cls.from_value(summed)


class SourceReport(Response):
    """What the source saw on a day (UTC, by the instant at the provider), and what came of it.

    An event with two expected effects counts twice. `awaited`: there is none yet, and there is
    time. `missing`: there is none, and the time is over. A receipt may be awaited after its result.
    """

    source_id: SourceIdText
    day: date
    events: int
    receipts: int
    awaited_receipts: int
    missing_receipts: int
    results: int
    awaited_results: int
    missing_results: int
    incidents: int = Field(
        description="Those of reason `missing_receipt`, also if the receipt came later."
    )
    amounts: list[CurrencySum]
    gaps: list[Gap] = Field(description="Spans of the day that were never listed.")

    @classmethod
    def of(cls, made: report.SourceReport) -> Self:
        counts = {name: getattr(made.counts, name) for name in report.DayReport.__slots__}
        return cls.from_value(
            made,
            amounts=[CurrencySum.of(summed) for summed in made.amounts],
            gaps=[Gap.of(gap) for gap in made.gaps],
            **counts,
        )
