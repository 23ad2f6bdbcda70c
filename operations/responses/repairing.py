"""The JSON of bulk repairs, holds, and rules of automatic repair."""

from collections.abc import Sequence
from typing import Annotated, Literal, Self

from pydantic import Field

from domain.repairing import bulk, holds
from domain.repairing.bulk import BulkState, ItemState, SkipReason
from domain.repairing.rules import Rule
from operations.names import EffectTypeText, EventTypeText
from operations.repairing.bulk_repairs import BulkWithItems
from operations.responses.base import (
    At,
    EventIdText,
    IncidentIdText,
    OrNewer,
    ReplayIdText,
    Response,
)
from store.db.paging import Page

BulkIdText = Annotated[str, Field(examples=["blk_019ab01c2d3e7f4a8b5c6d7e8f901234"])]
HoldIdText = Annotated[str, Field(examples=["hld_019ab01c2d3e7f4a8b5c6d7e8f901234"])]


class BulkRepairEstimate(Response):
    """What a bulk repair would do now. `amounts` are sums of the repairable incidents, by currency,
    in minor units.
    """

    matched: int
    repairable: int
    superseded: int
    held: int
    without_repair_url: int
    amounts: dict[str, int]

    @classmethod
    def of(cls, estimate: bulk.Estimate) -> Self:
        return cls.from_value(estimate)


class BulkRepairStarted(Response):
    """The bulk repair that was started."""

    bulk_id: BulkIdText


class BulkRepairPlan(Response):
    """How fast it begins its repairs, and when it stops itself."""

    first: int
    then: int
    per_minute: int
    stop_at_failed_percent: int

    @classmethod
    def of(cls, plan: bulk.Plan) -> Self:
        return cls.from_value(plan)


class BulkRepairCounts(Response):
    """The incidents of a bulk repair by state."""

    waiting: int
    repairing: int
    succeeded: int
    failed: int
    skipped: int

    @classmethod
    def of(cls, counts: bulk.Counts) -> Self:
        return cls.from_value(counts)


class BulkRepair(Response):
    """A repair of many incidents, in steps."""

    bulk_id: BulkIdText
    state: OrNewer[BulkState]
    counts: BulkRepairCounts
    stopped_because: str | None
    reason: str
    requested_by: str
    plan: BulkRepairPlan
    include_superseded: bool
    created_at: At
    ended_at: At | None

    @classmethod
    def of(cls, one: bulk.BulkRepair) -> Self:
        return cls.from_value(one, **_bulk_fields(one))


class BulkRepairItem(Response):
    """An incident of a bulk repair."""

    position: int
    incident_id: IncidentIdText
    event_id: EventIdText
    state: OrNewer[ItemState]
    replay_id: ReplayIdText | None
    skipped_because: OrNewer[SkipReason] | None
    begun_at: At | None
    decided_at: At | None

    @classmethod
    def of(cls, item: bulk.BulkItem) -> Self:
        return cls.from_value(item)


class FullBulkRepair(BulkRepair):
    """A bulk repair with a page of its incidents, in their order."""

    items: list[BulkRepairItem]
    has_more: bool
    next_cursor: str | None

    @classmethod
    def of_items(cls, found: BulkWithItems) -> Self:
        return cls.from_value(
            found.bulk,
            **_bulk_fields(found.bulk),
            items=[BulkRepairItem.of(item) for item in found.items.rows],
            has_more=found.items.next_cursor is not None,
            next_cursor=found.items.next_cursor,
        )


class BulkRepairList(Response):
    """A page of bulk repairs, newest first."""

    data: list[BulkRepair]
    has_more: bool
    next_cursor: str | None

    @classmethod
    def of(cls, page: Page[bulk.BulkRepair]) -> Self:
        return cls.from_value(
            page,
            data=[BulkRepair.of(row) for row in page.rows],
            has_more=page.next_cursor is not None,
        )


class Hold(Response):
    """A hold: while it is active, no repair of the incidents that it matches begins."""

    id: HoldIdText
    effect_type: EffectTypeText | None
    internal_reference: str | None
    all: bool = Field(description="It matches every incident of the project.")
    reason: str
    until: At | None
    created_at: At
    created_by: str
    held: int = Field(description="How many repairs it holds, at most 1,000.")

    @classmethod
    def of(cls, hold: holds.Hold) -> Self:
        return cls.from_value(hold, all=hold.is_of_all)


class HoldList(Response):
    """The active holds of the project, oldest first: at most 200, so there is one page."""

    data: list[Hold]
    has_more: Literal[False]
    next_cursor: None

    @classmethod
    def of(cls, listed: Sequence[holds.Hold]) -> Self:
        data = [Hold.of(hold) for hold in listed]
        return cls(data=data, has_more=False, next_cursor=None)


class RepairRule(Response):
    """A rule of automatic repair. `failures` counts those in a row."""

    name: str
    effect_type: EffectTypeText | None
    event_type: EventTypeText | None
    reason: str | None
    error_code: str | None
    delay_seconds: int
    max_repairs_per_incident: int
    max_per_hour: int
    disarm_after_failures: int
    failures: int
    disarmed_at: At | None

    @classmethod
    def of(cls, rule: Rule) -> Self:
        return cls.from_value(rule.spec, failures=rule.failures, disarmed_at=rule.disarmed_at)


class RepairRules(Response):
    """The rules of the project, in their order."""

    rules: list[RepairRule]

    @classmethod
    def of(cls, listed: Sequence[Rule]) -> Self:
        return cls(rules=[RepairRule.of(rule) for rule in listed])


def _bulk_fields(one: bulk.BulkRepair) -> dict[str, object]:
    return {
        "bulk_id": one.id,
        "counts": BulkRepairCounts.of(one.counts),
        "plan": BulkRepairPlan.of(one.plan),
    }
