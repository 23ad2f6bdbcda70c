"""Decides whether a passed deadline may open an incident while ingest might be down, and what an
outage credits.

Each API process writes heartbeats on the path that receipts and results take, so a heartbeat proves
that ingest could commit at that instant. For a deadline that has passed there are three cases:

1. A heartbeat at or after the deadline: ingest was up, and no later outage credits this deadline.
   It counts now.
2. No such heartbeat, but the last one is at most 1.5 intervals old: ingest is assumed up. The
   deadline counts now.
3. The last heartbeat is older: the deadline waits. The next heartbeat either arrives in time, or
   detects the outage and moves the deadline.

Pure. `store.ingest.heartbeat` writes heartbeats, `activities.lifecycle` and `worker.loops.overdue`
ask, and `store.receipts.outage_credit` applies credits.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

LONGEST_INTERVAL = timedelta(seconds=2)
# Several heartbeats fit into the shortest outage. Otherwise each pause between two would be an
# outage.
HEARTBEATS_IN_AN_OUTAGE = 4
# Also for heartbeats in the future: a clock that was set back since wrote them.
HEARTBEATS_UNTIL_DOWN = 1.5
# The grace period is half the outage so far: long outages cost few checks, and incidents open soon
# after them.
LONGEST_GRACE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage of ingest, in whole milliseconds since 1970.

    `down_from` is the last heartbeat before it and `up_at` the first after it. A receipt that was
    accepted after `accepted_until` was accepted when ingest was up again, before its first
    heartbeat.
    """

    id: int
    down_from: int
    up_at: int
    accepted_until: int


@dataclass(frozen=True, slots=True)
class IngestHeartbeats:
    """The last heartbeats of ingest.

    `last_at` is the newest of all API processes. `alive_at` is the newest of those that have not
    shut down; None when all have.
    """

    last_at: datetime
    alive_at: datetime | None


def heartbeat_interval(outage_seconds: int) -> timedelta:
    """How often ingest writes a heartbeat. With `outage_seconds` 0 no outage is credited."""
    shortest = timedelta(seconds=outage_seconds) / HEARTBEATS_IN_AN_OUTAGE
    return min(LONGEST_INTERVAL, shortest) if shortest else LONGEST_INTERVAL


def is_ingest_down(
    heartbeats: IngestHeartbeats | None, now: datetime, *, outage_seconds: int
) -> bool:
    """Whether no recent heartbeat shows that ingest is up.

    False when no API process has ever written one, and when outages are not credited.
    """
    if heartbeats is None or not outage_seconds:
        return False
    longest_silence = HEARTBEATS_UNTIL_DOWN * heartbeat_interval(outage_seconds)
    return heartbeats.alive_at is None or abs(now - heartbeats.alive_at) > longest_silence


def grace_ms(
    heartbeats: IngestHeartbeats | None, now: datetime, *, due_at: datetime, outage_seconds: int
) -> int | None:
    """How many milliseconds a deadline waits for evidence; None when it counts now, or is still in
    the future.
    """
    if heartbeats is None or not is_ingest_down(heartbeats, now, outage_seconds=outage_seconds):
        return None
    interval = heartbeat_interval(outage_seconds)
    is_last_known = heartbeats.last_at <= now + HEARTBEATS_UNTIL_DOWN * interval
    if now < due_at or (is_last_known and due_at <= heartbeats.last_at):
        return None
    grace = min(LONGEST_GRACE, max(interval, (now - heartbeats.last_at) / 2))
    return grace // timedelta(milliseconds=1)


def is_outage(last_at: datetime | None, now: datetime, *, outage_seconds: int) -> bool:
    """Whether the time since the last heartbeat is an outage to credit. `last_at` None: there is no
    heartbeat yet.
    """
    if last_at is None or not outage_seconds:
        return False
    return now - last_at > timedelta(seconds=outage_seconds)


def credit_ms(outage: Outage, *, accepted_at: int, deadline_at: int) -> int:
    """Milliseconds by which the outage moves a receipt's deadline; instants are unix milliseconds.

    This is the part of the outage that the receipt waited through. It is 0 if the deadline had
    passed when ingest went down. The SQL in `store.receipts.outage_credit` applies the same rule.
    """
    if deadline_at <= outage.down_from or accepted_at > outage.accepted_until:
        return 0
    return outage.up_at - max(outage.down_from, accepted_at)
