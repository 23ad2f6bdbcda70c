"""When ingest counts as silent, which deadlines wait meanwhile, and what an outage of it credits to them.

A beat says that ingest could commit at that instant; it is written on the path that receipts and results take. That a process
lives is no beat. A deadline that is due counts at once when a beat was written at or after it: no later outage is credited to it.
Else the front door is taken to be up while its last beat is no older than a beat and a half, so that a healthy system never waits
for one; after that the deadline waits for the next beat, which either comes in time or brings the credit. Pure;
`store.ingest.heartbeat` beats, `activities.lifecycle` and `worker.loops.reconcile` ask, `store.receipts.outage_credit` applies
credits.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

LONGEST_BEAT = timedelta(seconds=2)
# Several beats fit into the shortest outage that counts, or each pause between two would be one.
BEATS_IN_AN_OUTAGE = 4
BEATS_UNTIL_DOWN = 1.5  # the other way round too: a beat further ahead was written by a clock that was set back since
# A hold lasts half the silence so far, so that a long one costs little and what it held opens soon after it.
LONGEST_GRACE = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class Outage:
    """An outage of ingest, in whole milliseconds since 1970.

    `down_from` is the last beat before it and `up_at` the first after it. A receipt accepted after `accepted_until` was accepted
    by a front door that was up again, before its first beat.
    """

    id: int
    down_from: int
    up_at: int
    accepted_until: int


@dataclass(frozen=True, slots=True)
class IngestBeats:
    """The last beat of every front door, and of those that have not said that they end; None: every one has."""

    last_at: datetime
    alive_at: datetime | None


def beat_interval(outage_seconds: int) -> timedelta:
    """How often a front door beats; `outage_seconds` 0: no outage is credited."""
    shortest = timedelta(seconds=outage_seconds) / BEATS_IN_AN_OUTAGE
    return min(LONGEST_BEAT, shortest) if shortest else LONGEST_BEAT


def is_ingest_down(beats: IngestBeats | None, now: datetime, *, outage_seconds: int) -> bool:
    """Nothing says that ingest is up. Never where no API has ever beaten, nor where outages are not credited."""
    if beats is None or not outage_seconds:
        return False
    return beats.alive_at is None or abs(now - beats.alive_at) > BEATS_UNTIL_DOWN * beat_interval(outage_seconds)


def grace_ms(beats: IngestBeats | None, now: datetime, *, due_at: datetime, outage_seconds: int) -> int | None:
    """For how many milliseconds a deadline is left alone; None when it counts now, or is still ahead."""
    if beats is None or not is_ingest_down(beats, now, outage_seconds=outage_seconds):
        return None
    is_last_known = beats.last_at <= now + BEATS_UNTIL_DOWN * beat_interval(outage_seconds)
    if now < due_at or (is_last_known and due_at <= beats.last_at):
        return None
    hold = min(LONGEST_GRACE, max(beat_interval(outage_seconds), (now - beats.last_at) / 2))
    return hold // timedelta(milliseconds=1)


def is_outage(last_at: datetime | None, now: datetime, *, outage_seconds: int) -> bool:
    """Whether the time since the last beat is an outage to credit. None: there was no beat yet."""
    if last_at is None or not outage_seconds:
        return False
    return now - last_at > timedelta(seconds=outage_seconds)


def credit_ms(outage: Outage, *, accepted_at: int, deadline_at: int) -> int:
    """By how much the outage moves a receipt's deadline; instants and the answer in milliseconds.

    The part of the outage that the receipt waited through, if its deadline was still open when ingest went down. SQL in
    `store.receipts.outage_credit` says the same.
    """
    if deadline_at <= outage.down_from or accepted_at > outage.accepted_until:
        return 0
    return outage.up_at - max(outage.down_from, accepted_at)
