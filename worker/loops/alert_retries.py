"""Sends the alerts that no workflow has sent: failed ones, and those of runs that ended or were
lost.

It is a loop of its own, because a silent mail server takes many seconds per mail. A lease in the
store prevents two workers from sending the same alert. Run beside the reconciler by `worker.build`.
"""

import asyncio

import structlog

from activities.alerts.send import AlertActivities
from domain.errors import Unavailable

log = structlog.get_logger(__name__)


async def alert_retry_loop(alerts: AlertActivities, *, every_seconds: float) -> None:
    """Send all due alerts, pause, and repeat for ever."""
    while True:
        try:
            await alerts.deliver()
        except Unavailable:
            log.warning("alerting_store_unavailable")
        except Exception:
            # The edge of this loop: an alert that cannot be sent now must not end the worker.
            log.exception("alerting_failed")
        await asyncio.sleep(every_seconds)
