"""Maps rows of holds, bulk repairs and rules to domain values, as `store.schema.mappers` does."""

from typing import Any

from sqlalchemy import Row

from domain.repairing.bulk import (
    BulkItem,
    BulkRepair,
    BulkState,
    Counts,
    ItemState,
    Plan,
    SkipReason,
)
from domain.repairing.holds import Hold
from domain.repairing.rules import Rule, RuleSpec
from domain.values.enums import member_or_text
from store.schema.mappers import from_row


def hold_from(row: Row[Any], *, held: int) -> Hold:
    return from_row(Hold, row, until=row.until_at, held=held)


def bulk_from(row: Row[Any], *, counts: Counts) -> BulkRepair:
    plan = Plan(
        first=row.first_count,
        then=row.then_count,
        per_minute=row.per_minute,
        stop_at_failed_percent=row.stop_at_failed_percent,
    )
    state = member_or_text(BulkState, row.state)
    return from_row(BulkRepair, row, state=state, plan=plan, counts=counts)


def bulk_item_from(row: Row[Any]) -> BulkItem:
    because = row.skipped_because
    return from_row(
        BulkItem,
        row,
        state=member_or_text(ItemState, row.state),
        skipped_because=None if because is None else member_or_text(SkipReason, because),
    )


def rule_from(row: Row[Any]) -> Rule:
    return from_row(Rule, row, spec=from_row(RuleSpec, row))
