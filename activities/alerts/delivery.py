"""Delivers one alert: check that it is still wanted, send it by its channel, store the outcome.

Called by `activities.alerts.send`, which claims the alerts.
"""

import asyncio
import time
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import structlog

from activities.alerts.channels import (
    NO_LINKS,
    AlertMessage,
    AlertNotDelivered,
    Channel,
    Channels,
    MailLinks,
    TargetRefused,
    channel_of,
)
from activities.alerts.in_flight import TimedOutDestinations
from activities.alerts.message import write_message, write_plain_message
from activities.alerts.subjects.group_message import write_group_message
from activities.alerts.subjects.repairing_message import write_repairing_message
from activities.alerts.subjects.silence_message import write_silence_message
from activities.alerts.subjects.source_message import write_source_message
from activities.alerts.subjects.unclaimed_message import write_unclaimed_message
from domain.alerts import AlertChannel, alert_retry_seconds, is_destination_id
from domain.errors import Unavailable
from domain.incidents import AlertEnd, AlertKind
from domain.values.timestamps import to_unix_ms
from store.alerts.delivery import (
    hold_alert,
    record_alert_ended,
    record_alert_failed,
    record_alert_sent,
)
from store.alerts.destinations import read_secret_target
from store.alerts.due import (
    AlertDue,
    AlertFacts,
    GroupAlertFacts,
    RepairingFacts,
    SourceAlertFacts,
    UnclaimedFacts,
)
from store.alerts.links import mail_tokens
from store.crypto.encryption import Sealer
from store.db.database import Database
from store.overview.silence import SilenceFacts
from store.status.heartbeats import ALERT_SENT_FACT, write_fact

# Longer than a channel's own limit. With the time for a slot and for the record, shorter than the
# activity's start-to-close timeout.
SEND_SECONDS = 13
# For so long, an alert is sent even if its incident has ended meanwhile, so that people get the
# whole story in order.
OVER_AFTER = timedelta(minutes=10)
# The shortest interval between two records that this process has sent alerts.
SENT_FACT_SECONDS = 30.0

_OVER_WITH_THEIR_SUBJECT = frozenset(
    {
        AlertKind.INCIDENT_OPENED,
        AlertKind.REPAIR_FAILED,
        AlertKind.INCIDENT_ASSIGNED,
        AlertKind.GROUP_GREW,
        AlertKind.SOURCE_SILENT,
        AlertKind.EARLY_RESULTS_UNCLAIMED,
        AlertKind.RULE_DISARMED,
        AlertKind.PROJECT_SILENT,
    }
)
# Not sent while the incident is snoozed.
_HELD_BY_A_SNOOZE = frozenset({AlertKind.INCIDENT_OPENED, AlertKind.REPAIR_FAILED})
# Not sent while the group is muted. An assignee and the state of a pager are told all the same.
_QUIET_WHEN_MUTED = frozenset(
    {
        *(AlertKind.INCIDENT_OPENED, AlertKind.REPAIR_FAILED, AlertKind.INCIDENT_RESOLVED),
        AlertKind.GROUP_GREW,
    }
)
TIMED_OUT = "TimeoutError"


@dataclass(frozen=True, slots=True)
class Held:
    """The incident is snoozed: the alert waits for the end of that."""


@dataclass(frozen=True, slots=True)
class Retry:
    """An attempt that failed and is repeated. `error` names no target. `asked_seconds` is how long
    the other side asked to wait.
    """

    error: str
    asked_seconds: int | None = None


# None: sent. An end, with the error: the alert is not retried.
Outcome = Retry | Held | tuple[AlertEnd, str | None] | None
log = structlog.get_logger(__name__)


