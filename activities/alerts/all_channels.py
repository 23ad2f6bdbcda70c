"""Every channel that sends alerts, with what its sender needs.

`worker.main` uses them for alerts, and the API process and the command line for test alerts.
"""

from activities.alerts.channels import Channels
from activities.alerts.email import EmailChannel
from activities.alerts.email_message import MailWriter
from activities.alerts.email_smtp import SmtpMailer, parse_mail_server
from activities.alerts.http.pagerduty import PagerDutyChannel
from activities.alerts.http.post import HttpPost
from activities.alerts.http.slack import SlackChannel
from activities.alerts.http.teams import TeamsChannel
from activities.alerts.http.webhook import WebhookChannel
from domain.alerts import AlertChannel
from egress.policy import Network

PAGERDUTY_PATH = "/v2/enqueue"


def build_channels(
    *, smtp_url: str, mail_from: str, egress_allow: tuple[Network, ...], pagerduty_url: str
) -> Channels:
    """The channels. `egress_allow` are the private ranges that may be called, `pagerduty_url` is
    the origin of the Events API.

    Raises:
        ValueError, AddressRefused: a value is wrong.
    """
    mailer = SmtpMailer(parse_mail_server(smtp_url))
    post = HttpPost(allow=egress_allow)
    return {
        AlertChannel.EMAIL: EmailChannel(mailer, MailWriter(mail_from=mail_from)),
        AlertChannel.SLACK: SlackChannel(post),
        AlertChannel.TEAMS: TeamsChannel(post),
        AlertChannel.PAGERDUTY: PagerDutyChannel(post, url=f"{pagerduty_url}{PAGERDUTY_PATH}"),
        AlertChannel.WEBHOOK: WebhookChannel(post),
    }
