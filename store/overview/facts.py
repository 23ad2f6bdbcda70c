"""Reads what happened to receipts after a place: in the order of one project, or of many at once.

There are three streams: accepted receipts, ended receipts, and opened incidents. Each is read by
an index that begins with the project.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.ids import ProjectId
from domain.incidents import Resolution
from domain.overview.counts import Fact, Measure, Outcome
from domain.receipts import ReceiptState
from domain.values.timestamps import from_unix_ms, to_unix_ms
from store.db.sql import Row, Statements, among
from store.schema.tables import RECEIPT_HAS_ENDED

STREAMS = ("accepted", "ended", "opened")

_COLUMNS = {
    "accepted": "r.accepted_at, r.event_id, r.effect_type, r.provider, r.amount, r.currency,"
    " r.event_type, CASE WHEN r.lacks_receipt THEN 1 ELSE 0 END",
    "ended": "r.ended_at, r.event_id, r.effect_type, r.provider, r.amount, r.currency,"
    " r.state, r.accepted_at, i.resolution, i.opened_at",
    "opened": "i.opened_at, i.id, i.effect_type, r.provider, i.amount, i.currency, r.accepted_at",
}
_TABLES = {"accepted": "receipts AS r", "ended": "receipts AS r", "opened": "incidents AS i"}
_JOINS = {
    "accepted": "",
    "ended": " LEFT JOIN incidents AS i ON i.event_id = r.event_id",
    "opened": " JOIN receipts AS r ON r.event_id = i.event_id",
}
_KEYS = {
    "accepted": ("r.accepted_at", "r.event_id"),
    "ended": ("r.ended_at", "r.event_id"),
    "opened": ("i.opened_at", "i.id"),
}
# SQLite uses the partial index only where its condition stands.
_CONDITIONS = {"accepted": "", "ended": f" AND r.{RECEIPT_HAS_ENDED}", "opened": ""}


@dataclass(frozen=True, slots=True)
class Stored:
    """A fact, the place of its row, and the event type of an accepted receipt.

    `fact` is None for an expected event whose receipt has not come: it has a place, and is not
    counted.
    """

    at_ms: int
    row_id: str
    fact: Fact | None
    event_type: str | None = None


def order_of(stream: str) -> str:
    """The columns that order a stream, as a row value."""
    return ", ".join(_KEYS[stream])


def exists_after(stream: str, *, until: str) -> str:
    """Whether project `p` has facts of the stream after its progress `c`, before `until`.

    `$1` is where a project without progress begins. Not EXISTS, which PostgreSQL turns into a join
    that reads all rows.
    """
    at, row_id = _KEYS[stream]
    alias = at[0]
    return f"""(SELECT 1 FROM {_TABLES[stream]} WHERE {alias}.project_id = p.id
  AND ({at}, {row_id}) > (COALESCE(c.{stream}_at, CAST($1 AS BIGINT)), COALESCE(c.{stream}_id, ''))
  AND {at} < {until}{_CONDITIONS[stream]} ORDER BY {at}, {row_id} LIMIT 1) IS NOT NULL"""  # noqa: S608 - constants only


async def facts_after(
    st: Statements,
    stream: str,
    project_id: ProjectId,
    *,
    after: tuple[int, str],
    before: datetime,
    limit: int,
) -> list[Stored]:
    """The next facts of one project, in their order."""
    at, row_id = _KEYS[stream]
    sql = (
        f"SELECT {_COLUMNS[stream]} FROM {_TABLES[stream]}{_JOINS[stream]}"  # noqa: S608
        f" WHERE {at[0]}.project_id = $1 AND ({at}, {row_id}) > ($2, $3) AND {at} < $4"
        f"{_CONDITIONS[stream]} ORDER BY {at}, {row_id} LIMIT $5"
    )
    rows = await st.fetch(sql, project_id, *after, to_unix_ms(before), limit)
    return [_READERS[stream](row) for row in rows]


async def uncounted_facts(
    st: Statements, stream: str, scope: Sequence[ProjectId], *, start_ms: int, limit: int
) -> list[Stored]:
    """Up to `limit` facts of these projects that are not counted yet, in any order."""
    at, row_id = _KEYS[stream]
    sql = (
        f"SELECT {_COLUMNS[stream]} FROM projects AS p"  # noqa: S608 - constants only
        f" LEFT JOIN count_progress AS c ON c.project_id = p.id"
        f" CROSS JOIN {_TABLES[stream]}{_JOINS[stream]}"
        f" WHERE p.id {among(st.dialect, '$1')} AND {at[0]}.project_id = p.id"
        f" AND ({at}, {row_id}) > (COALESCE(c.{stream}_at, CAST($2 AS BIGINT)),"
        f" COALESCE(c.{stream}_id, '')){_CONDITIONS[stream]} LIMIT $3"
    )
    rows = await st.fetch(sql, json.dumps(scope), start_ms, limit)
    return [_READERS[stream](row) for row in rows]


def _accepted(row: Row) -> Stored:
    at_ms, row_id, effect_type, provider, amount, currency, event_type, lacks_receipt = row
    if lacks_receipt:
        return Stored(at_ms, row_id, None)
    at = from_unix_ms(at_ms)
    fact = Fact(Outcome.ACCEPTED, at, effect_type, provider, amount, currency)
    return Stored(at_ms, row_id, fact, event_type)


def _ended(row: Row) -> Stored:
    at_ms, row_id, effect_type, provider, amount, currency, *how = row
    state, accepted_ms, resolution, opened_ms = how
    outcome = _outcome(state, resolution)
    if outcome is None:
        return Stored(at_ms, row_id, None)
    lasted: list[tuple[Measure, timedelta]] = []
    if outcome in (Outcome.APPLIED, Outcome.LATE):
        lasted.append((Measure.APPLY, timedelta(milliseconds=at_ms - accepted_ms)))
    if outcome in (Outcome.LATE, Outcome.REPAIRED):
        lasted.append((Measure.RECOVER, timedelta(milliseconds=at_ms - opened_ms)))
    at = from_unix_ms(at_ms)
    fact = Fact(outcome, at, effect_type, provider, amount, currency, tuple(lasted))
    return Stored(at_ms, row_id, fact)


def _opened(row: Row) -> Stored:
    at_ms, row_id, effect_type, provider, amount, currency, accepted_ms = row
    lasted = ((Measure.DETECT, timedelta(milliseconds=at_ms - accepted_ms)),)
    at = from_unix_ms(at_ms)
    fact = Fact(Outcome.OPENED, at, effect_type, provider, amount, currency, lasted)
    return Stored(at_ms, row_id, fact)


def _outcome(state: str, resolution: str | None) -> Outcome | None:
    """How a receipt ended; None for an end that only a newer version knows."""
    match state:
        case ReceiptState.APPLIED:
            return Outcome.APPLIED
        case ReceiptState.CLOSED:
            return Outcome.CLOSED
        case ReceiptState.RECOVERED if resolution == Resolution.REPAIRED:
            return Outcome.REPAIRED
        case ReceiptState.RECOVERED if resolution is not None:
            # Also one that the app found applied: no repair applied it.
            return Outcome.LATE
    return None


_READERS = {"accepted": _accepted, "ended": _ended, "opened": _opened}
