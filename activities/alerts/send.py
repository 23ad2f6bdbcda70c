"""Notifies people: claims the alerts that are due, sends each over SMTP, records what became of it.

The workflow runs it beside its wait; the alerting loop sends what is left. A lease keeps two senders from one alert. What became
of a sending is recorded once the store takes it, for 10 minutes; until then this process does not send it again. A process that
dies between sending and recording leaves a copy, known by its Message-ID. Built by `worker.main`.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

import structlog
from temporalio import activity

from activities.alerts.email_format import Letter
from activities.alerts.email_message import MailWriter
from activities.alerts.email_smtp import MailNotSent
from activities.alerts.in_flight import Sending, SilentAddresses, Unrecorded
from activities.messages import AlertsSent, SendAlerts
from domain.errors import Unavailable
from domain.ids import IncidentId
from domain.incidents import AlertEnd, AlertKind, IncidentState
from domain.values.timestamps import to_unix_ms
from store.alerts.claims import claim_alerts
from store.alerts.delivery import AlertDue, record_alert_ended, record_alert_failed, record_alert_sent
from store.alerts.facts import read_facts
from store.db.database import Database
from store.people.email_addresses import AddressRefused
from store.status.heartbeats import ALERT_SENT_FACT, write_fact

# Longer than a sending takes, so that a claim is lost only with its process.
LEASE_SECONDS = 30
# Of the loop, and as many again of the workflows' activities: no more mails than both are under way in a process.
ALERTS_AT_ONCE = 8
# Of these, of one project: so that a mail server that is silent for its addresses leaves the others places. Its addresses that
# did not answer have one of them together, until they do, and all of all projects no more than half.
OF_EACH_PROJECT = ALERTS_AT_ONCE // 2
# While places are free, the loop looks again for what is due meanwhile. Sendings that end together are claimed for together.
LOOK_SECONDS, GATHER_SECONDS = 1.0, 0.01
# With the time for a place and `RECORD_SECONDS`, within the activity's start-to-close timeout; more than a mailer's own bound.
PLACE_SECONDS = 1
SEND_SECONDS = 13
RECORD_SECONDS = 4
# The sender waits no longer for the record than that; the record itself is tried for so long.
RECORDED_WITHIN_SECONDS = 600
# With so many not recorded, nothing is claimed.
UNRECORDED_AT_MOST = 4 * ALERTS_AT_ONCE
# Before the first claim after the store was away: who has something to record does so in this time.
RETURN_SECONDS = 1.0
FIRST_RETRY_SECONDS = 5
LONGEST_RETRY_SECONDS = 600
# Longer than an address waits for its turn among many that are silent.
FORGET_SILENT_SECONDS = 3_600
# Until then an alert is sent although its incident has ended meanwhile: people have the whole story in order.
OVER_AFTER = timedelta(minutes=10)
# How often this process writes down that it sent something.
SENT_FACT_SECONDS = 30.0

TIMED_OUT = "TimeoutError"
Mailer = Callable[[Letter], Awaitable[None]]
# None: sent. A text: what went wrong, without an address; it is tried again. An end: it is not.
Outcome = str | tuple[AlertEnd, str | None] | None
log = structlog.get_logger(__name__)


class AlertActivities:
    """The activity that sends an incident's mail."""

    def __init__(self, database: Database, *, writer: MailWriter, mailer: Mailer) -> None:
        self._database = database
        self._writer = writer
        self._mailer = mailer
        self._places = asyncio.Semaphore(ALERTS_AT_ONCE)
        self._of_workflows, self._of_loop = Sending(), Sending()
        self._silent = SilentAddresses(forget_seconds=FORGET_SILENT_SECONDS)
        self._unrecorded = Unrecorded(keep_seconds=RECORDED_WITHIN_SECONDS)
        self._is_store_away = False
        self._sent_fact_at = 0.0

    @activity.defn(name="send_alerts")
    async def send_alerts(self, order: SendAlerts) -> AlertsSent:
        """Send what is due of one incident. A second run finds the first's sent or under its lease, and sends the rest.

        While a silent mail server has all places, it sends nothing and leaves the alerts to the loop, where projects take
        turns: it holds its own place among the activities no longer than a moment.
        """
        taken = await self._take_places()
        if not taken:
            return AlertsSent(sent=0, failed=0)
        try:
            due, at = await self._claim(self._of_workflows, IncidentId(order.incident_id), taken)
            surplus = taken - len(due)
            taken -= surplus
            self._give_back(surplus)
            return await self._deliver(due, at)
        finally:
            self._give_back(taken)

    async def deliver(self) -> AlertsSent:
        """Send what is due of all incidents, eight at a time, until nothing is left: a place that becomes free is taken at once.

        Raises:
            Unavailable: the store is away. What was sent meanwhile is recorded once it is back.
        """
        running: set[asyncio.Task[AlertsSent]] = set()
        sent = failed = 0
        try:
            while True:
                free = ALERTS_AT_ONCE - len(running)
                due, at = await self._claim(self._of_loop, None, free) if free else ([], None)
                running |= {asyncio.create_task(self._deliver([alert], at, self._of_loop)) for alert in due if at}
                if not running:
                    return AlertsSent(sent=sent, failed=failed)
                wait_seconds = LOOK_SECONDS if len(running) < ALERTS_AT_ONCE else None
                await asyncio.wait(running, timeout=wait_seconds, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(GATHER_SECONDS)
                ended, running = _ended(running)
                sent, failed = sent + sum(one.sent for one in ended), failed + sum(one.failed for one in ended)
        except asyncio.CancelledError:
            for task in running:
                task.cancel()
            raise
        finally:
            await asyncio.gather(*running, return_exceptions=True)

    async def _claim(self, sending: Sending, incident_id: IncidentId | None, limit: int) -> tuple[list[AlertDue], datetime]:
        """What is due, leased, and when that was by the store's clock. What this process has yet to record is not."""
        async with sending.claiming:
            unrecorded = self._unrecorded.alert_ids
            try:
                if self._is_store_away:
                    async with self._database.reading():
                        self._is_store_away = False
                    await asyncio.sleep(RETURN_SECONDS)
                due, now = await self._claim_some(sending, incident_id, limit)
            except Unavailable:
                self._is_store_away = True
                raise
            known = unrecorded | self._unrecorded.alert_ids | self._of_loop.alerts.keys() | self._of_workflows.alerts.keys()
            unsent = [alert for alert in due if alert.alert_id not in known]
            for alert in unsent:
                sending.take(alert)
        try:
            return [await self._with_facts(alert) for alert in unsent], now
        except BaseException:
            for alert in unsent:
                sending.give_back(alert)
            raise

    async def _claim_some(self, sending: Sending, incident_id: IncidentId | None, limit: int) -> tuple[list[AlertDue], datetime]:
        other = self._of_loop if sending is self._of_workflows else self._of_workflows
        places = sending.places(self._silent.by_project(), of_each=OF_EACH_PROJECT, beside=other)
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            if len(self._unrecorded.alert_ids) >= UNRECORDED_AT_MOST:
                return [], now
            due = await claim_alerts(
                session, now, incident_id=incident_id, limit=limit, lease_seconds=LEASE_SECONDS, places=places
            )
        return due, now

    async def _with_facts(self, alert: AlertDue) -> AlertDue:
        try:
            async with self._database.reading() as session:
                return replace(alert, facts=await read_facts(session, alert))
        except Unavailable:
            raise
        except Exception:
            # The edge of one alert: what cannot be read goes out with its ids alone.
            log.exception("alert_unreadable", alert_id=alert.alert_id, incident_id=alert.incident_id)
            return alert

    async def _deliver(self, due: Sequence[AlertDue], at: datetime, sending: Sending | None = None) -> AlertsSent:
        # Each is recorded as soon as it is known: what holds up one must not have the others sent again.
        sending = sending or self._of_workflows
        outcomes = await asyncio.gather(*(self._tell(alert, at, sending) for alert in due), return_exceptions=True)
        for alert, outcome in zip(due, outcomes, strict=True):
            if isinstance(outcome, Unavailable) or (isinstance(outcome, BaseException) and not isinstance(outcome, Exception)):
                raise outcome
            if isinstance(outcome, Exception):
                log.error("alert_not_recorded", alert_id=alert.alert_id, error=type(outcome).__name__, exc_info=outcome)
        failed = sum(outcome is not None for outcome in outcomes)
        return AlertsSent(sent=len(due) - failed, failed=failed)

    async def _tell(self, alert: AlertDue, at: datetime, sending: Sending) -> Outcome:
        try:
            end = await self._end_before_sending(alert)
            outcome: Outcome = await self._send(alert, at) if end is None else (end, None)
            await self._unrecorded.record(alert.alert_id, lambda: self._record(alert, outcome), wait_seconds=RECORD_SECONDS)
        finally:
            sending.give_back(alert)
        return outcome

    async def _end_before_sending(self, alert: AlertDue) -> AlertEnd | None:
        """Why nobody is to get it any more; None when it is to be sent."""
        if alert.facts is None:
            return None
        if not alert.facts.still_wants(alert.destination):
            return AlertEnd.ADDRESS_REMOVED
        is_over = alert.facts.incident.state is IncidentState.RESOLVED
        if alert.kind not in {AlertKind.INCIDENT_OPENED, AlertKind.REPAIR_FAILED} or alert.failing_since is None or not is_over:
            return None
        async with self._database.reading() as session:
            now = await self._database.now(session)
        return AlertEnd.INCIDENT_OVER if now - alert.failing_since >= OVER_AFTER else None

    async def _send(self, alert: AlertDue, at: datetime) -> Outcome:
        fields = {"alert_id": alert.alert_id, "incident_id": alert.incident_id, "kind": alert.kind}
        try:
            async with asyncio.timeout(SEND_SECONDS):
                await self._send_some_form(alert, at)
        except AddressRefused:
            log.warning("alert_address_refused", **fields)
            return AlertEnd.ADDRESS_REFUSED, None
        except MailNotSent as failure:
            self._silent.note(alert, is_silent=failure.is_silent)
            log.warning("alert_failed", **fields, error=str(failure), final=failure.is_permanent)
            return (AlertEnd.REFUSED, str(failure)) if failure.is_permanent else str(failure)
        except TimeoutError:
            self._silent.note(alert, is_silent=True)
            log.warning("alert_failed", **fields, error=TIMED_OUT)
            return TIMED_OUT
        except Exception as failure:
            # The edge of one alert: a mail that cannot be sent waits, and holds up no other.
            log.exception("alert_broken", **fields)
            return type(failure).__name__
        self._silent.note(alert, is_silent=False)
        log.info("alert_sent", **fields)
        return None

    async def _send_some_form(self, alert: AlertDue, at: datetime) -> None:
        """As it is wanted; in its plainest form when that cannot be written, or its contents are refused."""
        try:
            letter = self._writer.write(alert, at=at)
        except AddressRefused:
            raise
        except Exception:
            # The edge of one mail: whatever a value does to it, the ids go out.
            log.exception("alert_unwritable", alert_id=alert.alert_id, incident_id=alert.incident_id)
            await self._mailer(self._writer.write_plainly(alert, at=at))
            return
        try:
            await self._mailer(letter)
        except MailNotSent as failure:
            if not failure.is_of_contents:
                raise
            await self._mailer(self._writer.write_plainly(alert, at=at))

    async def _record(self, alert: AlertDue, outcome: Outcome) -> None:
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
                    await record_alert_failed(session, alert.alert_id, now, error=outcome, retry_at=retry_at)
                case reason, error:
                    await record_alert_ended(session, alert.alert_id, now, reason=reason, error=error)

    async def _take_places(self) -> int:
        """How many places it has now: one at least, unless there is none for a second; others as they are free."""
        try:
            async with asyncio.timeout(PLACE_SECONDS):
                await self._places.acquire()
        except TimeoutError:
            return 0
        taken = 1
        while taken < ALERTS_AT_ONCE and not self._places.locked():
            await self._places.acquire()
            taken += 1
        return taken

    def _give_back(self, places: int) -> None:
        for _ in range(places):
            self._places.release()


def _ended(running: set[asyncio.Task[AlertsSent]]) -> tuple[list[AlertsSent], set[asyncio.Task[AlertsSent]]]:
    """What the tasks that have ended returned, and those that have not. What is not recorded yet stops no other."""
    ended = [task for task in running if task.done()]
    errors = [error for task in ended if (error := task.exception()) is not None]
    for error in errors:
        log.warning("alert_not_recorded_yet", error=type(error).__name__)
    return [task.result() for task in ended if task.exception() is None], running.difference(ended)


def retry_seconds(tries: int) -> int:
    """How long an alert waits that failed after `tries` earlier failures: 5 s, doubling to 10 minutes."""
    return int(min(LONGEST_RETRY_SECONDS, FIRST_RETRY_SECONDS * 2 ** min(tries, 10)))
