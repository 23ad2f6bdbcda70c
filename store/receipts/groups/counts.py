"""Writes the rows of groups: an incident joins one, moves within it, and brings its amount.

Each function locks the group's row until the transaction ends. Called by
`store.receipts.groups.apply`, `adoption` and `windows`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.groups.group import Cause
from domain.ids import GroupId
from domain.incidents import IncidentState
from domain.values.timestamps import from_unix_ms, to_unix_ms
from store.crypto.tokens import new_group_id
from store.db.sql import Row, Statements
from store.receipts.groups.changes import Amount

# SQLite's sum fails beyond 64 bits, and so does a column of PostgreSQL.
PART = 10**9
_IS_CAUSE = "project_id = $1 AND effect_type = $2 AND reason = $3 AND error_code = $4"
_ROW = "id, first_at, muted_until, open_count + repairing_count, resolved_count"
_JOIN = f"""
UPDATE incident_groups SET open_count = open_count + $6, stage = 'unresolved',
  last_at = CASE WHEN last_at < $7 THEN $7 ELSE last_at END,
  first_at = CASE WHEN first_at > $7 THEN $7 ELSE first_at END
WHERE {_IS_CAUSE} AND takes_more AND last_at >= $5 RETURNING {_ROW}"""  # noqa: S608 - constants only
_RETIRE = f"""
UPDATE incident_groups SET takes_more = false
WHERE {_IS_CAUSE} AND takes_more AND last_at < $5"""  # noqa: S608 - constants only
# Another transaction may have made the group meanwhile.
_CREATE = f"""
INSERT INTO incident_groups (project_id, effect_type, reason, error_code, id, takes_more, stage,
  first_at, last_at, open_count, repairing_count, resolved_count)
VALUES ($1, $2, $3, $4, $5, $8, 'unresolved', $7, $7, $6, 0, 0)
ON CONFLICT (project_id, effect_type, reason, error_code) WHERE takes_more DO UPDATE SET
  open_count = incident_groups.open_count + excluded.open_count, stage = 'unresolved',
  last_at = CASE WHEN incident_groups.last_at < excluded.last_at THEN excluded.last_at
    ELSE incident_groups.last_at END
RETURNING {_ROW}"""  # noqa: S608 - constants only
_SET_GROUP = {
    "sqlite": "UPDATE incidents SET group_id = $1 WHERE id IN (SELECT value FROM json_each($2))",
    "postgresql": (
        "UPDATE incidents SET group_id = $1"
        " WHERE id = ANY(ARRAY(SELECT json_array_elements_text(CAST($2 AS json))))"
    ),
}
_MOVE = f"""
UPDATE incident_groups SET open_count = open_count + $2, repairing_count = repairing_count + $3,
  resolved_count = resolved_count + $4,
  stage = CASE WHEN open_count + $2 + repairing_count + $3 > 0 THEN 'unresolved' ELSE 'resolved' END
WHERE id = $1 RETURNING {_ROW}"""  # noqa: S608 - constants only
_LOCK = {
    "sqlite": "SELECT muted_until FROM incident_groups WHERE id = $1",
    "postgresql": "SELECT muted_until FROM incident_groups WHERE id = $1 FOR UPDATE",
}
_ADD_AMOUNT = """
INSERT INTO group_amounts (group_id, currency, billions, rest) VALUES ($1, $2, $3, $4)
ON CONFLICT (group_id, currency) DO UPDATE SET
  billions = group_amounts.billions + excluded.billions,
  rest = group_amounts.rest + excluded.rest"""


@dataclass(frozen=True, slots=True)
class LockedGroup:
    """A group after a change. Its row is locked."""

    id: GroupId
    cause: Cause
    first_at: datetime
    muted_until: datetime | None
    unresolved: int
    total: int

    def is_muted(self, now: datetime) -> bool:
        return self.muted_until is not None and self.muted_until > now


async def join_group(
    st: Statements,
    cause: Cause,
    incidents: Sequence[tuple[str, Amount]],
    *,
    at: datetime,
    window: timedelta,
) -> LockedGroup:
    """Add incidents that opened at `at` to the group of their cause; one is made if none fits.

    With a window of zero, each call makes a new one, which takes no more.
    """
    count, at_ms = len(incidents), to_unix_ms(at)
    takes_more, since_ms = bool(window), to_unix_ms(at - window)
    rows = await st.fetch(_JOIN, *cause, since_ms, count, at_ms) if takes_more else ()
    if not rows:
        if takes_more:
            await st.fetch(_RETIRE, *cause, since_ms)
        rows = await st.fetch(_CREATE, *cause, new_group_id(), count, at_ms, takes_more)
    group = _locked(cause, rows[0])
    ids = json.dumps([incident_id for incident_id, _ in incidents])
    await st.fetch(_SET_GROUP[st.dialect], group.id, ids)
    await add_amounts(st, group.id, [(1, amount) for _, amount in incidents])
    return group


async def move_in_group(
    st: Statements,
    cause: Cause,
    group_id: GroupId,
    moves: Iterable[tuple[IncidentState, IncidentState]],
) -> LockedGroup | None:
    """Count incidents of the group in their new states. None: the group was erased."""
    counts: Counter[IncidentState] = Counter()
    for before, after in moves:
        counts[before] -= 1
        counts[after] += 1
    rows = await st.fetch(_MOVE, group_id, *(counts[state] for state in IncidentState))
    return _locked(cause, rows[0]) if rows else None


async def add_amounts(
    st: Statements, group_id: GroupId, amounts: Iterable[tuple[int, Amount]]
) -> None:
    """Add amounts to the group's sums, each with its sign."""
    sums: Counter[str] = Counter()
    for sign, (amount, currency) in amounts:
        if amount is not None and currency is not None:
            sums[currency] += sign * amount
    for currency in sorted(sums):
        await st.fetch(_ADD_AMOUNT, group_id, currency, *divmod(sums[currency], PART))


async def lock_group(st: Statements, group_id: GroupId) -> datetime | None:
    """Lock the group's row; returns until when it is muted. None also if it was erased."""
    for (muted_ms,) in await st.fetch(_LOCK[st.dialect], group_id):
        return None if muted_ms is None else from_unix_ms(muted_ms)
    return None


def _locked(cause: Cause, row: Row) -> LockedGroup:
    group_id, first_ms, muted_ms, unresolved, resolved = row
    return LockedGroup(
        GroupId(group_id),
        cause,
        from_unix_ms(first_ms),
        None if muted_ms is None else from_unix_ms(muted_ms),
        unresolved,
        unresolved + resolved,
    )
