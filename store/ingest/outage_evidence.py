"""Writes the ingest heartbeat, which proves that ingest could commit, and records outages.

The heartbeat uses the ingest connection and takes the same table locks as ingest. The first
heartbeat after an outage ends it. The same transaction records the outage, so a deadline that sees
the heartbeat also sees the outage. The cost does not depend on the number of open receipts. Called
by `store.ingest.heartbeat`.
"""

import json
from datetime import timedelta

from domain.outage import Outage, heartbeat_interval, is_outage
from domain.values.timestamps import from_unix_ms, to_iso, to_unix_ms
from store.db.database import Clock
from store.db.sql import Statements
from store.status.heartbeats import ENDED, INGEST

# The tables that a receipt or a result writes and reads. A table lock that blocks one of them
# blocks the heartbeat too. Both read the API key first. A result also reads the outages that its
# deadline does not include yet.
WRITTEN = (
    "receipts",
    "results",
    "idempotency",
    "outbox",
    "timeline",
    "incidents",
    "repairs",
    "alerts",
    "early_results",
    "incident_groups",
    "group_amounts",
    "group_windows",
)
READ = ("projects", "alert_destinations", "api_keys", "outages")
_LOCKS = (
    f"LOCK TABLE {', '.join(WRITTEN)} IN ROW EXCLUSIVE MODE",
    f"LOCK TABLE {', '.join(READ)} IN ACCESS SHARE MODE",
)
# The clock of SQLite is the host's and may be set back. A heartbeat from the future proves nothing.
_FORGET_FUTURE = "DELETE FROM heartbeats WHERE role = $1 AND at > $2"
_LATEST = "SELECT max(CASE WHEN at <= $2 THEN at END), max(at) FROM heartbeats WHERE role = $1"
# A row that every API process writes, as a lock. A second process waits here until the first has
# committed its heartbeat, and then finds no outage.
_LOCK_OUTAGES = """
INSERT INTO facts (name, value) VALUES ('outage_noticed_at', $1)
ON CONFLICT (name) DO UPDATE SET value = excluded.value"""
_INSERT_OUTAGE = """
INSERT INTO outages (down_from, up_at, accepted_until, cursor)
VALUES ($1, $2, $3, '') RETURNING id"""
_INSERT_HEARTBEAT = """
INSERT INTO heartbeats (process, role, started_at, at, report) VALUES ($1, $2, $3, $3, $4)
ON CONFLICT (process) DO UPDATE SET at = excluded.at, report = excluded.report"""


async def write_ingest_heartbeat(
    st: Statements, clock: Clock, *, process: str, outage_seconds: int, has_ended: bool = False
) -> Outage | None:
    """Record that ingest could commit now. Return the outage that this ends, if there was one.

    `process` is the id of this committer, unlike that of any other process. `has_ended`: it accepts
    no more requests.
    """
    if st.dialect == "postgresql":
        for lock in _LOCKS:
            await st.fetch(lock)
    now_ms = to_unix_ms(await clock.now(st))
    outage = await _record_outage(st, now_ms, outage_seconds=outage_seconds)
    report = json.dumps({ENDED: True} if has_ended else {})
    await st.fetch(_INSERT_HEARTBEAT, process, INGEST, now_ms, report)
    return outage


async def _record_outage(st: Statements, now_ms: int, *, outage_seconds: int) -> Outage | None:
    if await _down_from(st, now_ms, outage_seconds=outage_seconds) is None:
        return None
    await st.fetch(_LOCK_OUTAGES, to_iso(from_unix_ms(now_ms)))
    down_from = await _down_from(st, now_ms, outage_seconds=outage_seconds)
    if down_from is None:
        return None
    # Ingest may have accepted requests for up to one heartbeat interval since it is up again.
    accepted_until = now_ms - heartbeat_interval(outage_seconds) // timedelta(milliseconds=1)
    ((outage_id,),) = await st.fetch(_INSERT_OUTAGE, down_from, now_ms, accepted_until)
    return Outage(id=outage_id, down_from=down_from, up_at=now_ms, accepted_until=accepted_until)


async def _down_from(st: Statements, now_ms: int, *, outage_seconds: int) -> int | None:
    """The time of the last heartbeat, if an outage began then. None if ingest was up."""
    last_ms, newest_ms = (await st.fetch(_LATEST, INGEST, now_ms))[0]
    if newest_ms is not None and newest_ms > now_ms:
        await st.fetch(_FORGET_FUTURE, INGEST, now_ms)
    last_at = None if last_ms is None else from_unix_ms(last_ms)
    now = from_unix_ms(now_ms)
    return last_ms if is_outage(last_at, now, outage_seconds=outage_seconds) else None
