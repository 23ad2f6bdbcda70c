"""Tells people: claims the alerts that are due, sends each over SMTP, records what became of it.

The workflow runs it beside its wait; the reconciler sends what is left, with the same `deliver`. A lease keeps two senders from
one alert; a process that dies between sending and recording leaves a copy, known by its Message-ID. Built by `worker.main`.
"""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from email.message import EmailMessage

import structlog
from temporalio import activity

from activities.mail import MailWriter
from activities.messages import AlertsSent, SendAlerts
from activities.recording import recorded
from activities.smtp import MailNotSent
from domain.ids import IncidentId
from store.alerts import AlertDue, claim_alerts, record_alert_failed, record_alert_sent
from store.database import Database

# Longer than a sending takes, so that a claim is lost only with its process.
LEASE_SECONDS = 30
ALERTS_AT_ONCE = 8
# With `RECORD_SECONDS`, within the activity's start-to-close timeout.
SEND_SECONDS = 14
RECORD_SECONDS = 4
FIRST_RETRY_SECONDS = 5
LONGEST_RETRY_SECONDS = 600

Mailer = Callable[[EmailMessage], Awaitable[None]]
log = structlog.get_logger(__name__)


class AlertActivities:
    """The activity that sends an incident's mail."""

    def __init__(self, database: Database, *, writer: MailWriter, mailer: Mailer) -> None:
        self._database = database
        self._writer = writer
        self._mailer = mailer

    @activity.defn(name="send_alerts")
    async def send_alerts(self, order: SendAlerts) -> AlertsSent:
        """Send what is due of one incident. A second run finds the first's sent or under its lease, and sends the rest."""
        return await self.deliver(incident_id=IncidentId(order.incident_id))

    async def deliver(self, *, incident_id: IncidentId | None) -> AlertsSent:
        """Send up to eight alerts that are due, of one incident or, with None, of any."""
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            due = await claim_alerts(session, now, incident_id=incident_id, limit=ALERTS_AT_ONCE, lease_seconds=LEASE_SECONDS)
        # Each is recorded as soon as it is known: what holds up one must not have the others sent again.
        errors = await asyncio.gather(*(self._tell(alert, now) for alert in due), return_exceptions=True)
        for error in errors:
            if isinstance(error, BaseException):
                raise error
        failed = sum(error is not None for error in errors)
        return AlertsSent(sent=len(due) - failed, failed=failed)

    async def _tell(self, alert: AlertDue, at: datetime) -> str | None:
        error = await self._send(alert, at)
        await recorded(lambda: self._record(alert, error), seconds=RECORD_SECONDS)
        return error

    async def _send(self, alert: AlertDue, at: datetime) -> str | None:
        """None once the server has taken it, else what went wrong, without an address."""
        fields = {"alert_id": alert.alert_id, "incident_id": alert.incident.id, "kind": alert.kind}
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._mailer(self._writer.write(alert, at=at))
        except (MailNotSent, TimeoutError) as failure:
            error = str(failure) or type(failure).__name__
            log.warning("alert_failed", **fields, error=error)
            return error
        except Exception as failure:
            # The edge of one alert: a mail that cannot be written waits like one that cannot be sent, and holds up no other.
            log.exception("alert_broken", **fields)
            return type(failure).__name__
        log.info("alert_sent", **fields)
        return None

    async def _record(self, alert: AlertDue, error: str | None) -> None:
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            if error is None:
                await record_alert_sent(session, alert.alert_id, now)
            else:
                retry_at = now + timedelta(seconds=retry_seconds(alert.tries))
                await record_alert_failed(session, alert.alert_id, now, error=error, retry_at=retry_at)


def retry_seconds(tries: int) -> int:
    """How long an alert waits that failed after `tries` earlier failures: 5 s, doubling to 10 minutes."""
    return int(min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(tries, 10)))
