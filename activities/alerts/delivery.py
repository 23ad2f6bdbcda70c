"""Delivers one alert: check that it is still wanted, send the mail, store the outcome.

Called by `activities.alerts.send`, which claims the alerts.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

import structlog

from activities.alerts.email_format import OutgoingMail
from activities.alerts.email_message import MailWriter
from activities.alerts.email_smtp import MailNotSent
from activities.alerts.in_flight import TimedOutAddresses
from domain.incidents import AlertEnd, AlertKind, IncidentState
from domain.values.timestamps import to_unix_ms
from store.alerts.delivery import (
    AlertDue,
    record_alert_ended,
    record_alert_failed,
    record_alert_sent,
)
from store.db.database import Database
from store.people.email_addresses import AddressRefused
from store.status.heartbeats import ALERT_SENT_FACT, write_fact

# Longer than the mailer's own limit. With the time for a slot and for the record, shorter than the
# activity's start-to-close timeout.
SEND_SECONDS = 13
FIRST_RETRY_SECONDS = 5
LONGEST_RETRY_SECONDS = 600
# For so long, an alert is sent even if its incident has ended meanwhile, so that people get the
# whole story in order.
OVER_AFTER = timedelta(minutes=10)
# The shortest interval between two records that this process has sent mail.
SENT_FACT_SECONDS = 30.0

TIMED_OUT = "TimeoutError"
Mailer = Callable[[OutgoingMail], Awaitable[None]]
# None: sent. A text: the error, without an address; the alert is retried. An end: it is not
# retried.
Outcome = str | tuple[AlertEnd, str | None] | None
log = structlog.get_logger(__name__)


class AlertDelivery:
    """Delivers the alerts of one installation, one at a time."""

    def __init__(
        self,
        database: Database,
        *,
        writer: MailWriter,
        mailer: Mailer,
        timed_out: TimedOutAddresses,
    ) -> None:
        self._database = database
        self._writer = writer
        self._mailer = mailer
        self._timed_out = timed_out
        self._sent_fact_at = 0.0

    async def send(self, alert: AlertDue, at: datetime) -> Outcome:
        """Send the mail unless nobody wants it any more. A failure is an outcome, never raised.

        Raises:
            Unavailable: the store is unavailable, and nothing was sent.
        """
        end = await self._end_before_sending(alert)
        return await self._send(alert, at) if end is None else (end, None)

    async def record(self, alert: AlertDue, outcome: Outcome) -> None:
        """Store the outcome of an alert."""
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            match outcome:
                case None:
                    await record_alert_sent(session, alert.alert_id, now)
                    if time.monotonic() - self._sent_fact_at >= SENT_FACT_SECONDS:
                        await write_fact(session, ALERT_SENT_FACT, str(to_unix_ms(now)))
                        self._sent_fact_at = time.monotonic()
                case str():
                    retry_at = now + timedelta(seconds=retry_seconds(alert.tries))
                    await record_alert_failed(
                        session, alert.alert_id, now, error=outcome, retry_at=retry_at
                    )
                case reason, error:
                    await record_alert_ended(
                        session, alert.alert_id, now, reason=reason, error=error
                    )

    async def _end_before_sending(self, alert: AlertDue) -> AlertEnd | None:
        """Why the alert must not be sent any more; None if it must be sent."""
        if alert.facts is None:
            return None
        if not alert.facts.still_wants(alert.destination):
            return AlertEnd.ADDRESS_REMOVED
        is_over = alert.facts.incident.state is IncidentState.RESOLVED
        is_of_incident = alert.kind in {AlertKind.INCIDENT_OPENED, AlertKind.REPAIR_FAILED}
        if not is_of_incident or alert.failing_since is None or not is_over:
            return None
        async with self._database.reading() as session:
            now = await self._database.now(session)
        return AlertEnd.INCIDENT_OVER if now - alert.failing_since >= OVER_AFTER else None

    async def _send(self, alert: AlertDue, at: datetime) -> Outcome:
        fields = {"alert_id": alert.alert_id, "incident_id": alert.incident_id, "kind": alert.kind}
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send_full_or_plain(alert, at)
        except AddressRefused:
            log.warning("alert_address_refused", **fields)
            return AlertEnd.ADDRESS_REFUSED, None
        except MailNotSent as failure:
            self._timed_out.note(alert, is_silent=failure.is_silent)
            log.warning("alert_failed", **fields, error=str(failure), final=failure.is_permanent)
            return (AlertEnd.REFUSED, str(failure)) if failure.is_permanent else str(failure)
        except TimeoutError:
            self._timed_out.note(alert, is_silent=True)
            log.warning("alert_failed", **fields, error=TIMED_OUT)
            return TIMED_OUT
        except Exception as failure:
            # The edge of one alert: a mail that cannot be sent is retried and does not block
            # others.
            log.exception("alert_broken", **fields)
            return type(failure).__name__
        self._timed_out.note(alert, is_silent=False)
        log.info("alert_sent", **fields)
        return None

    async def _send_full_or_plain(self, alert: AlertDue, at: datetime) -> None:
        """Send the full mail. Send the plain one if the full one fails to render or is refused."""
        try:
            mail = self._writer.write(alert, at=at)
        except AddressRefused:
            raise
        except Exception:
            # The edge of one mail: a value that breaks the template must not stop the alert.
            log.exception(
                "alert_unwritable", alert_id=alert.alert_id, incident_id=alert.incident_id
            )
            await self._mailer(self._writer.write_plainly(alert, at=at))
            return
        try:
            await self._mailer(mail)
        except MailNotSent as failure:
            if not failure.is_content_refused:
                raise
            await self._mailer(self._writer.write_plainly(alert, at=at))


def retry_seconds(tries: int) -> int:
    """The delay before the next attempt after `tries` earlier failures: 5 s, doubling to 10 min."""
    return int(min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(tries, 10)))
