"""Sends alerts: leases those that are due, sends each by its channel, and records its outcome.

1. The workflow runs it in the background of its wait. The alert loop sends what is left.
2. A lease keeps two senders from sending the same alert.
3. If the store is unavailable, the outcome is retried for 10 minutes. Until it is stored, this
   process does not send the alert again.
4. A process that dies between sending and recording leaves a duplicate that can be recognised.

Built by `worker.build`.
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

import structlog
from temporalio import activity

from activities.alerts.channels import Channels
from activities.alerts.delivery import AlertDelivery, Outcome
from activities.alerts.in_flight import AlertsInFlight, PendingRecords, TimedOutDestinations
from activities.messages import AlertsSent, SendAlerts
from domain.errors import Unavailable
from domain.ids import IncidentId
from store.alerts.claims import claim_alerts
from store.alerts.due import AlertDue
from store.alerts.facts import read_dates, read_facts
from store.crypto.encryption import Sealer
from store.db.database import Database

# Longer than a send takes, so that a lease expires only if its process is gone.
LEASE_SECONDS = 30
# Of the loop. The workflows' activities have as many again. A process never sends more than both.
ALERTS_AT_ONCE = 8
# Of one project, so that a receiver that does not answer leaves slots for other projects. A
# project's destinations that did not answer share one slot until they do. Those of all projects
# together get at most half.
MAX_PER_PROJECT = ALERTS_AT_ONCE // 2
# While slots are free, the loop polls for newly due alerts. Alerts that end together are followed
# by one claim.
POLL_SECONDS, GATHER_SECONDS = 1.0, 0.01
# With `delivery.SEND_SECONDS`, the sum is shorter than the activity's start-to-close timeout.
SLOT_SECONDS = 1
# The sender waits for the record no longer than this. The record itself is retried for longer.
RECORD_SECONDS = 4
RECORD_RETRY_SECONDS = 600
# With so many outcomes not stored, nothing is claimed.
MAX_UNRECORDED = 4 * ALERTS_AT_ONCE
# Pause before the first claim after a store outage, so that other senders store their outcomes
# first.
RECOVERY_SECONDS = 1.0
# Longer than a destination waits for its turn among many that do not answer.
FORGET_TIMEOUT_SECONDS = 3_600

log = structlog.get_logger(__name__)


class AlertActivities:
    """The activity that sends an incident's alerts, and the alert loop's `deliver`."""

    def __init__(
        self, database: Database, *, sealer: Sealer, channels: Channels, public_url: str
    ) -> None:
        self._database = database
        self._slots = asyncio.Semaphore(ALERTS_AT_ONCE)
        self._of_workflows, self._of_loop = AlertsInFlight(), AlertsInFlight()
        self._timed_out = TimedOutDestinations(forget_seconds=FORGET_TIMEOUT_SECONDS)
        self._delivery = AlertDelivery(
            database,
            sealer=sealer,
            channels=channels,
            public_url=public_url,
            timed_out=self._timed_out,
        )
        self._unrecorded = PendingRecords(keep_seconds=RECORD_RETRY_SECONDS)
        self._is_store_away = False

    @activity.defn(name="send_alerts")
    async def send_alerts(self, order: SendAlerts) -> AlertsSent:
        """Send the due alerts of one incident.

        A second run finds the first run's alerts sent or leased, and sends the rest. If no slot is
        free within a second, it sends nothing and leaves the alerts to the loop, where projects
        take turns. It thus never holds its Temporal slot for long.
        """
        acquired = await self._acquire_slots()
        if not acquired:
            return AlertsSent(sent=0, failed=0)
        try:
            due, at = await self._claim(self._of_workflows, IncidentId(order.incident_id), acquired)
            surplus = acquired - len(due)
            acquired -= surplus
            self._release_slots(surplus)
            return await self._deliver_all(due, at, self._of_workflows)
        finally:
            self._release_slots(acquired)

    async def deliver(self) -> AlertsSent:
        """Send the due alerts of all incidents, eight at a time, until none is left.

        Raises:
            Unavailable: the store is unavailable. Outcomes are stored once it is back.
        """
        running: set[asyncio.Task[AlertsSent]] = set()
        sent = failed = 0
        try:
            while True:
                free = ALERTS_AT_ONCE - len(running)
                due, at = await self._claim(self._of_loop, None, free) if free else ([], None)
                running |= {
                    asyncio.create_task(self._deliver_all([alert], at, self._of_loop))
                    for alert in due
                    if at
                }
                if not running:
                    return AlertsSent(sent=sent, failed=failed)
                timeout = POLL_SECONDS if len(running) < ALERTS_AT_ONCE else None
                await asyncio.wait(running, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
                await asyncio.sleep(GATHER_SECONDS)
                ended, running = _split_ended(running)
                sent += sum(one.sent for one in ended)
                failed += sum(one.failed for one in ended)
        except asyncio.CancelledError:
            for task in running:
                task.cancel()
            raise
        finally:
            await asyncio.gather(*running, return_exceptions=True)

    async def _claim(
        self, in_flight: AlertsInFlight, incident_id: IncidentId | None, limit: int
    ) -> tuple[list[AlertDue], datetime]:
        """Lease due alerts. Return them, and the store's time of the lease.

        Alerts that this process is sending, or whose outcome it has not stored yet, are left out.
        """
        async with in_flight.claiming:
            unrecorded = self._unrecorded.alert_ids
            try:
                if self._is_store_away:
                    async with self._database.reading():
                        self._is_store_away = False
                    await asyncio.sleep(RECOVERY_SECONDS)
                due, now = await self._lease(in_flight, incident_id, limit)
            except Unavailable:
                self._is_store_away = True
                raise
            unrecorded |= self._unrecorded.alert_ids
            known = unrecorded.union(self._of_loop.alerts, self._of_workflows.alerts)
            unsent = [alert for alert in due if alert.alert_id not in known]
            for alert in unsent:
                in_flight.add(alert)
        try:
            return [await self._with_facts(alert, now) for alert in unsent], now
        except BaseException:
            for alert in unsent:
                in_flight.remove(alert)
            raise

    async def _lease(
        self, in_flight: AlertsInFlight, incident_id: IncidentId | None, limit: int
    ) -> tuple[list[AlertDue], datetime]:
        other = self._of_loop if in_flight is self._of_workflows else self._of_workflows
        usage = in_flight.slot_usage(
            self._timed_out.by_project(), of_each=MAX_PER_PROJECT, beside=other
        )
        async with self._database.transaction() as session:
            now = await self._database.now(session)
            if len(self._unrecorded.alert_ids) >= MAX_UNRECORDED:
                return [], now
            due = await claim_alerts(
                session,
                now,
                incident_id=incident_id,
                limit=limit,
                lease_seconds=LEASE_SECONDS,
                usage=usage,
            )
        return due, now

    async def _with_facts(self, alert: AlertDue, now: datetime) -> AlertDue:
        try:
            async with self._database.reading() as session:
                facts = await read_facts(session, alert, now)
                return replace(alert, facts=facts, dates=await read_dates(session, alert))
        except Unavailable:
            raise
        except Exception:
            # The edge of one alert: if its facts cannot be read, it is sent with its ids only.
            log.exception(
                "alert_unreadable", alert_id=alert.alert_id, incident_id=alert.incident_id
            )
            return alert

    async def _deliver_all(
        self, due: Sequence[AlertDue], at: datetime, in_flight: AlertsInFlight
    ) -> AlertsSent:
        # Each outcome is stored at once, so that one slow alert does not cause others to be resent.
        outcomes = await asyncio.gather(
            *(self._deliver_one(alert, at, in_flight) for alert in due), return_exceptions=True
        )
        for alert, outcome in zip(due, outcomes, strict=True):
            if not isinstance(outcome, BaseException):
                continue
            if isinstance(outcome, Unavailable) or not isinstance(outcome, Exception):
                raise outcome
            name = type(outcome).__name__
            log.error("alert_not_recorded", alert_id=alert.alert_id, error=name, exc_info=outcome)
        failed = sum(outcome is not None for outcome in outcomes)
        return AlertsSent(sent=len(due) - failed, failed=failed)

    async def _deliver_one(
        self, alert: AlertDue, at: datetime, in_flight: AlertsInFlight
    ) -> Outcome:
        try:
            outcome = await self._delivery.send(alert, at)
            await self._unrecorded.record(
                alert.alert_id,
                lambda: self._delivery.record(alert, outcome),
                wait_seconds=RECORD_SECONDS,
            )
        finally:
            in_flight.remove(alert)
        return outcome

    async def _acquire_slots(self) -> int:
        """Acquire all free slots, and return how many. 0 if none becomes free within a second."""
        try:
            async with asyncio.timeout(SLOT_SECONDS):
                await self._slots.acquire()
        except TimeoutError:
            return 0
        acquired = 1
        while acquired < ALERTS_AT_ONCE and not self._slots.locked():
            await self._slots.acquire()
            acquired += 1
        return acquired

    def _release_slots(self, count: int) -> None:
        for _ in range(count):
            self._slots.release()


def _split_ended(
    running: set[asyncio.Task[AlertsSent]],
) -> tuple[list[AlertsSent], set[asyncio.Task[AlertsSent]]]:
    """The results of the tasks that have ended, and the tasks that have not.

    A task that could not store its outcome is logged and does not stop the others.
    """
    ended = [task for task in running if task.done()]
    errors = [error for task in ended if (error := task.exception()) is not None]
    for error in errors:
        log.warning("alert_not_recorded_yet", error=type(error).__name__)
    return [task.result() for task in ended if task.exception() is None], running.difference(ended)
