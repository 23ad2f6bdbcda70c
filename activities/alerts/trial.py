"""Sends a test alert by its channel now, and returns what the other side said.

It is no alert of the store: nothing is leased, retried or put on a timeline. Built by
`activities.alerts.all_channels`; called by `DestinationOperations.test_destination`.
"""

import asyncio
import time

import structlog

from activities.alerts.channels import (
    TRIAL_KIND,
    AlertMessage,
    AlertNotDelivered,
    ChannelAnswer,
    Channels,
    TargetRefused,
    channel_of,
)
from domain.alerts import CHANNEL_NAMES, AlertAnswer, AlertTrial
from domain.ids import EventId, IncidentId
from domain.values.text import one_line
from domain.values.timestamps import to_unix_ms

TRIAL_SECONDS = 13.0
log = structlog.get_logger(__name__)


class TrialSender:
    """Sends test alerts by these channels."""

    def __init__(self, channels: Channels, *, public_url: str) -> None:
        self._channels = channels
        self._public_url = public_url

    async def __call__(self, trial: AlertTrial) -> AlertAnswer:
        """Send the test alert once, within `TRIAL_SECONDS`. A failure is an answer too."""
        name = CHANNEL_NAMES.get(trial.channel, trial.channel)
        started = time.monotonic()
        try:
            async with asyncio.timeout(TRIAL_SECONDS):
                said, failure = await self._send(trial), ""
        except TimeoutError:
            said, failure = None, "timeout"
        except TargetRefused:
            said, failure = None, "the target is refused"
        except AlertNotDelivered as refused:
            said, failure = refused.answer, str(refused)
        duration_ms = round((time.monotonic() - started) * 1000)
        log.info("test_alert_sent", destination_id=trial.destination_id, error=failure or None)
        return AlertAnswer(
            ok=not failure,
            status=None if said is None else said.status,
            duration_ms=duration_ms,
            detail=_detail(name, said, failure),
            excerpt="" if said is None else said.excerpt,
            error=failure,
        )

    async def _send(self, trial: AlertTrial) -> ChannelAnswer | None:
        channel = channel_of(self._channels, trial.channel)
        message = trial_message(trial, public_url=self._public_url)
        return await channel.send(message, trial.target)


def trial_message(trial: AlertTrial, *, public_url: str) -> AlertMessage:
    """The message of a test alert. Each one is an alert of its own."""
    mode = "live" if trial.livemode else "test"
    number = str(to_unix_ms(trial.at))
    sentence = (
        "Somebody tested this destination. Nothing happened to any payment, and there is nothing"
        " to do."
    )
    project = one_line(trial.project_name)
    return AlertMessage(
        incident_id=IncidentId(trial.project_id),
        event_id=EventId(trial.project_id),
        kind=TRIAL_KIND,
        subject_id=number,
        destination=trial.destination_id,
        at=trial.at,
        title="Test alert",
        summary=one_line(f"Test alert: {trial.project_name}", longest=200),
        sentence=sentence,
        facts=(("Project", project), ("Destination ID", trial.destination_id)),
        link=f"{public_url}/projects/{trial.project_id}",
        link_label="Open the project",
        color="#6b7280",
        project=f"{project} ({mode})",
        dedup_key=f"test-{trial.destination_id}-{number}",
        data={"destination_id": trial.destination_id},
        livemode=trial.livemode,
        created_at=trial.at,
    )


def _detail(name: str, said: ChannelAnswer | None, failure: str) -> str:
    if not failure:
        return f"{name} accepted the test alert."
    if said is None:
        return f"{name} gave no answer that counts: {failure}."
    return f"{name} did not accept the test alert: {failure}."
