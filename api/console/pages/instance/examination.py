"""Runs the checks of `makegood doctor` for the console, seldom and never twice at a time.

A page waits for them a short time, then shows the last findings; the checks go on, and an update
shows theirs.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from api.http.single_flight import SingleFlight
from operations.instance.findings import Examine, Findings

AGAIN_AFTER_SECONDS = 15.0
WAIT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Examined:
    """The findings of one run, and when it ended."""

    findings: Findings
    at: datetime


class Examination:
    """The last findings of one process. `clock` is in seconds; `now` is the store's."""

    def __init__(
        self,
        examine: Examine,
        *,
        now: Callable[[], datetime],
        clock: Callable[[], float] = time.monotonic,
        wait_seconds: float = WAIT_SECONDS,
    ) -> None:
        self._examine, self._now, self._clock = examine, now, clock
        self._wait_seconds = wait_seconds
        self._runs = SingleFlight(self._run)
        self._last: Examined | None = None
        self._ended_at = 0.0

    async def latest(self) -> Examined | None:
        """The last findings. None while the first checks run."""
        if self._last is None or self._clock() - self._ended_at >= AGAIN_AFTER_SECONDS:
            try:
                return await self._runs.result(timeout_seconds=self._wait_seconds)
            except TimeoutError:
                pass
        return self._last

    async def _run(self) -> Examined:
        findings = await self._examine()
        self._last, self._ended_at = Examined(findings, self._now()), self._clock()
        return self._last
