"""Sends the mail that no workflow has sent: what failed before, and what was left when a run ended or was lost.

A loop of its own, since a silent mail server takes many seconds for a mail. Run beside the reconciler by `worker.build`; a lease
in the store keeps several workers from sending one alert twice.
"""

import asyncio

import structlog

from activities.alerts.send import AlertActivities
from domain.errors import Unavailable

log = structlog.get_logger(__name__)


async def alert_retry_loop(alerts: AlertActivities, *, every_seconds: float) -> None:
    """Send what is due until nothing is left, for ever, with pauses."""
    while True:
        try:
            await alerts.deliver()
        except Unavailable:
            log.warning("alerting_store_unavailable")
        except Exception:
            # The edge of this loop: mail that cannot be sent now must not end the worker.
            log.exception("alerting_failed")
        await asyncio.sleep(every_seconds)
