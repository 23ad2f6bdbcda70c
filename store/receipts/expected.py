"""Events that a source saw at the provider: each is one receipt, whichever comes first.

`expect_receipts` makes a receipt in state `expected`, which starts its workflow, unless the event
has a receipt already. `accept_expected` gives an expected one the facts of the app's receipt.

Both run inside the caller's transaction and never commit. Running either twice changes nothing.
Every caller inserts identities in their order, then locks receipts in the order of their ids.
Called by sources and by `store.ingest.batch`.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from domain.ids import EventId, ProjectId
from domain.incidents import TimelineKind
from domain.lifecycle import LifecycleState, Trigger
from domain.receipts import ExpectedReceipt, NewReceipt, timeout_span
from domain.temporal.outbox import OutboxKind
from domain.values.text import well_formed
from domain.values.timestamps import to_iso, to_unix_ms
from store.crypto.tokens import new_event_id
from store.db.sql import Statements, among
from store.receipts.early_results.hold import (
    Identity,
    apply_held,
    holding_projects,
    lock_events,
)
from store.receipts.groups.apply import apply_group_changes
from store.receipts.groups.changes import ChangedAmount, GroupChanges
from store.receipts.outbox import enqueue_signal, enqueue_starts, has_unclaimed
from store.receipts.state import ReceiptSnapshot, lock_receipt, lock_receipts
from store.receipts.timeline import add_timeline, note, note_each
from store.receipts.transitions import apply_transition

SEEN = "A source saw the event at the provider."
PAYLOAD_DROPPED = "The payload was not kept: a source had expected the event before its receipt."
_TEXTS = (
    "event_id",
    "project_id",
    "provider",
    "provider_event_id",
    "stripe_event_id",
    "event_type",
    "effect_type",
    "internal_reference",
    "shopify_shop_domain",
    "source_id",
    "currency",
)
_NUMBERS = ("livemode", "occurred_at", "due_at", "amount")
_IDENTITY = ("project_id", "provider", "provider_event_id", "effect_type")
_OF_JSON = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in _TEXTS + _NUMBERS)
_GIVEN = {
    "sqlite": f"(SELECT {_OF_JSON} FROM json_each($1))",  # noqa: S608 - constants only
    "postgresql": "json_to_recordset(CAST($1 AS json))",
}
_TYPED = [f"{name} text" for name in _TEXTS] + [f"{name} bigint" for name in _NUMBERS]
_COLUMNS = {"sqlite": "", "postgresql": f"({', '.join(_TYPED)})"}
_INSERT = """
INSERT INTO receipts (event_id, project_id, livemode, state, provider, provider_event_id,
  stripe_event_id, event_type, effect_type, internal_reference, shopify_shop_domain, occurred_at,
  accepted_at, timeout_at, deadline_at, flags, request_id, expected_at, lacks_receipt, source_id,
  amount, currency)
SELECT event_id, project_id, livemode = 1, 'expected', provider, provider_event_id,
  stripe_event_id, event_type, effect_type, internal_reference, shopify_shop_domain, occurred_at,
  CAST($2 AS BIGINT), due_at, due_at, '', '', CAST($2 AS BIGINT), true, source_id,
  amount, currency
FROM {given} AS given{columns} WHERE true
ORDER BY project_id, provider, provider_event_id, effect_type
ON CONFLICT (project_id, provider, provider_event_id, effect_type) DO NOTHING
RETURNING event_id"""
_OF_IDENTITY = """r.project_id = given.project_id AND r.provider = given.provider
  AND r.provider_event_id = given.provider_event_id AND r.effect_type = given.effect_type"""
# One probe of the identity's index for each event. A plain join lets a planner without statistics
# read all receipts instead.
_PROBE = {
    "sqlite": f"CROSS JOIN receipts AS r ON {_OF_IDENTITY}",
    "postgresql": f"""CROSS JOIN LATERAL (
  SELECT r.event_id, r.source_id FROM receipts AS r WHERE {_OF_IDENTITY} LIMIT 1) AS r""",  # noqa: S608 - constants only
}
_FIND = """
SELECT given.event_id, r.event_id, r.source_id FROM {given} AS given{columns} {probe}
ORDER BY r.event_id"""
_SET_SOURCE = """
UPDATE receipts SET source_id = $1 WHERE event_id {among} AND source_id IS NULL
RETURNING event_id"""
# While an incident is open, the deadline that it missed stays.
_SET_FACTS = """
UPDATE receipts SET event_type = $2, internal_reference = $3, shopify_shop_domain = $4,
  stripe_event_id = $5, occurred_at = $6, request_id = $7,
  amount = COALESCE(CAST($8 AS BIGINT), amount), currency = COALESCE(CAST($9 AS TEXT), currency),
  customer_reference = $10, accepted_at = $11, timeout_at = $12,
  deadline_at = CASE WHEN state = 'expected' THEN $12 ELSE deadline_at END, lacks_receipt = false
