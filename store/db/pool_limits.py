"""The size and the time limits of each connection pool (`store.db.pools`)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolLimits:
    """The size and the time limits of a pool.

    - `permit_seconds`: how long a session waits for a permit.
    - `each`: how many connections one name may have. None: all of them.
    - `limit_seconds`: how long a statement may take. None: the usual limit.
    - `lock_seconds`: how long a statement waits for a locked row of PostgreSQL.
    - `cooldown_factor`: a permit cools down for this many times as long as it was used, clamped to
      `cooldown_seconds` (least, most). So one name has a bounded share of the processors.
    """

    connections: int
    permit_seconds: float = 15
    each: int | None = None
    limit_seconds: float | None = None
    lock_seconds: float | None = None
    cooldown_factor: float = 0.0
    cooldown_seconds: tuple[float, float] = (0.1, 2.0)

    def cooldown_after(self, used_seconds: float) -> float:
        """The cooldown. Fast requests have one too: a request costs more than its SQL."""
        least, most = self.cooldown_seconds
        if not self.cooldown_factor:
            return 0.0
        return min(max(used_seconds * self.cooldown_factor, least), most)


# On PostgreSQL an API process has at most 12 connections, the ingest connection included. A worker
# has at most 13, its listener's included. Six processes of both fit into a server's default of 100.
# A session that waits for a locked row holds a connection, so it waits no longer than ingest does.
# In a worker, more than the activities that wait for a row (`worker.temporal.activity_slots`).
WRITING = PoolLimits(connections=5, lock_seconds=5)
API_WRITERS = 2
READING = PoolLimits(connections=2, permit_seconds=3)
SEARCHING = PoolLimits(connections=3, permit_seconds=2, each=2, limit_seconds=2, cooldown_factor=3)
# Unknown keys are looked up one at a time (`api.auth.api_keys`), so one in use waits for one.
KEY_LOOKUP = PoolLimits(connections=1, permit_seconds=5, limit_seconds=2)
HEARTBEAT = PoolLimits(connections=1, permit_seconds=5, limit_seconds=10)
WATCHING = PoolLimits(connections=1, permit_seconds=2, limit_seconds=2)
MEASURING = PoolLimits(connections=1, permit_seconds=2, limit_seconds=1)
LOOPING = PoolLimits(connections=3)
