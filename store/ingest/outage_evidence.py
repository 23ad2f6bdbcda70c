"""Writes the evidence that ingest could commit: a beat on the front door's connection, behind the locks that it needs.

An outage of ingest ends with the first beat after it. The same transaction records the outage, so that a deadline which sees
the beat sees what the outage credits. Its work is the same for one open receipt as for a million. Called by the pulse.
"""

import json
from datetime import timedelta

from domain.outage import Outage, beat_interval, is_outage
from domain.values.timestamps import from_unix_ms, to_iso, to_unix_ms
from store.db.database import Clock
from store.db.sql import Statements
from store.status.heartbeats import ENDED, INGEST

# What a receipt or a result may write, and what it reads: a lock on a table that would stop one of them stops the beat.
# Before either comes its key; a result also reads the outages that are not in its deadline yet.
WRITTEN = ("receipts", "results", "idempotency", "outbox", "timeline", "incidents", "repairs", "alerts")
READ = ("projects", "api_keys", "outages")
_LOCKS = (
    f"LOCK TABLE {', '.join(WRITTEN)} IN ROW EXCLUSIVE MODE",
    f"LOCK TABLE {', '.join(READ)} IN ACCESS SHARE MODE",
)
# The clock of SQLite is the host's, which may be set back: a beat from the future shows nothing, and would do so until then.
_FORGET_FUTURE = "DELETE FROM heartbeats WHERE role = $1 AND at > $2"
_LATEST = "SELECT max(CASE WHEN at <= $2 THEN at END), max(at) FROM heartbeats WHERE role = $1"
# One row that every front door writes: a second one waits here until the first has beaten, and then finds no outage.
_ALONE = """
INSERT INTO facts (name, value) VALUES ('outage_noticed_at', $1) ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
_NOTICE = "INSERT INTO outages (down_from, up_at, accepted_until, cursor) VALUES ($1, $2, $3, '') RETURNING id"
_BEAT = """
INSERT INTO heartbeats (process, role, started_at, at, report) VALUES ($1, $2, $3, $3, $4)
ON CONFLICT (process) DO UPDATE SET at = excluded.at, report = excluded.report"""


async def beat_ingest(
    st: Statements, clock: Clock, *, process: str, outage_seconds: int, has_ended: bool = False
) -> Outage | None:
    """Say that a front door could commit now; the outage that this ends, if there was one.

    `process` names this front door and no process of another role. `has_ended`: it takes nothing more.
    """
    if st.dialect == "postgresql":
        for lock in _LOCKS:
            await st.fetch(lock)
    now_ms = to_unix_ms(await clock.now(st))
    outage = await _notice_outage(st, now_ms, outage_seconds=outage_seconds)
    report = json.dumps({ENDED: True} if has_ended else {})
    await st.fetch(_BEAT, process, INGEST, now_ms, report)
    return outage


async def _notice_outage(st: Statements, now_ms: int, *, outage_seconds: int) -> Outage | None:
    if await _down_from(st, now_ms, outage_seconds=outage_seconds) is None:
        return None
    await st.fetch(_ALONE, to_iso(from_unix_ms(now_ms)))
    down_from = await _down_from(st, now_ms, outage_seconds=outage_seconds)
    if down_from is None:
        return None
    # Since ingest is up again, it may have accepted something for as long as a beat takes.
    accepted_until = now_ms - beat_interval(outage_seconds) // timedelta(milliseconds=1)
    rows = await st.fetch(_NOTICE, down_from, now_ms, accepted_until)
    return Outage(id=rows[0][0], down_from=down_from, up_at=now_ms, accepted_until=accepted_until)


async def _down_from(st: Statements, now_ms: int, *, outage_seconds: int) -> int | None:
    """The last beat, if an outage began with it."""
    last_ms, newest_ms = (await st.fetch(_LATEST, INGEST, now_ms))[0]
    if newest_ms is not None and newest_ms > now_ms:
        await st.fetch(_FORGET_FUTURE, INGEST, now_ms)
    last_at = None if last_ms is None else from_unix_ms(last_ms)
    return last_ms if is_outage(last_at, from_unix_ms(now_ms), outage_seconds=outage_seconds) else None