WHERE event_id = $1"""
# An incident has copies of what its list reads.
_SET_COPIES = """
UPDATE incidents SET event_type = $2, amount = COALESCE(CAST($3 AS BIGINT), amount),
  currency = COALESCE(CAST($4 AS TEXT), currency), customer_reference = $5,
  sort_amount = COALESCE(CAST($3 AS BIGINT), sort_amount)
WHERE event_id = $1"""
_READ_AMOUNT = "SELECT amount, currency FROM incidents WHERE id = $1"
_LACKING = """
SELECT event_id FROM receipts WHERE project_id = $1 AND provider = $2 AND provider_event_id = $3
  AND effect_type = $4 AND lacks_receipt"""

_GivenRow = dict[str, Any]  # Any: the columns of an event, as JSON values


async def expect_receipts(
    st: Statements, events: Sequence[ExpectedReceipt], now: datetime
) -> Sequence[EventId]:
    """Make an expected receipt of each event that has none; returns the receipt of each event.

    The first source that saw the event of an existing receipt is stored and noted.
    """
    if not events:
        return []
    given = {_identity(event): (new_event_id(), event) for event in reversed(events)}
    holding = await holding_projects(st, {event.project_id for event in events})
    early = [event for event in events if event.project_id in holding]
    await lock_events(st, [(event.project_id, event.provider_event_id) for event in early])
    rows = {event_id: _row(event_id, event, now) for event_id, event in given.values()}
    inserted = await _fetch(st, _INSERT, rows.values(), to_unix_ms(now))
    new = {EventId(row[0]) for row in inserted}
    groups = GroupChanges()
    if new:
        await enqueue_starts(st, sorted(new), now)
    for event_id, event in given.values():
        if event_id in new and event.project_id in holding:
            await apply_held(st, event_id, Identity(*_identity(event)), now, groups)
    known = [row for event_id, row in rows.items() if event_id not in new]
    stored = {event_id: event_id for event_id in new} | await _find_known(st, known, now)
    await apply_group_changes(st, groups, now)
    return [stored[given[_identity(event)][0]] for event in events]


async def find_lacking(st: Statements, new: NewReceipt) -> EventId | None:
    """The receipt of this identity that a source expected and the app has not sent, unlocked."""
    for (event_id,) in await st.fetch(_LACKING, *_identity(new)):
        return EventId(event_id)
    return None


async def accept_expected(
    st: Statements,
    event_id: EventId,
    new: NewReceipt,
    now: datetime,
    groups: GroupChanges | None = None,
) -> None:
    """Give a receipt that a source expected the facts of the app's receipt, and its deadline.

    Nothing happens if another transaction did so before. The workflow reads the new deadline.
    `groups` as in `apply_transition`.
    """
    snapshot = await lock_receipt(st, event_id)
    if await find_lacking(st, new) != event_id:
        return
    timeout_at = now + timeout_span(new.timeout_minutes)
    await st.fetch(_SET_FACTS, event_id, *_facts(new), to_unix_ms(now), to_unix_ms(timeout_at))
    gathered = GroupChanges() if groups is None else groups
    await _set_copies(st, snapshot, new, gathered)
    accepted = {"timeout_at": to_iso(timeout_at), "request_id": new.request_id}
    await add_timeline(st, event_id, TimelineKind.RECEIPT_ACCEPTED, now, **accepted)
    await apply_transition(st, snapshot, Trigger.RECEIPT, now, groups=gathered)
    if groups is None:
        await apply_group_changes(st, gathered, now)
    if new.payload is not None:
        await note(st, event_id, now, text=PAYLOAD_DROPPED)
    is_expected = snapshot.state is LifecycleState.EXPECTED
    if is_expected and not await has_unclaimed(st, event_id, now):
        await enqueue_signal(st, event_id, OutboxKind.ACCEPTED, now)


async def _set_copies(
    st: Statements, snapshot: ReceiptSnapshot, new: NewReceipt, groups: GroupChanges
) -> None:
    """Give the incident the receipt's facts. The amount counts in its group too."""
    if snapshot.incident_id is None:
        return
    copies = (str(new.event_type), *_risk(new))
    ((*before,),) = await st.fetch(_READ_AMOUNT, snapshot.incident_id)
    await st.fetch(_SET_COPIES, snapshot.event_id, *copies)
    ((*after,),) = await st.fetch(_READ_AMOUNT, snapshot.incident_id)
    if snapshot.group_id is None or snapshot.cause is None or before == after:
        return
    groups.windows[snapshot.project_id] = snapshot.windows
    amounts = (before[0], before[1]), (after[0], after[1])
    groups.amounts.append(ChangedAmount(snapshot.cause, snapshot.group_id, *amounts))


