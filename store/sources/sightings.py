"""Records what sources saw at the provider: each event is a receipt, and a row of its source.

Runs inside the caller's transaction and never commits. Running it twice changes nothing. The
events of one transaction are recorded in one call, so that two transactions lock in one order:
sources, identities of receipts, receipts, rows of sources.
"""

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from domain.ids import EventId, SourceId
from domain.sources.events import Sighting
from domain.sources.source import Source
from domain.values.text import is_storable
from domain.values.timestamps import to_unix_ms
from store.db.sql import Statements
from store.receipts.expected import expect_receipts

LONGEST_ID = 255
# The row of a source is written at most so often: its webhooks would wait for each other.
RECEIVED_EVERY = timedelta(seconds=1)
_TEXTS = (
    *("source_id", "project_id", "event_id", "provider_event_id"),
    *("event_type", "effect_type", "currency"),
)
_NUMBERS = ("occurred_at", "seen_at", "amount")
_NAMES = _TEXTS + _NUMBERS
_OF_JSON = ", ".join(f"json_extract(value, '$.{name}') AS {name}" for name in _NAMES)
_TYPED = [f"{name} text" for name in _TEXTS] + [f"{name} bigint" for name in _NUMBERS]
_GIVEN = {
    "sqlite": f"(SELECT {_OF_JSON} FROM json_each($1)) AS given",  # noqa: S608 - constants only
    "postgresql": f"json_to_recordset(CAST($1 AS json)) AS given({', '.join(_TYPED)})",
}
_INSERT = f"""
INSERT INTO source_events ({", ".join(_NAMES)})
SELECT {", ".join(_NAMES)} FROM {{given}} WHERE true
ORDER BY source_id, provider_event_id, effect_type
ON CONFLICT (source_id, provider_event_id, effect_type) DO NOTHING
RETURNING source_id"""  # noqa: S608 - constants only
# The lock lets the row be written, and makes the removal of the source wait.
_LOCK = "SELECT every_minutes FROM sources WHERE id = $1 AND deleted_at IS NULL"
_LOCK_SOURCE = {"sqlite": _LOCK, "postgresql": f"{_LOCK} FOR KEY SHARE"}
_RECEIVED = """
UPDATE sources SET last_event_at = $2, silent_since = NULL,
  alerted_at = CASE WHEN problem IS NULL THEN NULL ELSE alerted_at END
WHERE id = $1 AND (last_event_at IS NULL OR last_event_at <= $3 OR silent_since IS NOT NULL)"""


@dataclass(frozen=True, slots=True)
class Recorded:
    """How many sightings a call stored that were not stored before.

    One whose id no receipt can have (empty, over 255 characters, with NUL) is not stored.
    """

    new: int


async def record_sightings(
    st: Statements, source: Source, sightings: Sequence[Sighting], now: datetime
) -> Recorded:
    """Record what one source saw. A source that was removed meanwhile records nothing.

    Without sightings nothing happens: see `record_received`.
    """
    return await record_sightings_of(st, {source.id: sightings}, now)


async def record_sightings_of(
    st: Statements, seen: Mapping[SourceId, Sequence[Sighting]], now: datetime
) -> Recorded:
    """Record what several sources saw, as `record_sightings`, in one transaction."""
    locked = await _lock_sources(st, [source_id for source_id, one in seen.items() if one])
    recordable = {
        _key(sighting): sighting
        for source_id in locked
        for sighting in reversed(seen[source_id])
        if _is_recordable(sighting)
    }
    sightings = list(recordable.values())
    event_ids = await expect_receipts(st, [sighting.receipt for sighting in sightings], now)
    rows = [
        _row(sighting, event_id, now)
        for sighting, event_id in zip(sightings, event_ids, strict=True)
    ]
    inserted = _INSERT.format(given=_GIVEN[st.dialect])
    new = await st.fetch(inserted, json.dumps(rows)) if rows else []
    # A listing shows the events of the last hour again: only new ones count.
    with_news = {SourceId(row[0]) for row in new}
    received = [one for one, is_listed in locked.items() if one in with_news or not is_listed]
    await record_received(st, received, now)
    return Recorded(new=len(new))


async def record_received(
    st: Statements,
    source_ids: Collection[SourceId],
    now: datetime,
    *,
    every: timedelta = RECEIVED_EVERY,
) -> None:
    """Record that the sources received an event, expected or not: they are not silent.

    The row is written only if the last time is at least `every` ago, or the source was silent.
    """
    for source_id in sorted(source_ids):
        await st.fetch(_RECEIVED, source_id, to_unix_ms(now), to_unix_ms(now - every))


async def _lock_sources(st: Statements, source_ids: Collection[SourceId]) -> dict[SourceId, bool]:
    """Those that are not removed, by id, and whether each lists. They stay until the transaction
    ends.
    """
    locked = {}
    for source_id in sorted(source_ids):
        for row in await st.fetch(_LOCK_SOURCE[st.dialect], source_id):
            locked[source_id] = row[0] is not None
    return locked


def _key(sighting: Sighting) -> tuple[str, str, str]:
    receipt = sighting.receipt
    return receipt.source_id, receipt.provider_event_id, str(receipt.effect_type)


def _is_recordable(sighting: Sighting) -> bool:
    provider_event_id = sighting.receipt.provider_event_id
    return 0 < len(provider_event_id) <= LONGEST_ID and is_storable(provider_event_id)


def _row(sighting: Sighting, event_id: EventId, now: datetime) -> dict[str, str | int | None]:
    event, receipt = sighting.event, sighting.receipt
    return {
        "source_id": receipt.source_id,
        "project_id": receipt.project_id,
        "event_id": event_id,
        "provider_event_id": receipt.provider_event_id,
        "event_type": str(receipt.event_type),
        "effect_type": str(receipt.effect_type),
        "occurred_at": to_unix_ms(event.occurred_at),
        "seen_at": to_unix_ms(now),
        "amount": receipt.amount,
        "currency": receipt.currency,
    }