class AlertDelivery:
    """Delivers the alerts of one installation, one at a time."""

    def __init__(
        self,
        database: Database,
        *,
        sealer: Sealer,
        channels: Channels,
        public_url: str,
        timed_out: TimedOutDestinations,
    ) -> None:
        self._database = database
        self._sealer = sealer
        self._channels = channels
        self._public_url = public_url
        self._timed_out = timed_out
        self._sent_fact_at = 0.0

    async def send(self, alert: AlertDue, at: datetime) -> Outcome:
        """Send the alert unless nobody wants it any more. A failure is an outcome, never raised.

        Raises:
            Unavailable: the store is unavailable, and nothing was sent.
        """
        end = await self._end_before_sending(alert)
        if end is not None:
            return end, None
        return Held() if _is_held(alert, at) else await self._send(alert, at)

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
                case Held():
                    await hold_alert(session, alert.alert_id, alert.incident_id)
                case Retry(error, asked_seconds):
                    delay = alert_retry_seconds(
                        alert.channel, alert.tries, asked_seconds=asked_seconds
                    )
                    retry_at = now + timedelta(seconds=delay)
                    await record_alert_failed(
                        session, alert.alert_id, now, error=error, retry_at=retry_at
                    )
                case reason, error:
                    await record_alert_ended(
                        session, alert.alert_id, now, reason=reason, error=error
                    )

    async def _end_before_sending(self, alert: AlertDue) -> AlertEnd | None:
        """Why the alert must not be sent any more; None if it must be sent."""
        if alert.facts is None:
            return None
        if (unwanted := alert.unwanted) is not None:
            return unwanted
        if alert.kind in _QUIET_WHEN_MUTED and _is_muted(alert):
            return AlertEnd.GROUP_MUTED
        may_be_over = alert.kind in _OVER_WITH_THEIR_SUBJECT
        if not may_be_over or alert.failing_since is None or not alert.facts.is_over:
            return None
        async with self._database.reading() as session:
            now = await self._database.now(session)
        return AlertEnd.INCIDENT_OVER if now - alert.failing_since >= OVER_AFTER else None

    async def _send(self, alert: AlertDue, at: datetime) -> Outcome:
        fields = {"alert_id": alert.alert_id, "incident_id": alert.incident_id, "kind": alert.kind}
        try:
            outcome = await self._attempt(alert, at)
        except Unavailable:
            raise
        except TargetRefused:
            log.warning("alert_address_refused", **fields)
            return AlertEnd.ADDRESS_REFUSED, None
        except AlertNotDelivered as failure:
            self._timed_out.note(alert, is_silent=failure.is_silent)
            log.warning("alert_failed", **fields, error=str(failure), final=failure.is_permanent)
            if failure.is_permanent:
                return AlertEnd.REFUSED, str(failure)
            return Retry(str(failure), failure.retry_after_seconds)
        except Exception as failure:
            # The edge of one alert: one that cannot be sent is retried and does not block others.
            log.exception("alert_broken", **fields)
            return Retry(type(failure).__name__)
        if outcome is None:
            self._timed_out.note(alert, is_silent=False)
            log.info("alert_sent", **fields)
        return outcome

    async def _attempt(self, alert: AlertDue, at: datetime) -> Outcome:
        """Send the alert by its channel, or find that its destination was removed.

        Raises:
            TargetRefused, AlertNotDelivered: as `Channel.send`; with `TIMED_OUT` after
                `SEND_SECONDS`.
        """
        channel = channel_of(self._channels, alert.channel)
        target = await self._target(alert)
        if target is None:
            return AlertEnd.ADDRESS_REMOVED, None
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send_full_or_plain(channel, alert, target, at)
        except TimeoutError:
            raise AlertNotDelivered(TIMED_OUT, is_silent=True) from None
        return None

    async def _target(self, alert: AlertDue) -> str | None:
        """What the channel sends to; None when the destination was removed."""
        if not is_destination_id(alert.destination):
            return alert.destination
        async with self._database.reading() as session:
            return await read_secret_target(session, self._sealer, alert)

    async def _send_full_or_plain(
        self, channel: Channel, alert: AlertDue, target: str, at: datetime
    ) -> None:
        """Send the full message, or the plain one if the full one is not written or is refused."""
        links = await self._links(alert) if alert.channel == AlertChannel.EMAIL else NO_LINKS
        plain = write_plain_message(alert, at=at, public_url=self._public_url)
        plain = replace(plain, links=links)
        full = self._full_message(alert, at)
        try:
            await channel.send(plain if full is None else replace(full, links=links), target)
        except AlertNotDelivered as failure:
            if not failure.is_content_refused:
                raise
            await channel.send(plain, target)

    async def _links(self, alert: AlertDue) -> MailLinks:
        """The signed links of a mail."""
        async with self._database.reading() as session:
            tokens = await mail_tokens(session, self._sealer, alert)
        if tokens is None:
            return NO_LINKS
        url = f"{self._public_url}/alerts"
        acknowledge = f"{url}/acknowledge/{tokens.acknowledge}" if tokens.acknowledge else ""
        return MailLinks(f"{url}/unsubscribe/{tokens.unsubscribe}", acknowledge)

    def _full_message(self, alert: AlertDue, at: datetime) -> AlertMessage | None:
        """The full message; None if it cannot be written."""
        try:
            match alert.facts:
                case SourceAlertFacts() as facts:
                    return write_source_message(alert, facts, at=at, public_url=self._public_url)
                case SilenceFacts() as facts:
                    return write_silence_message(alert, facts, at=at, public_url=self._public_url)
                case UnclaimedFacts() as facts:
                    return write_unclaimed_message(alert, facts, at=at, public_url=self._public_url)
                case GroupAlertFacts() as facts:
                    return write_group_message(alert, facts, at=at, public_url=self._public_url)
                case RepairingFacts() as facts:
                    return write_repairing_message(alert, facts, at=at, public_url=self._public_url)
                case _:
                    return write_message(alert, at=at, public_url=self._public_url)
        except Exception:
            # The edge of one message: a value that breaks it must not stop the alert.
            log.exception(
                "alert_unwritable", alert_id=alert.alert_id, incident_id=alert.incident_id
            )
            return None


def _is_muted(alert: AlertDue) -> bool:
    return isinstance(alert.facts, AlertFacts | GroupAlertFacts) and alert.facts.is_muted


def _is_held(alert: AlertDue, at: datetime) -> bool:
    if alert.kind not in _HELD_BY_A_SNOOZE or not isinstance(alert.facts, AlertFacts):
        return False
    snoozed_until = alert.facts.incident.snoozed_until
    return snoozed_until is not None and snoozed_until > at
