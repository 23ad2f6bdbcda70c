"""Sends the mail that no workflow has sent: what failed before, and what was left when a run ended or was lost.

A loop of its own, since a silent mail server takes 15 s for a batch. Run beside the reconciler by `worker.parts`; a lease in the
store keeps several workers from sending one alert twice.
"""

import asyncio

import structlog

from activities.alerts import ALERTS_AT_ONCE, AlertActivities
from domain.errors import Unavailable

log = structlog.get_logger(__name__)


async def keep_alerting(alerts: AlertActivities, *, every_seconds: float) -> None:
    """Send what is due, a batch at a time, for ever; a pause follows when there was less than a batch."""
    while True:
        is_full = False
        try:
            outcome = await alerts.deliver(incident_id=None)
            is_full = outcome.sent + outcome.failed >= ALERTS_AT_ONCE
        except Unavailable:
            log.warning("alerting_store_unavailable")
        except Exception:
            # The edge of this loop: mail that cannot be sent now must not end the worker.
            log.exception("alerting_failed")
        await asyncio.sleep(0 if is_full else every_seconds)