async def _find_known(
    st: Statements, known: Sequence[_GivenRow], now: datetime
) -> dict[EventId, EventId]:
    """The receipts of events that have one, by their given ids."""
    if not known:
        return {}
    sources = {row["event_id"]: str(row["source_id"]) for row in known}
    found = await _fetch(st, _FIND, known)
    await _note_seen(
        st,
        {EventId(stored): sources[given] for given, stored, source in found if source is None},
        now,
    )
    return {EventId(given): EventId(stored) for given, stored, _ in found}


async def _note_seen(st: Statements, sources: Mapping[EventId, str], now: datetime) -> None:
    """Store and note the source of each receipt that had none.

    The trigger `seen` changes no state, so no snapshot is read.
    """
    by_source: dict[str, list[EventId]] = {}
    for event_id, source_id in sorted(sources.items()):
        by_source.setdefault(source_id, []).append(event_id)
    await lock_receipts(st, sorted(sources), skips_locked=False)
    sql = _SET_SOURCE.format(among=among(st.dialect, "$2"))
    for source_id, event_ids in sorted(by_source.items()):
        first = [EventId(row[0]) for row in await st.fetch(sql, source_id, json.dumps(event_ids))]
        await note_each(st, sorted(first), now, text=SEEN, source_id=source_id)


def _identity(event: ExpectedReceipt | NewReceipt) -> tuple[ProjectId, str, str, str]:
    return (
        event.project_id,
        str(event.provider),
        event.provider_event_id,
        str(event.effect_type),
    )


def _row(event_id: EventId, event: ExpectedReceipt, now: datetime) -> _GivenRow:
    values = {name: getattr(event, name) for name in _TEXTS if name != "event_id"}
    return values | {
        "event_id": event_id,
        "internal_reference": well_formed(event.internal_reference, characters=255),
        "livemode": int(event.livemode),
        "occurred_at": to_unix_ms(event.occurred_at),
        "amount": event.amount,
        "due_at": to_unix_ms(now + timeout_span(event.within_minutes)),
    }


def _facts(new: NewReceipt) -> tuple[str | int | None, ...]:
    return (
        str(new.event_type),
        new.internal_reference,
        new.shopify_shop_domain,
        new.stripe_event_id,
        to_unix_ms(new.occurred_at),
        new.request_id,
        *_risk(new),
    )


def _risk(new: NewReceipt) -> tuple[int | None, str | None, str | None]:
    return (new.amount, new.currency, new.customer_reference)


async def _fetch(
    st: Statements, sql: str, given: Iterable[_GivenRow], *values: int
) -> Sequence[Sequence[str]]:
    of, columns, probe = _GIVEN[st.dialect], _COLUMNS[st.dialect], _PROBE[st.dialect]
    statement = sql.format(given=of, columns=columns, probe=probe)
    return await st.fetch(statement, json.dumps(list(given)), *values)
