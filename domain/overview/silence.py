"""When a project, or one type of its events, has been silent for unusually long.

1. A project says after how many minutes: `silent_after_minutes`. 0 is never.
2. None is learned: twice the age that the last receipt rarely exceeds, of those at every hour of 14
   days. So nights and weekends without receipts count. It is off until enough is known, and in
   test projects.
3. Silence is judged of the past: of receipts of the last minute, nothing is known yet.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from domain.ids import ProjectId

HOUR = timedelta(hours=1)
LEARNED_FROM = timedelta(days=14)
# Less than a week has no weekend in it.
LEAST_HISTORY = timedelta(days=7)
LEAST_RECEIPTS, LEAST_HOURS = 50, 12
HEADROOM, PERCENT = 2, 99
SHORTEST_LEARNED = timedelta(minutes=15)
# A project that is quiet for a week now and then is never silent by what was learned.
LONGEST_LEARNED = timedelta(days=14)
MAXIMUM_SILENT_MINUTES = 43_200
MOST_EVENT_TYPES = 50


@dataclass(frozen=True, slots=True)
class HourOfReceipts:
    """The receipts of an hour, and the last of them."""

    hour: datetime
    receipts: int
    last_at: datetime


class Verdict(Enum):
    """What to record about a silence."""

    BEGINS = "begins"
    ENDS = "ends"


@dataclass(frozen=True, slots=True)
class Watch:
    """The silence of a project; with an `event_type`, of its receipts of that type.

    1. `set_minutes` is the setting: 0 is never, None is learned.
    2. `last_at` is the last counted receipt; None: there was none in 45 days.
    3. `watched_from` is when the project was created or last resumed.
    4. `silent_since` is the last receipt before the silence that is recorded, None without one.
    """

    project_id: ProjectId
    event_type: str
    livemode: bool
    set_minutes: int | None
    learned_minutes: int | None
    learned_at: datetime | None
    watched_from: datetime
    last_at: datetime | None
    silent_since: datetime | None

    @property
    def minutes(self) -> int | None:
        """After how many minutes it is silent; None: never."""
        if self.set_minutes is not None:
            return self.set_minutes or None
        return self.learned_minutes if self.livemode else None

    @property
    def is_learned(self) -> bool:
        """Whether nobody set the minutes."""
        return self.set_minutes is None

    @property
    def since(self) -> datetime:
        """From when the silence counts."""
        return max(at for at in (self.last_at, self.watched_from) if at is not None)

    def verdict(self, as_of: datetime) -> Verdict | None:
        """What changes at `as_of`; None: nothing."""
        if self.silent_since is not None:
            is_over = self.minutes is None or self.since > self.silent_since
            return Verdict.ENDS if is_over else None
        if self.minutes is None or as_of - self.since < timedelta(minutes=self.minutes):
            return None
        return Verdict.BEGINS


def learn_minutes(hours: Sequence[HourOfReceipts], now: datetime) -> int | None:
    """After how many minutes without a receipt a silence is unusual, by these hours in their order.

    None: too little is known, or the project is quiet for too long too often.
    """
    hours = [one for one in hours if one.hour >= now - LEARNED_FROM]
    if len(hours) < LEAST_HOURS or sum(one.receipts for one in hours) < LEAST_RECEIPTS:
        return None
    if now - hours[0].hour < LEAST_HISTORY:
        return None
    ages = sorted(_ages(hours, now))
    usual = ages[math.ceil(len(ages) * PERCENT / 100) - 1]
    learned = max(SHORTEST_LEARNED, usual * HEADROOM)
    if learned > LONGEST_LEARNED:
        return None
    return math.ceil(learned / SHORTEST_LEARNED) * (SHORTEST_LEARNED // timedelta(minutes=1))


def _ages(hours: Sequence[HourOfReceipts], now: datetime) -> list[timedelta]:
    """The age of the last receipt at the end of each hour."""
    last_of = {one.hour: one.last_at for one in hours}
    ages, hour, last_at = [], hours[0].hour, hours[0].last_at
    while hour + HOUR <= now:
        last_at = last_of.get(hour, last_at)
        hour += HOUR
        ages.append(hour - last_at)
    return ages
