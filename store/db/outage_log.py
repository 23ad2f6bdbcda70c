"""Logs why the store is unavailable, with the setting to check, and when it is available again.

Every caller only gets `Unavailable`, so this is where an operator finds the reason: a server that
is down, a file that is no database, a role without rights. Used by `store.db.pools`.
"""

import time

import structlog

REPEAT_SECONDS = 60.0
REASON_CHARACTERS = 300
FIX = "start the database, or correct MAKEGOOD_DATABASE_URL or MAKEGOOD_DATA_DIR"

log = structlog.get_logger(__name__)


class OutageLog:
    """The log of one opened store. A lasting outage is logged once a minute."""

    def __init__(self) -> None:
        self._logged_at: float | None = None  # monotonic clock; None while the store is available

    def failed(self, error: BaseException) -> None:
        """Log that the store could not be used, unless that was logged within the last minute."""
        now = time.monotonic()
        if self._logged_at is not None and now - self._logged_at < REPEAT_SECONDS:
            return
        self._logged_at = now
        lines = str(error).strip().splitlines() or [""]
        reason = f"{type(error).__name__}: {lines[0]}"[:REASON_CHARACTERS]
        log.warning("store_unavailable", reason=reason, fix=FIX)

    def succeeded(self) -> None:
        """Log the end of an outage that was logged."""
        if self._logged_at is not None:
            self._logged_at = None
            log.info("store_available")
