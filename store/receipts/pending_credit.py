"""Reads outages of ingest that are not applied to every deadline yet. Writes nothing and locks
nothing.

`store.receipts.outage_credit` applies an outage in batches, so a reader can find a receipt whose
deadline does not have its credit yet. `credited_receipts` computes the deadline that the receipt
will have, and `pending_entries` the timeline entries. `domain.outage.credit_ms` is the rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Row
from sqlalchemy.ext.asyncio import AsyncSession

from domain.incidents import TimelineEntry, TimelineKind
from domain.outage import Outage, credit_ms
from domain.receipts import Receipt, ReceiptState
from domain.values.timestamps import from_unix_ms, to_unix_ms
from store.db.sql import SessionStatements, Statements
from store.schema.mappers import receipt_from

UNDECIDED = frozenset({ReceiptState.EXPECTED, ReceiptState.WAITING})
_PENDING = """
SELECT id, down_from, up_at, accepted_until FROM outages WHERE done_at IS NULL ORDER BY id"""


@dataclass(frozen=True, slots=True)
class PendingCredit:
    """An outage that is not applied to every deadline yet."""

    outage: Outage
    age_seconds: float


async def pending_outages(st: Statements) -> list[Outage]:
    """The outages that are not applied to every deadline yet, oldest first; usually none."""
    return [Outage(*row) for row in await st.fetch(_PENDING)]


async def read_pending_credit(session: AsyncSession, now: datetime) -> PendingCredit | None:
    """The oldest outage that is still being applied; None without one."""
    pending = await pending_outages(SessionStatements(session))
    if not pending:
        return None
    return PendingCredit(pending[0], (to_unix_ms(now) - pending[0].up_at) / 1000)


# Any: columns, as named
async def credited_receipts(session: AsyncSession, rows: Sequence[Row[Any]]) -> list[Receipt]:
    """The receipts of these rows, with every pending outage applied to their deadlines.

    Writes nothing.
    """
    receipts = [receipt_from(row) for row in rows]
    if not any(receipt.state in UNDECIDED for receipt in receipts):
        return receipts
    pending = await pending_outages(SessionStatements(session))
    if not pending:
        return receipts
    return [
        _credited(receipt, row.credited_outage, pending)
        for receipt, row in zip(receipts, rows, strict=True)
    ]


async def pending_entries(session: AsyncSession, row: Row[Any]) -> list[TimelineEntry]:
    """The timeline entries that the pending outages will add to this row's receipt.

    Writes nothing.
    """
    before = receipt_from(row)
    entries: list[TimelineEntry] = []
    if before.state not in UNDECIDED:
        return entries
    for outage in await pending_outages(SessionStatements(session)):
        after = _credited(before, row.credited_outage, [outage])
        if after.deadline_at > before.deadline_at:
            moved_seconds = int((after.deadline_at - before.deadline_at).total_seconds())
            fields = {
                "down_from": from_unix_ms(outage.down_from),
                "credited_seconds": moved_seconds,
            }
            entries.append(
                TimelineEntry(from_unix_ms(outage.up_at), TimelineKind.DEADLINE_CREDITED, fields)
            )
        before = after
    return entries


def _credited(receipt: Receipt, credited_outage: int, pending: Sequence[Outage]) -> Receipt:
    if receipt.state not in UNDECIDED:
        return receipt
    accepted_at, deadline_at = to_unix_ms(receipt.listed_at), to_unix_ms(receipt.deadline_at)
    for outage in pending:
        if outage.id > credited_outage:
            deadline_at += credit_ms(outage, accepted_at=accepted_at, deadline_at=deadline_at)
    return replace(receipt, deadline_at=from_unix_ms(deadline_at))
