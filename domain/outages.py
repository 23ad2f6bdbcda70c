"""When ingest counts as silent, and which deadlines are left alone meanwhile, since an outage of it will be credited to them.

An API process writes beats. A deadline that is due counts at once when a beat was written at or after it: no later outage is
credited to it. Else the front door is taken to be up while its last beat is no older than a beat and a half, so that a healthy
system never waits for one; after that the deadline waits for the next beat, which either comes in time or brings the credit.
Pure; `api.pulse` beats, `activities.ledger` and `worker.reconcile` ask.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

LONGEST_BEAT = timedelta(seconds=2)
# Several beats fit into the shortest outage that counts, or each pause between two would be one.
BEATS_IN_AN_OUTAGE = 4
BEATS_UNTIL_SILENT = 1.5
# A hold lasts half the silence so far, so that a long one costs little and what it held opens soon after it.
LONGEST_HOLD = timedelta(seconds=30)


@dataclass(frozen=True, slots=True)
class IngestBeats:
    """The last beat of all API processes, and of those that have not said that they end; None: every one has."""

    last_at: datetime
    alive_at: datetime | None


def beat_interval(outage_seconds: int) -> timedelta:
    """How often an API process beats; `outage_seconds` 0: no outage is credited."""
    shortest = timedelta(seconds=outage_seconds) / BEATS_IN_AN_OUTAGE
    return min(LONGEST_BEAT, shortest) if shortest else LONGEST_BEAT


def is_silent(beats: IngestBeats | None, now: datetime, *, outage_seconds: int) -> bool:
    """Nothing says that ingest is up. Never where no API has ever beaten, nor where outages are not credited."""
    if beats is None or not outage_seconds:
        return False
    return beats.alive_at is None or now - beats.alive_at > BEATS_UNTIL_SILENT * beat_interval(outage_seconds)


def hold_ms(beats: IngestBeats | None, now: datetime, *, due_at: datetime, outage_seconds: int) -> int | None:
    """For how many milliseconds a deadline is left alone; None when it counts now, or is still ahead."""
    if beats is None or not is_silent(beats, now, outage_seconds=outage_seconds):
        return None
    if now < due_at or due_at <= beats.last_at:
        return None
    hold = min(LONGEST_HOLD, max(beat_interval(outage_seconds), (now - beats.last_at) / 2))
    return hold // timedelta(milliseconds=1)
