"""The e-mail channel alone, the activities that send alerts by it, and mails written straight from
an alert.
"""

from datetime import datetime

from activities.alerts.channels import Channels
from activities.alerts.email import EmailChannel, Mailer
from activities.alerts.email_format import OutgoingMail
from activities.alerts.email_message import MailWriter
from activities.alerts.message import write_message, write_plain_message
from activities.alerts.send import AlertActivities
from domain.alerts import AlertChannel
from store.alerts.due import AlertDue
from store.crypto.encryption import Sealer
from store.db.database import Database
from tests.conftest import SECRET_KEY

PUBLIC_URL = "https://makegood.example.com"
WRITER = MailWriter(mail_from="makegood@example.com")


def channels_by_mail(mailer: Mailer, *, writer: MailWriter = WRITER) -> Channels:
    return {AlertChannel.EMAIL: EmailChannel(mailer, writer)}


def alerts_by_mail(
    database: Database, mailer: Mailer, *, writer: MailWriter = WRITER
) -> AlertActivities:
    return AlertActivities(
        database,
        sealer=Sealer(SECRET_KEY),
        channels=channels_by_mail(mailer, writer=writer),
        public_url=PUBLIC_URL,
    )


def mail_of(alert: AlertDue, *, at: datetime, writer: MailWriter = WRITER) -> OutgoingMail:
    """The mail of an alert with all its facts."""
    return writer.write(write_message(alert, at=at, public_url=PUBLIC_URL), alert.destination)


def plain_mail_of(alert: AlertDue, *, at: datetime) -> OutgoingMail:
    message = write_plain_message(alert, at=at, public_url=PUBLIC_URL)
    return WRITER.write(message, alert.destination)
