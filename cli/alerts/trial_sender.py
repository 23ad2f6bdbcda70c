"""Builds the sender of test alerts from the settings, for the API process and the command line."""

from typing import TYPE_CHECKING

from activities.alerts.all_channels import build_channels
from activities.alerts.trial import TrialSender

if TYPE_CHECKING:
    from config.settings import Settings


def trial_sender(settings: "Settings") -> TrialSender:
    """The sender of test alerts, with the channels of the worker.

    Raises:
        ValueError: a setting is wrong.
    """
    channels = build_channels(
        smtp_url=settings.smtp_url_or_default,
        mail_from=settings.mail_from,
        egress_allow=settings.egress_allow,
        pagerduty_url=settings.pagerduty_url,
    )
    return TrialSender(channels, public_url=settings.public_url_or_default)
